//! Checkpoints: their signatures, their output, and what they detect.

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

use super::tampering::StoredChains;
use super::{copy_data_dir, pay, run_verify};
use crate::support::database::TestDatabase;
use crate::support::program::{Program, TEST_TIMEOUT, tollgate_on};
use crate::support::service::{Caller, Node, ROOT_SECRET};

/// Checkpoints of both writers, signed with the key of `root`.
fn checkpoints_in(folder: &Path, history: &StoredChains, root: &str) {
    for journal in &history.journals {
        let key = CheckpointKey::new(&RootSecret::from_text(root).unwrap()).unwrap();
        Checkpoints::open(folder, Arc::new(journal.clone()), key).unwrap().make(1_700_000_000_000).unwrap();
    }
}

#[tokio::test]
async fn only_a_checkpoint_detects_a_tail_that_was_cut_off() {
    let mut history = StoredChains::new().await;
    let (folder, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    checkpoints_in(folder.path(), &history, ROOT_SECRET);
    let (well, output) = run_verify(&history.database, folder.path(), &[]);
    assert!(well && output.contains("2 checkpoints are valid, the newest from 1700000000000 ms"), "{output}");

    let writer = history.at(2, 0).await.writer;
    history
        .tamper(format!(
            "delete from journal_batches where writer_id = '{writer}' and sequence > 1;
             with gone as (delete from decisions where writer_id = '{writer}' and batch_sequence > 1 returning id)
             delete from idempotency_keys where decision_id in (select id from gone)"
        ))
        .await;
    let (well, output) = run_verify(&history.database, folder.path(), &[]);
    let cut = format!(
        "writer {writer} batch 3 - cut off: a checkpoint from 1700000000000 ms covers this batch, but the last one stored is 1"
    );
    assert!(!well && output.contains(&cut) && output.contains(": 1 findings"), "{output}");

    let (well, output) = run_verify(&history.database, without.path(), &[]);
    assert!(
        well && output.contains("No checkpoint to compare with: removal of the newest entries"),
        "{output}"
    );
    let kept = folder.path().join("checkpoints.jsonl");
    let (well, output) =
        run_verify(&history.database, without.path(), &["--checkpoints", kept.to_str().unwrap()]);
    assert!(!well && output.contains(&cut), "{output}");
}

#[tokio::test]
async fn a_checkpoint_detects_a_rewritten_chain() {
    let mut history = StoredChains::new().await;
    let folder = tempfile::tempdir().unwrap();
    checkpoints_in(folder.path(), &history, ROOT_SECRET);
    let place = history.at(3, 0).await;
    history
        .tamper(format!(
            "update journal_batches set hash = sha256(hash) where writer_id = '{}' and sequence = 3",
            place.writer
        ))
        .await;
    let (well, output) = run_verify(&history.database, folder.path(), &[]);
    let expected = format!("writer {} batch 3 - chain rewritten: a checkpoint from ", place.writer);
    assert!(!well && output.contains(&expected), "{output}");
}

#[tokio::test]
async fn a_forged_checkpoint_is_reported_and_ignored() {
    let history = StoredChains::new().await;
    let folder = tempfile::tempdir().unwrap();
    checkpoints_in(folder.path(), &history, ROOT_SECRET);
    let path = folder.path().join("checkpoints.jsonl");
    let honest = fs::read_to_string(&path).unwrap();
    // Changes the sequence of a checkpoint, so that its signature is wrong.
    fs::write(&path, honest.replacen("\"sequence\":3", "\"sequence\":2", 1)).unwrap();
    let (well, output) = run_verify(&history.database, folder.path(), &[]);
    let expected = format!("- forged: the checkpoint {}:1 was not signed", path.display());
    assert!(!well && output.contains(&expected) && output.contains("1 checkpoints are valid"), "{output}");

    fs::write(&path, honest + "garbage\n").unwrap();
    let (well, output) = run_verify(&history.database, folder.path(), &[]);
    assert!(!well && output.contains(&format!("- {}:3 is not a checkpoint", path.display())), "{output}");

    fs::remove_file(&path).unwrap();
    checkpoints_in(folder.path(), &history, &"5c".repeat(16).repeat(2).replacen('5', "6", 1));
    let (well, output) = run_verify(&history.database, folder.path(), &[]);
    assert!(!well && output.contains(&expected) && output.contains("No checkpoint is valid: "), "{output}");
}

/// The checkpoints of a node, once there are some.
async fn wait_for_checkpoints(caller: &Caller) -> Value {
    let begun = Instant::now();
    loop {
        let (status, response) = caller.get("/audit/checkpoints").await;
        assert_eq!(status, StatusCode::OK, "{response}");
        if !response["items"].as_array().unwrap().is_empty() {
            return response;
        }
        assert!(begun.elapsed() < TEST_TIMEOUT, "no checkpoint was made: {response}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_can_be_verified_without_tollgate() {
    let (database, folder) = (TestDatabase::create().await, copy_data_dir());
    let settings = [("data_dir", json!(folder.path())), ("checkpoint_every_s", json!(1))];
    let node = Node::start_with(&database, &settings).await;
    let caller = Caller::of_new_tenant(&node, "acme").await;
    let (_, response) = caller.get("/audit/checkpoints").await;
    assert_eq!(response["items"], json!([]), "nothing was stored yet");
    pay(&caller, 0..3).await;
    let response = wait_for_checkpoints(&caller).await;
    let item = &response["items"][0];
    let text = format!(
        "tollgate checkpoint 1\n{}\n{}\n{}\n{}\n",
        item["writer"].as_str().unwrap(),
        item["sequence"],
        item["hash"].as_str().unwrap(),
        item["at_ms"]
    );
    let bytes = |value: &Value| URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap();
    let key = &response["public_key"];
    assert_eq!((&key["kty"], &key["crv"], &key["kid"]), (&json!("OKP"), &json!("Ed25519"), &item["kid"]));
    let key = UnparsedPublicKey::new(&ED25519, bytes(&key["x"]));
    key.verify(text.as_bytes(), &bytes(&item["signature"])).unwrap();

    // An item of the response is a valid line for the command.
    let kept = tempfile::tempdir().unwrap();
    let file = kept.path().join("kept.jsonl");
    fs::write(&file, format!("{item}\n")).unwrap();
    let (well, output) = tokio::task::block_in_place(|| {
        run_verify(&database, kept.path(), &["--checkpoints", file.to_str().unwrap()])
    });
    assert!(well && output.contains("1 checkpoints are valid"), "{output}");

    let scopes = ScopeSet::parse("decisions:read").unwrap();
    let other = Caller::of_tenant(&node, "acme", scopes).await;
    assert_eq!(other.get("/audit/checkpoints").await.0, StatusCode::FORBIDDEN);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_the_last_checkpoint_and_can_be_used_as_a_checkpoint_file() {
    let (database, folder) = (TestDatabase::create().await, copy_data_dir());
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
    let (well, output) = tokio::task::block_in_place(|| {
        run_verify(&database, kept.path(), &["--checkpoints", file.to_str().unwrap()])
    });
    assert!(well && output.contains("1 checkpoints are valid"), "{output}\n{}", program.log());
    let (well, output) = tokio::task::block_in_place(|| run_verify(&database, folder.path(), &[]));
    assert!(
        well && output.contains("1 checkpoints are valid") && output.contains("the 0 writers"),
        "{output}"
    );
}
