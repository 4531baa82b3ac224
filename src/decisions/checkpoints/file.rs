//! The file of checkpoints and of signed removals: JSON lines in the data folder.
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
use crate::domain::removal::{Removal, RemovalId, SignedRemoval};
use crate::domain::tenant::TenantId;
use crate::domain::time::Month;

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
    /// `None` if the line is neither.
    pub signed: Option<SignedLine>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedLine {
    Checkpoint(SignedCheckpoint),
    Removal(SignedRemoval),
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

#[derive(Serialize, Deserialize)]
struct RemovalRecord {
    tenant: TenantId,
    month: String,
    number: i32,
    decisions: u64,
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
    pub fn append(&self, made: &[SignedLine]) -> io::Result<()> {
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

    /// Keeps only the newest checkpoint of each writer and signing key, and returns those. Removals
    /// all stay, each once.
    pub fn compact(&self) -> io::Result<Vec<SignedCheckpoint>> {
        let _lock = self.lock()?;
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut last: BTreeMap<(Uuid, String), SignedCheckpoint> = BTreeMap::new();
        let mut removals: Vec<SignedLine> = Vec::new();
        let lines = lines_of(&self.path.display().to_string(), &text);
        for CheckpointLine { origin, signed } in lines {
            let signed = match signed {
                Some(SignedLine::Checkpoint(signed)) => signed,
                Some(removal) => {
                    if !removals.contains(&removal) {
                        removals.push(removal);
                    }
                    continue;
                }
                None => {
                    tracing::warn!(origin, "skipped a line that is not a checkpoint");
                    continue;
                }
            };
            let known = last.entry((signed.checkpoint.writer, signed.kid.clone())).or_insert(signed.clone());
            if known.checkpoint.sequence < signed.checkpoint.sequence {
                *known = signed;
            }
        }
        let kept: Vec<SignedCheckpoint> = last.into_values().collect();
        let lines = kept.iter().cloned().map(SignedLine::Checkpoint).chain(removals);
        let compacted = text_of(&lines.collect::<Vec<_>>());
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
    serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| {
        value["level"].is_string() && value["message"] != "checkpoint" && value["message"] != "removal"
    })
}

fn parse(line: &str) -> Option<SignedLine> {
    if let Ok(CheckpointRecord { writer, sequence, hash, at_ms, kid, signature }) = serde_json::from_str(line)
    {
        let checkpoint = Checkpoint { writer, sequence, hash: Digest::parse(&hash).ok()?, at_ms };
        return Some(SignedLine::Checkpoint(SignedCheckpoint { checkpoint, kid, signature }));
    }
    let RemovalRecord { tenant, month, number, decisions, hash, at_ms, kid, signature } =
        serde_json::from_str(line).ok()?;
    let id = RemovalId { tenant, month: Month::parse(&month)?, number };
    let removal = Removal { id, decisions, hash: Digest::parse(&hash).ok()?, at_ms };
    Some(SignedLine::Removal(SignedRemoval { removal, kid, signature }))
}

fn text_of(made: &[SignedLine]) -> String {
    made.iter().map(|line| json_of(line).to_string() + "\n").collect()
}

fn json_of(line: &SignedLine) -> serde_json::Value {
    match line {
        SignedLine::Checkpoint(SignedCheckpoint { checkpoint, kid, signature }) => {
            let Checkpoint { writer, sequence, hash, at_ms } = *checkpoint;
            let (kid, signature) = (kid.clone(), signature.clone());
            let hash = hash.to_string();
            serde_json::json!(CheckpointRecord { writer, sequence, hash, at_ms, kid, signature })
        }
        SignedLine::Removal(SignedRemoval { removal, kid, signature }) => {
            let Removal { id: RemovalId { tenant, month, number }, decisions, hash, at_ms } = *removal;
            let (kid, signature) = (kid.clone(), signature.clone());
            let (month, hash) = (month.to_string(), hash.to_string());
            serde_json::json!(RemovalRecord { tenant, month, number, decisions, hash, at_ms, kid, signature })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(writer: u128, sequence: i64) -> SignedCheckpoint {
        let writer = Uuid::from_u128(writer);
        let checkpoint = Checkpoint { writer, sequence, hash: Digest([7; 32]), at_ms: 5 };
        SignedCheckpoint { checkpoint, kid: "k".to_owned(), signature: "s".to_owned() }
    }

    fn line(writer: u128, sequence: i64) -> SignedLine {
        SignedLine::Checkpoint(signed(writer, sequence))
    }

    fn removal(number: i32) -> SignedLine {
        let (tenant, month) = (TenantId(Uuid::from_u128(3)), Month { year: 2025, number: 3 });
        let id = RemovalId { tenant, month, number };
        let removal = Removal { id, decisions: 2, hash: Digest([8; 32]), at_ms: 6 };
        SignedLine::Removal(SignedRemoval { removal, kid: "k".to_owned(), signature: "s".to_owned() })
    }

    #[test]
    fn compaction_keeps_every_removal_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = CheckpointFile::in_folder(folder.path());
        file.append(&[removal(1), line(1, 1), removal(2)]).expect("appended");
        file.append(&[removal(1), line(1, 2)]).expect("appended");
        assert_eq!(file.compact().expect("compacted"), [signed(1, 2)]);
        let lines = read(file.path()).expect("read").into_iter().filter_map(|line| line.signed);
        assert_eq!(lines.collect::<Vec<_>>(), [line(1, 2), removal(1), removal(2)]);
    }

    #[test]
    fn compaction_leaves_the_last_line_of_each_writer() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = CheckpointFile::in_folder(folder.path());
        assert_eq!(file.compact().expect("nothing yet"), []);
        file.append(&[line(1, 1), line(2, 4)]).expect("appended");
        file.append(&[line(1, 2)]).expect("appended");
        assert_eq!(read(file.path()).expect("read").len(), 3);
        assert_eq!(file.compact().expect("compacted"), [signed(1, 2), signed(2, 4)]);
        file.append(&[line(1, 3)]).expect("appended to the new file");
        let lines = read(file.path()).expect("read");
        let read: Vec<_> = lines.into_iter().filter_map(|line| line.signed).collect();
        assert_eq!(read, [line(1, 2), line(2, 4), line(1, 3)]);
    }

    #[test]
    fn a_line_cut_off_by_a_crash_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = CheckpointFile::in_folder(folder.path());
        file.append(&[line(1, 1)]).expect("appended");
        let text = fs::read_to_string(file.path()).expect("text") + r#"{"writer":"0000"#;
        fs::write(file.path(), text).expect("written");
        file.append(&[line(2, 1)]).expect("appended");
        let found: Vec<_> = read(file.path()).expect("read").into_iter().map(|line| line.signed).collect();
        assert_eq!(found, [Some(line(1, 1)), None, Some(line(2, 1))]);
    }

    #[test]
    fn the_other_lines_of_a_log_are_passed_over() {
        let other = r#"{"timestamp":"2026","level":"INFO","message":"stopping","target":"tollgate"}"#;
        let own = text_of(&[line(1, 1)]).replace('{', r#"{"level":"INFO","message":"checkpoint","#);
        let lines = lines_of("log", &format!("{other}\n{own}\nnot JSON\n"));
        let found: Vec<_> = lines.into_iter().map(|line| (line.origin, line.signed)).collect();
        assert_eq!(found, [("log:2".to_owned(), Some(line(1, 1))), ("log:4".to_owned(), None)]);
    }
}
