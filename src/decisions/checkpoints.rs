//! Checkpoints: the tips of this process's chains, signed and kept outside of the database.
//!
//! Only tips that the journal itself committed may be signed, and never one that was read from the
//! database: an attacker could have written it. Records of removals are kept in the same place.

pub mod file;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::auth::checkpoint::CheckpointKey;
use crate::auth::signing_key::Jwk;
use crate::domain::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::domain::removal::{Removal, RemovalId, SignedRemoval};
use crate::storage::journal::Journal;
use file::{CheckpointFile, SignedLine};

#[derive(Debug)]
pub struct Checkpoints {
    journal: Arc<Journal>,
    key: CheckpointKey,
    file: CheckpointFile,
    /// By writer.
    latest: Mutex<BTreeMap<Uuid, SignedCheckpoint>>,
}

impl Checkpoints {
    /// Continues with the checkpoints in this folder's file.
    pub fn open(data_dir: &Path, journal: Arc<Journal>, key: CheckpointKey) -> io::Result<Self> {
        let file = CheckpointFile::in_folder(data_dir);
        let kept = file.compact()?;
        let own = kept.into_iter().filter(|signed| key.has_signed(signed));
        let latest = own.map(|signed| (signed.checkpoint.writer, signed)).collect();
        Ok(Self { journal, key, file, latest: Mutex::new(latest) })
    }

    /// Signs the tips that have moved, logs them and adds them to the file. Blocks until they are
    /// on the disk. Tips that could not be written are signed again next time.
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
        let lines: Vec<SignedLine> = made.iter().cloned().map(SignedLine::Checkpoint).collect();
        self.file.append(&lines)?;
        self.latest().extend(made.into_iter().map(|signed| (signed.checkpoint.writer, signed)));
        Ok(())
    }

    pub fn sign_removal(&self, removal: Removal) -> SignedRemoval {
        self.key.sign_removal(removal)
    }

    /// Logs the removal and adds it to the file. Blocks until it is on the disk. Fails if it has no
    /// valid signature: its record was read from the database.
    pub fn keep_removal(&self, signed: SignedRemoval) -> io::Result<()> {
        if !self.key.has_signed_removal(&signed) {
            return Err(io::Error::other("the record of a removal is not signed by this installation"));
        }
        let SignedRemoval { removal, kid, signature } = &signed;
        let Removal { id: RemovalId { tenant, month, number }, decisions, hash, at_ms } = removal;
        tracing::info!(%tenant, %month, number, decisions, %hash, at_ms, kid, signature, "removal");
        self.file.append(&[SignedLine::Removal(signed)])
    }

    /// The latest checkpoint of each writer that this node knows.
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
