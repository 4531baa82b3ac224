//! The file of checkpoints: JSON lines in the data folder.
//!
//! Several processes may write to one folder, so each write and each compaction holds the folder's
//! lock. Only the owner may read the file.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::domain::plugin::Digest;

const NAME: &str = "checkpoints.jsonl";

#[derive(Debug)]
pub struct CheckpointFile {
    folder: PathBuf,
    path: PathBuf,
}

/// A line of a file, and its place: path and number.
#[derive(Debug)]
pub struct CheckpointLine {
    pub origin: String,
    /// `None` if the line is not a checkpoint.
    pub signed: Option<SignedCheckpoint>,
}

#[derive(Serialize, Deserialize)]
struct CheckpointRecord {
    writer: Uuid,
    sequence: i64,
    hash: String,
    at_ms: u64,
    kid: String,
    signature: String,
}

impl CheckpointFile {
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), path: folder.join(NAME) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds lines and returns once they are on the disk.
    pub fn append(&self, made: &[SignedCheckpoint]) -> io::Result<()> {
        let _lock = self.lock()?;
        // Opened each time, since another process may have compacted the file.
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        let mut text = text_of(made);
        if !ends_a_line(&mut file)? {
            text.insert(0, '\n');
        }
        file.write_all(text.as_bytes())?;
        file.sync_data()
    }

    /// Keeps only the newest checkpoint of each writer and signing key, and returns those.
    pub fn compact(&self) -> io::Result<Vec<SignedCheckpoint>> {
        let _lock = self.lock()?;
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut last: BTreeMap<(Uuid, String), SignedCheckpoint> = BTreeMap::new();
        let lines = lines_of(&self.path.display().to_string(), &text);
        for CheckpointLine { origin, signed } in lines {
            let Some(signed) = signed else {
                tracing::warn!(origin, "skipped a line that is not a checkpoint");
                continue;
            };
            let known = last.entry((signed.checkpoint.writer, signed.kid.clone())).or_insert(signed.clone());
            if known.checkpoint.sequence < signed.checkpoint.sequence {
                *known = signed;
            }
        }
        let kept: Vec<SignedCheckpoint> = last.into_values().collect();
        let compacted = text_of(&kept);
        if compacted.len() < text.len() {
            let beside = self.path.with_added_extension("new");
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(compacted.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &self.path)?;
            File::open(&self.folder)?.sync_all()?;
        }
        Ok(kept)
    }

    fn lock(&self) -> io::Result<File> {
        let folder = File::open(&self.folder)?;
        flock(&folder, FlockOperation::LockExclusive)?;
        Ok(folder)
    }
}

/// Whether the file is empty or its last line is complete. A full disk or a crash may have cut it
/// off.
fn ends_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Reads every checkpoint of a file of this format, or of a log of JSON lines. Other lines of a log
/// are skipped.
pub fn read(path: &Path) -> io::Result<Vec<CheckpointLine>> {
    Ok(lines_of(&path.display().to_string(), &fs::read_to_string(path)?))
}

fn lines_of(origin: &str, text: &str) -> Vec<CheckpointLine> {
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty() && !is_of_a_log(line))
        .map(|(number, line)| CheckpointLine { origin: format!("{origin}:{number}"), signed: parse(line) })
        .collect()
}

/// Whether this is a line of a log and not a checkpoint.
fn is_of_a_log(line: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(line)
        .is_ok_and(|value| value["level"].is_string() && value["message"] != "checkpoint")
}

fn parse(line: &str) -> Option<SignedCheckpoint> {
    let CheckpointRecord { writer, sequence, hash, at_ms, kid, signature } =
        serde_json::from_str(line).ok()?;
    let hash = Digest::parse(&hash).ok()?;
    Some(SignedCheckpoint { checkpoint: Checkpoint { writer, sequence, hash, at_ms }, kid, signature })
}

fn text_of(made: &[SignedCheckpoint]) -> String {
    made.iter()
        .map(|signed| {
            let Checkpoint { writer, sequence, hash, at_ms } = signed.checkpoint;
            let (kid, signature) = (signed.kid.clone(), signed.signature.clone());
            let line = CheckpointRecord { writer, sequence, hash: hash.to_string(), at_ms, kid, signature };
            serde_json::json!(line).to_string() + "\n"
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(writer: u128, sequence: i64) -> SignedCheckpoint {
        let writer = Uuid::from_u128(writer);
        let checkpoint = Checkpoint { writer, sequence, hash: Digest([7; 32]), at_ms: 5 };
        SignedCheckpoint { checkpoint, kid: "k".to_owned(), signature: "s".to_owned() }
    }

    #[test]
    fn compaction_leaves_the_last_line_of_each_writer() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = CheckpointFile::in_folder(folder.path());
        assert_eq!(file.compact().expect("nothing yet"), []);
        file.append(&[signed(1, 1), signed(2, 4)]).expect("appended");
        file.append(&[signed(1, 2)]).expect("appended");
        assert_eq!(read(file.path()).expect("read").len(), 3);
        assert_eq!(file.compact().expect("compacted"), [signed(1, 2), signed(2, 4)]);
        file.append(&[signed(1, 3)]).expect("appended to the new file");
        let lines = read(file.path()).expect("read");
        let read: Vec<_> = lines.into_iter().filter_map(|line| line.signed).collect();
        assert_eq!(read, [signed(1, 2), signed(2, 4), signed(1, 3)]);
    }

    #[test]
    fn a_line_cut_off_by_a_crash_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = CheckpointFile::in_folder(folder.path());
        file.append(&[signed(1, 1)]).expect("appended");
        let text = fs::read_to_string(file.path()).expect("text") + r#"{"writer":"0000"#;
        fs::write(file.path(), text).expect("written");
        file.append(&[signed(2, 1)]).expect("appended");
        let found: Vec<_> = read(file.path()).expect("read").into_iter().map(|line| line.signed).collect();
        assert_eq!(found, [Some(signed(1, 1)), None, Some(signed(2, 1))]);
    }

    #[test]
    fn the_other_lines_of_a_log_are_passed_over() {
        let other = r#"{"timestamp":"2026","level":"INFO","message":"stopping","target":"tollgate"}"#;
        let own = text_of(&[signed(1, 1)]).replace('{', r#"{"level":"INFO","message":"checkpoint","#);
        let lines = lines_of("log", &format!("{other}\n{own}\nnot JSON\n"));
        let found: Vec<_> = lines.into_iter().map(|line| (line.origin, line.signed)).collect();
        assert_eq!(found, [("log:2".to_owned(), Some(signed(1, 1))), ("log:4".to_owned(), None)]);
    }
}
