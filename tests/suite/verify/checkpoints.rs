//! Checkpoints: what is signed, where it goes, and what it finds.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tollgate::auth::checkpoint::CheckpointKey;
use tollgate::auth::root_secret::RootSecret;
use tollgate::auth::scope::ScopeSet;
use tollgate::decisions::checkpoints::Checkpoints;
use tollgate::domain::time::FixedClock;

use super::tampering::History;
use super::{own_data_dir, pay, verified};
use crate::support::database::TestDatabase;
use crate::support::program::{PATIENCE, Program, tollgate_on};
use crate::support::service::{Caller, Node, ROOT_SECRET};

/// Of both writers, signed with the key of `root`.
fn checkpoints_in(folder: &Path, history: &History, root: &str) {
    for journal in &history.journals {
        let key = CheckpointKey::new(&RootSecret::from_text(root).unwrap()).unwrap();
        let clock = Arc::new(FixedClock::at(1_700_000_000_000));
        Checkpoints::open(folder, Arc::new(journal.clone()), key, clock).unwrap().make().unwrap();
    }
}

#[tokio::test]
async fn a_tail_that_was_cut_off_is_found_by_a_checkpoint_and_by_nothing_else() {
    let mut history = History::new().await;
    let (folder, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    checkpoints_in(folder.path(), &history, ROOT_SECRET);
    let (well, said) = verified(&history.database, folder.path(), &[]);
    assert!(well && said.contains("2 checkpoints are valid, the newest from 1700000000000 ms"), "{said}");

    let writer = history.at(2, 0).await.writer;
    history
        .tamper(format!(
            "delete from journal_batches where writer_id = '{writer}' and sequence > 1;
             with gone as (delete from decisions where writer_id = '{writer}' and batch_sequence > 1 returning id)
             delete from idempotency_keys where decision_id in (select id from gone)"
        ))
        .await;
    let (well, said) = verified(&history.database, folder.path(), &[]);
    let cut = format!(
        "writer {writer} batch 3 - cut off: a checkpoint from 1700000000000 ms covers this batch, but the last one stored is 1"
    );
    assert!(!well && said.contains(&cut) && said.contains(": 1 findings"), "{said}");

    let (well, said) = verified(&history.database, without.path(), &[]);
    assert!(well && said.contains("No checkpoint to compare with: removal of the newest entries"), "{said}");
    let kept = folder.path().join("checkpoints.jsonl");
    let (well, said) =
        verified(&history.database, without.path(), &["--checkpoints", kept.to_str().unwrap()]);
    assert!(!well && said.contains(&cut), "{said}");
}

#[tokio::test]
async fn a_chain_that_was_written_anew_is_found_by_a_checkpoint() {
    let mut history = History::new().await;
    let folder = tempfile::tempdir().unwrap();
    checkpoints_in(folder.path(), &history, ROOT_SECRET);
    let place = history.at(3, 0).await;
    history
        .tamper(format!(
            "update journal_batches set hash = sha256(hash) where writer_id = '{}' and sequence = 3",
            place.writer
        ))
        .await;
    let (well, said) = verified(&history.database, folder.path(), &[]);
    let expected = format!("writer {} batch 3 - chain rewritten: a checkpoint from ", place.writer);
    assert!(!well && said.contains(&expected), "{said}");
}

#[tokio::test]
async fn a_forged_checkpoint_is_named_and_not_believed() {
    let history = History::new().await;
    let folder = tempfile::tempdir().unwrap();
    checkpoints_in(folder.path(), &history, ROOT_SECRET);
    let path = folder.path().join("checkpoints.jsonl");
    let honest = fs::read_to_string(&path).unwrap();
    // As if more had been stored.
    fs::write(&path, honest.replacen("\"sequence\":3", "\"sequence\":2", 1)).unwrap();
    let (well, said) = verified(&history.database, folder.path(), &[]);
    let expected = format!("- forged: the checkpoint {}:1 was not signed", path.display());
    assert!(!well && said.contains(&expected) && said.contains("1 checkpoints are valid"), "{said}");

    fs::write(&path, honest + "garbage\n").unwrap();
    let (well, said) = verified(&history.database, folder.path(), &[]);
    assert!(!well && said.contains(&format!("- {}:3 is not a checkpoint", path.display())), "{said}");

    fs::remove_file(&path).unwrap();
    checkpoints_in(folder.path(), &history, &"5c".repeat(16).repeat(2).replacen('5', "6", 1));
    let (well, said) = verified(&history.database, folder.path(), &[]);
    assert!(!well && said.contains(&expected) && said.contains("No checkpoint is valid: "), "{said}");
}

/// The checkpoints that a node gives out, once it has made some.
async fn given(caller: &Caller) -> Value {
    let begun = Instant::now();
    loop {
        let (status, answer) = caller.get("/audit/checkpoints").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        if !answer["items"].as_array().unwrap().is_empty() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "no checkpoint was made: {answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_gets_checkpoints_that_can_be_checked_without_tollgate() {
    let (database, folder) = (TestDatabase::create().await, own_data_dir());
    let settings = [("data_dir", json!(folder.path())), ("checkpoint_every_s", json!(1))];
    let node = Node::start_with(&database, &settings).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let (_, answer) = caller.get("/audit/checkpoints").await;
    assert_eq!(answer["items"], json!([]), "nothing was stored yet");
    pay(&caller, 0..3).await;
    let answer = given(&caller).await;
    let item = &answer["items"][0];
    let text = format!(
        "tollgate checkpoint 1\n{}\n{}\n{}\n{}\n",
        item["writer"].as_str().unwrap(),
        item["sequence"],
        item["hash"].as_str().unwrap(),
        item["at_ms"]
    );
    let bytes = |value: &Value| URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap();
    let key = &answer["public_key"];
    assert_eq!((&key["kty"], &key["crv"], &key["kid"]), (&json!("OKP"), &json!("Ed25519"), &item["kid"]));
    let key = UnparsedPublicKey::new(&ED25519, bytes(&key["x"]));
    key.verify(text.as_bytes(), &bytes(&item["signature"])).unwrap();

    // Kept as it came, one item is a line that the command takes.
    let kept = tempfile::tempdir().unwrap();
    let file = kept.path().join("kept.jsonl");
    fs::write(&file, format!("{item}\n")).unwrap();
    let (well, said) = tokio::task::block_in_place(|| {
        verified(&database, kept.path(), &["--checkpoints", file.to_str().unwrap()])
    });
    assert!(well && said.contains("1 checkpoints are valid"), "{said}");

    let scopes = ScopeSet::parse("decisions:read").unwrap();
    let other = Caller::of_tenant(&node, "acme", scopes).await;
    assert_eq!(other.get("/audit/checkpoints").await.0, StatusCode::FORBIDDEN);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_an_orderly_stop_has_the_last_checkpoint_and_serves_as_a_file_of_them() {
    let (database, folder) = (TestDatabase::create().await, own_data_dir());
    let mut command = tollgate_on(&database, &["serve"]);
    command.env("ROCKET_TOLLGATE_DATA_DIR", folder.path()).env("ROCKET_TOLLGATE_LOG_FORMAT", "json");
    let mut program = Program::start(command).await;
    let caller = program.caller_of_new_tenant(&database, "acme").await;
    pay(&caller, 0..3).await;
    program.signal(rustix::process::Signal::TERM);
    assert!(program.wait().await.success());

    let kept = tempfile::tempdir().unwrap();
    let file = kept.path().join("tollgate.log");
    fs::write(&file, program.log()).unwrap();
    let (well, said) = tokio::task::block_in_place(|| {
        verified(&database, kept.path(), &["--checkpoints", file.to_str().unwrap()])
    });
    assert!(well && said.contains("1 checkpoints are valid"), "{said}\n{}", program.log());
    let (well, said) = tokio::task::block_in_place(|| verified(&database, folder.path(), &[]));
    assert!(well && said.contains("1 checkpoints are valid") && said.contains("the 0 writers"), "{said}");
}
