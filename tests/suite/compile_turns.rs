//! The turns in which plugins are compiled. A turn must never be held while waiting for something
//! else.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;
use tollgate::decisions::compile_turns::CompileTurns;
use tollgate::decisions::plugins::Plugins;
use tollgate::decisions::spool::Spool;
use tollgate::decisions::uploads::{UploadSettings, Uploads};
use tollgate::domain::plugin::Profile;
use tollgate::domain::tenant::TenantId;
use tollgate::rules::{EngineSettings, LocalEngine, RuleEngine};
use tollgate::storage::tenants::create_tenant;
use tollgate::storage::uploads::UploadQuotas;
use tollgate::world;
use uuid::Uuid;

use crate::support::components::component;
use crate::support::database::TestDatabase;
use crate::support::decisions::now_ms;
use crate::support::program::TEST_TIMEOUT;

fn engine(folder: &Path) -> Arc<dyn RuleEngine> {
    let settings = EngineSettings::new(env!("CARGO_BIN_EXE_tollgate").into(), folder.join("cache"), [7; 32]);
    Arc::new(LocalEngine::start(&settings).unwrap())
}

/// The plugins of a database, with a folder that has one plugin.
fn plugins_and_folder(database: &TestDatabase, turns: &Arc<CompileTurns>) -> (Plugins, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good.wasm"), component("good")).unwrap();
    let system = database.databases().system;
    (Plugins::new(system, engine(folder.path()), turns.clone()), folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_of_the_folder_waits_for_its_turn_to_be_compiled() {
    let database = TestDatabase::create().await;
    let turns = Arc::new(CompileTurns::default());
    let (plugins, folder) = plugins_and_folder(&database, &turns);
    let mut others = Vec::new();
    while let Ok(turn) = tokio::time::timeout(Duration::from_millis(50), turns.take(Profile::Small)).await {
        others.push(turn.unwrap());
    }
    let world = world::system();
    let taking_in = plugins.load_folder(folder.path(), &world);
    tokio::pin!(taking_in);
    let early = tokio::time::timeout(Duration::from_secs(5), &mut taking_in).await;
    assert!(early.is_err(), "it did not wait: {early:?}");
    others.clear();
    assert_eq!(taking_in.await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_of_the_folder_that_could_not_be_stored_is_stored_later() {
    let database = TestDatabase::create().await;
    let (plugins, folder) = plugins_and_folder(&database, &Arc::default());
    let mut superuser = database.superuser().await;
    sqlx::raw_sql("alter table plugins rename to gone").execute(&mut superuser).await.unwrap();
    plugins.load_folder(folder.path(), &world::system()).await.expect_err("there is no table");
    sqlx::raw_sql("alter table gone rename to plugins").execute(&mut superuser).await.unwrap();
    let taken_in = plugins.load_folder(folder.path(), &world::system()).await.unwrap();
    assert_eq!(taken_in.len(), 1);
    assert_eq!(plugins.load_folder(folder.path(), &world::system()).await.unwrap(), [], "once");
}

async fn wait_for_lock_waiter(superuser: &mut PgConnection) {
    let begun = Instant::now();
    let waits = "select exists (select from pg_locks where not granted
                               and relation = 'plugin_uploads'::regclass)";
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut *superuser).await.unwrap() {
        assert!(begun.elapsed() < TEST_TIMEOUT, "no session waits for a lock");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Asserts that the worker of large uploads ends while another upload holds its share of the
/// memory. That upload waits until the database stores it. With `large_waits`, the worker has an
/// upload to compile, waits for memory and is stopped.
async fn large_worker_ends_first(large_waits: bool) {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let folder = tempfile::tempdir().unwrap();
    let tenant = TenantId(Uuid::now_v7());
    create_tenant(&databases.system, tenant, "acme", now_ms(), "test").await.unwrap();
    let turns = Arc::new(CompileTurns::default());
    let settings = UploadSettings {
        quotas: UploadQuotas { waiting_max: 8, plugins_max: 8, stored_max: 8 },
        spool_folder: folder.path().to_owned(),
        size_max_bytes: 24 << 20,
    };
    let (app, system) = (databases.app.clone(), databases.system.clone());
    let uploads = Uploads::new(
        app,
        system,
        engine(folder.path()),
        turns.clone(),
        world::system(),
        settings,
        Uuid::now_v7(),
    )
    .unwrap();
    let mut superuser = database.superuser().await;
    if large_waits {
        sqlx::query(
            "insert into plugin_uploads (tenant_id, digest, bytes, size_bytes, state, uploaded_by,
                                         uploaded_at_ms, attempts, profile)
             select id, sha256('x'), 'x', 1, 'waiting', 'client:x', 0, 0, 'large' from tenants",
        )
        .execute(&mut superuser)
        .await
        .unwrap();
    }
    let mut locking = superuser.begin().await.unwrap();
    sqlx::raw_sql("lock table plugin_uploads in share row exclusive mode")
        .execute(&mut *locking)
        .await
        .unwrap();
    let spool = Spool::receive(folder.path(), component("good").as_slice()).await.unwrap();
    let handing_in = uploads.upload(tenant, "client:x", spool, None);
    tokio::pin!(handing_in);
    let mut observer = database.superuser().await;
    tokio::select! {
        early = &mut handing_in => panic!("it is stored: {early:?}"),
        () = wait_for_lock_waiter(&mut observer) => {}
    }
    let stop = CancellationToken::new();
    let working = async {
        let (ended, ()) = tokio::join!(uploads.process_waiting(Profile::Large, &stop), async {
            if large_waits {
                // The worker is waiting for memory or has not started. It must end in both cases.
                tokio::time::sleep(Duration::from_millis(500)).await;
                stop.cancel();
            }
        });
        ended.unwrap();
        turns.take(Profile::Large).await.map(drop).unwrap();
    };
    tokio::select! {
        early = &mut handing_in => panic!("the worker waited for as long as this took: {early:?}"),
        () = working => {}
    }
    locking.rollback().await.unwrap();
    handing_in.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_of_large_uploads_holds_no_memory_while_no_upload_is_waiting() {
    large_worker_ends_first(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_for_memory_stops_with_its_node() {
    large_worker_ends_first(true).await;
}
