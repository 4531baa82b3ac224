//! The output of the compiling child while it is stored.
//!
//! The code may be ten times as large as the plugin, so it is written to the cache as it arrives.
//! It is collected in memory only if the cache cannot be used.

use std::io;

use crate::domain::plugin::{Digest, Profile};
use crate::rules::compile::artifact::{ArtifactCache, CodeInMemory, Draft};

/// Where the code of a compiled plugin is.
#[derive(Debug)]
pub(in crate::rules) enum CompiledCode {
    InCache,
    InMemory(CodeInMemory),
}

pub(super) struct CompilerOutput {
    plugin: Digest,
    place: OutputPlace,
    size_bytes: u64,
}

enum OutputPlace {
    Cache(Box<Draft>),
    Memory(Vec<u8>),
}

impl CompilerOutput {
    pub(super) fn begin(cache: &ArtifactCache, plugin: Digest, profile: Profile) -> Self {
        let place = match cache.draft(plugin, profile) {
            Ok(draft) => OutputPlace::Cache(Box::new(draft)),
            Err(error) => {
                stays_in_memory(plugin, &error);
                OutputPlace::Memory(Vec::new())
            }
        };
        Self { plugin, place, size_bytes: 0 }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Fails only if the disk is full and the code written so far cannot be read back.
    pub(super) fn take(&mut self, part: &[u8]) -> io::Result<()> {
        self.size_bytes += part.len() as u64;
        if let OutputPlace::Cache(draft) = &mut self.place {
            let Err(error) = draft.write(part) else { return Ok(()) };
            stays_in_memory(self.plugin, &error);
            self.place = OutputPlace::Memory(draft.read_back()?);
        }
        if let OutputPlace::Memory(code) = &mut self.place {
            code.extend_from_slice(part);
        }
        Ok(())
    }

    /// Call this only after the child has ended successfully, so that the code is complete.
    pub(super) fn keep(self) -> io::Result<CompiledCode> {
        match self.place {
            OutputPlace::Memory(code) => Ok(CompiledCode::InMemory(CodeInMemory::of_child(code))),
            OutputPlace::Cache(mut draft) => match draft.keep() {
                Ok(()) => Ok(CompiledCode::InCache),
                Err(error) => {
                    stays_in_memory(self.plugin, &error);
                    Ok(CompiledCode::InMemory(CodeInMemory::of_child(draft.read_back()?)))
                }
            },
        }
    }
}

/// A full disk must not prevent decisions.
fn stays_in_memory(plugin: Digest, error: &io::Error) {
    tracing::warn!(%plugin, %error, "a compiled plugin cannot be stored and is kept in memory only");
}
