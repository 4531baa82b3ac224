//! Checkpoints: the tips of this process's chains, signed and put outside of
//! the database.
//!
//! Owns when one is made and which are the latest. Signs only what the journal
//! knows to be committed; must never sign what it reads from the database.

pub mod file;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::auth::checkpoint::CheckpointKey;
use crate::auth::signing_key::Jwk;
use crate::domain::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::storage::journal::Journal;
use file::CheckpointFile;

#[derive(Debug)]
pub struct Checkpoints {
    journal: Arc<Journal>,
    key: CheckpointKey,
    file: CheckpointFile,
    /// Of each writer.
    latest: Mutex<BTreeMap<Uuid, SignedCheckpoint>>,
}

impl Checkpoints {
    /// Goes on with what the file in this folder holds.
    pub fn open(data_dir: &Path, journal: Arc<Journal>, key: CheckpointKey) -> io::Result<Self> {
        let file = CheckpointFile::in_folder(data_dir);
        let kept = file.compact()?;
        let own = kept.into_iter().filter(|signed| key.has_signed(signed));
        let latest = own.map(|signed| (signed.checkpoint.writer, signed)).collect();
        Ok(Self { journal, key, file, latest: Mutex::new(latest) })
    }

    /// Signs the tips that have moved, tells them to the log and adds them to
    /// the file. Waits for the disk. What could not be written is signed again
    /// at the next turn.
    pub fn make(&self, at_ms: u64) -> io::Result<()> {
        let mut moved = self.journal.tips();
        {
            let latest = self.latest();
            moved.retain(|tip| {
                latest.get(&tip.writer).is_none_or(|last| last.checkpoint.sequence < tip.sequence)
            });
        }
        let made: Vec<SignedCheckpoint> = moved
            .into_iter()
            .map(|tip| Checkpoint { writer: tip.writer, sequence: tip.sequence, hash: tip.hash, at_ms })
            .map(|checkpoint| self.key.sign(checkpoint))
            .collect();
        if made.is_empty() {
            return Ok(());
        }
        for SignedCheckpoint { checkpoint, kid, signature } in &made {
            let Checkpoint { writer, sequence, hash, at_ms } = checkpoint;
            tracing::info!(%writer, sequence, %hash, at_ms, kid, signature, "checkpoint");
        }
        self.file.append(&made)?;
        self.latest().extend(made.into_iter().map(|signed| (signed.checkpoint.writer, signed)));
        Ok(())
    }

    /// The latest of each writer that this node knows.
    pub fn all(&self) -> Vec<SignedCheckpoint> {
        self.latest().values().cloned().collect()
    }

    pub fn public_key(&self) -> Jwk {
        self.key.public_key()
    }

    fn latest(&self) -> MutexGuard<'_, BTreeMap<Uuid, SignedCheckpoint>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
