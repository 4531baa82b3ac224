//! What the compiling child answers, on its way into the cache on disk.
//!
//! Owns where it is meanwhile: in memory only where the cache cannot be used, since it may
//! be ten times as large as the plugin. Must never make code of anything but such an answer.

use std::io;

use crate::domain::plugin::{Digest, Profile};
use crate::rules::artifact::{ArtifactCache, Draft};

/// What the child made, which is to be loaded from there.
#[derive(Debug)]
pub(in crate::rules) enum Kept {
    InCache,
    InMemory(CodeInMemory),
}

/// Only this module can make one, since the code is trusted for where it comes from.
#[derive(Debug)]
pub(in crate::rules) struct CodeInMemory(Vec<u8>);

impl CodeInMemory {
    pub(in crate::rules) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

pub(super) struct Answer {
    plugin: Digest,
    place: Place,
    size_bytes: u64,
}

enum Place {
    Cache(Box<Draft>),
    Memory(Vec<u8>),
}

impl Answer {
    pub(super) fn begin(cache: &ArtifactCache, plugin: Digest, profile: Profile) -> Self {
        let place = match cache.draft(plugin, profile) {
            Ok(draft) => Place::Cache(Box::new(draft)),
            Err(error) => {
                stays_in_memory(plugin, &error);
                Place::Memory(Vec::new())
            }
        };
        Self { plugin, place, size_bytes: 0 }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Fails only where what a full disk took before cannot be read from it again.
    pub(super) fn take(&mut self, part: &[u8]) -> io::Result<()> {
        self.size_bytes += part.len() as u64;
        if let Place::Cache(draft) = &mut self.place {
            let Err(error) = draft.write(part) else { return Ok(()) };
            stays_in_memory(self.plugin, &error);
            self.place = Place::Memory(draft.read_back()?);
        }
        if let Place::Memory(code) = &mut self.place {
            code.extend_from_slice(part);
        }
        Ok(())
    }

    /// It is whole, and the child has ended well.
    pub(super) fn keep(self) -> io::Result<Kept> {
        match self.place {
            Place::Memory(code) => Ok(Kept::InMemory(CodeInMemory(code))),
            Place::Cache(mut draft) => match draft.keep() {
                Ok(()) => Ok(Kept::InCache),
                Err(error) => {
                    stays_in_memory(self.plugin, &error);
                    Ok(Kept::InMemory(CodeInMemory(draft.read_back()?)))
                }
            },
        }
    }
}

/// A full disk must not cost a decision.
fn stays_in_memory(plugin: Digest, error: &io::Error) {
    tracing::warn!(%plugin, %error, "a compiled plugin cannot be stored and is kept in memory only");
}
