//! Verification as a command: tampering is detected and named.

mod checkpoints;
mod earlier_batches;
mod tampering;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tollgate::auth::checkpoint::CheckpointKey;
use tollgate::auth::root_secret::RootSecret;
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::program::{run_command, tollgate_on};
use crate::support::service::{Caller, Node, ROOT_SECRET, data_dir, payment};

/// Runs `tollgate verify` with the checkpoints of this folder. Returns whether it succeeded, and
/// its output.
pub fn run_verify(database: &TestDatabase, data_dir: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = tollgate_on(database, &[&["verify"], arguments].concat());
    command.env("ROCKET_TOLLGATE_DATA_DIR", data_dir);
    let (status, output, log) = run_command(command);
    assert!(matches!(status.code(), Some(0 | 1)), "{output}\n{log}");
    assert!(output.contains(" decisions per second"), "it did not come to its end: {output}\n{log}");
    (status.success(), output)
}

/// The key of checkpoints under the root secret of the tests.
pub fn checkpoint_key() -> CheckpointKey {
    CheckpointKey::new(&RootSecret::from_text(ROOT_SECRET).unwrap()).unwrap()
}

/// A new data folder with the compiled plugins of the shared one.
pub fn copy_data_dir() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (compiled, own) = (data_dir().join("compiled-plugins"), folder.path().join("compiled-plugins"));
    fs::create_dir_all(&own).unwrap();
    for entry in fs::read_dir(compiled).into_iter().flatten().flatten() {
        let _ = fs::copy(entry.path(), own.join(entry.file_name()));
    }
    folder
}

async fn pay(caller: &Caller, keys: impl Iterator<Item = u32>) {
    for key in keys {
        let (status, response) = caller.pay(&format!("k{key}"), &payment()).await;
        assert_eq!(status, StatusCode::CREATED, "{response}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_of_two_nodes_and_several_tenants_verify_until_the_tail_is_cut_off() {
    let (database, folder) = (TestDatabase::create().await, copy_data_dir());
    let settings = [("data_dir", json!(folder.path())), ("journal_writers", json!(2))];
    let nodes = [Node::start_with(&database, &settings).await, Node::start_with(&database, &settings).await];
    let limit = json!({"currency": "EUR", "review_above_minor": 1_000});
    let with_rules = Caller::of_new_tenant(&nodes[0], "acme").await;
    with_rules.activate(&[("amount-limits", json!({"limits": [limit]})), ("account-check", json!({}))]).await;
    let without = Caller::of_new_tenant(&nodes[1], "other").await;
    let (there, elsewhere) = (without.at(&nodes[0].url), with_rules.at(&nodes[1].url));
    // One tenant pays at both nodes, the other tenant at one.
    tokio::join!(pay(&with_rules, 0..10), pay(&elsewhere, 10..20), pay(&there, 20..30));
    for node in nodes {
        node.stop().await;
    }

    let (well, output) = run_verify(&database, folder.path(), &[]);
    assert!(well && output.contains("30 decisions (0 erased) and 30 keys in "), "{output}");
    assert!(
        output.contains(": 0 findings") && output.contains("for the 0 writers without a checkpoint"),
        "{output}"
    );
    let file = folder.path().join("checkpoints.jsonl");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let mut superuser = database.superuser().await;
    let (writer, sequence): (Uuid, i64) = sqlx::query_as(
        "with cut as (delete from journal_batches
                      where (writer_id, sequence) = (select writer_id, max(sequence) from journal_batches
                                                     group by 1 order by 2 desc limit 1)
                      returning writer_id, sequence),
              gone as (delete from decisions d using cut
                       where d.writer_id = cut.writer_id and d.batch_sequence = cut.sequence
                       returning d.id),
              unbound as (delete from idempotency_keys k using gone where k.decision_id = gone.id)
         select writer_id, sequence from cut",
    )
    .fetch_one(&mut superuser)
    .await
    .unwrap();
    let (well, output) = run_verify(&database, folder.path(), &[]);
    let expected = format!("writer {writer} batch {sequence} - cut off: a checkpoint from ");
    assert!(!well && output.contains(&expected) && output.contains(": 1 findings"), "{output}");
    let (well, output) = run_verify(&database, tempfile::tempdir().unwrap().path(), &[]);
    assert!(
        well && output.contains("No checkpoint to compare with: removal of the newest entries"),
        "{output}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_during_live_decisions_finds_no_problem() {
    let (database, folder) = (TestDatabase::create().await, copy_data_dir());
    let settings = [("data_dir", json!(folder.path())), ("checkpoint_every_s", json!(1))];
    let node = Node::start_with(&database, &settings).await;
    let callers = [Caller::of_new_tenant(&node, "acme").await, Caller::of_new_tenant(&node, "other").await];
    let ended = Arc::new(AtomicBool::new(false));
    let paying: Vec<_> = (0..8)
        .map(|lane| {
            let (caller, ended) = (callers[lane % 2].clone(), ended.clone());
            tokio::spawn(async move {
                let mut paid = 0;
                while !ended.load(Ordering::SeqCst) {
                    let key = format!("lane-{lane}-{paid}");
                    assert_eq!(caller.pay(&key, &payment()).await.0, StatusCode::CREATED);
                    paid += 1;
                }
                paid
            })
        })
        .collect();
    for _ in 0..4 {
        let (well, output) = tokio::task::block_in_place(|| run_verify(&database, folder.path(), &[]));
        assert!(well && output.contains(": 0 findings"), "{output}");
    }
    ended.store(true, Ordering::SeqCst);
    let mut paid = 0;
    for lane in paying {
        paid += lane.await.unwrap();
    }
    node.stop().await;
    let (well, output) = tokio::task::block_in_place(|| run_verify(&database, folder.path(), &[]));
    assert!(well && output.contains(&format!("{paid} decisions (0 erased) and {paid} keys")), "{output}");
}
