//! The private Postgres server: kills, leftover files, second instances, and root.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{ConnectOptions, PgConnection};
use tempfile::TempDir;
use tollgate::storage::binaries::Binaries;
use tollgate::storage::databases::Databases;
use tollgate::storage::pool::DatabaseSettings;
use tollgate::storage::private_server::{PrivateServer, PrivateServerError};

use crate::support::program::TEST_TIMEOUT;

use crate::support::subprocess::{server_settings, subprocess, subprocess_folder};

/// A temporary folder. For root, the server runs as another user, who needs access to it.
pub fn folder() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap()
}

async fn start(folder: &Path) -> Result<PrivateServer, PrivateServerError> {
    PrivateServer::start(server_settings(folder.join("postgres"), false)).await
}

async fn connect(server: &PrivateServer) -> PgConnection {
    server.url().parse::<sqlx::postgres::PgConnectOptions>().unwrap().connect().await.unwrap()
}

fn server_process(folder: &Path) -> Option<Pid> {
    let file = std::fs::read_to_string(folder.join("postgres/cluster/postmaster.pid")).ok()?;
    Pid::from_raw(file.lines().next()?.parse().ok()?)
}

async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < TEST_TIMEOUT, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
#[ignore = "runs only as a process of its own, which a test kills"]
fn application() {
    let Some(folder) = subprocess_folder() else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let server = PrivateServer::start(server_settings(folder.join("postgres"), true)).await.unwrap();
        let mut connection = connect(&server).await;
        sqlx::raw_sql("create table kept (id int); insert into kept values (1)")
            .execute(&mut connection)
            .await
            .unwrap();
        std::fs::write(folder.join("ready"), "").unwrap();
        std::future::pending::<()>().await;
    });
}

async fn running_application(folder: &Path) -> Child {
    let application = subprocess("private_server::application", folder, &folder.join("log")).spawn().unwrap();
    wait_until("the start of the application", || folder.join("ready").exists()).await;
    application
}

#[tokio::test]
async fn the_server_stops_when_its_application_is_killed() {
    let folder = folder();
    let mut application = running_application(folder.path()).await;
    let server = server_process(folder.path()).unwrap();
    application.kill().unwrap();
    application.wait().unwrap();
    let pid_file = folder.path().join("postgres/cluster/postmaster.pid");
    if cfg!(target_os = "linux") {
        wait_until("the end of the server", || !pid_file.exists()).await;
        wait_until("the end of its process", || rustix::process::test_kill_process(server).is_err()).await;
    }
}

#[tokio::test]
async fn a_start_right_after_a_kill_finds_committed_data() {
    let folder = folder();
    let mut application = running_application(folder.path()).await;
    application.kill().unwrap();
    let server = start(folder.path()).await.unwrap();
    application.wait().unwrap();
    let kept: i64 =
        sqlx::query_scalar("select count(*) from kept").fetch_one(&mut connect(&server).await).await.unwrap();
    assert_eq!(kept, 1);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_server_is_restarted() {
    let folder = folder();
    let server = start(folder.path()).await.unwrap();
    let first = server_process(folder.path()).unwrap();
    kill_process(first, Signal::KILL).unwrap();
    wait_until("another server", || server_process(folder.path()).is_some_and(|now| now != first)).await;
    let begun = Instant::now();
    while server.connect_options().connect().await.is_err() {
        assert!(begun.elapsed() < TEST_TIMEOUT);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await.unwrap();
    assert!(server_process(folder.path()).is_none());
}

#[tokio::test]
async fn a_pid_file_of_another_process_or_a_zombie_does_not_prevent_the_start() {
    let folder = folder();
    start(folder.path()).await.unwrap().stop().await.unwrap();
    let pid_file = folder.path().join("postgres/cluster/postmaster.pid");
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    let mut zombie = Command::new("true").spawn().unwrap();
    for process in [stranger.id(), zombie.id()] {
        std::fs::write(
            &pid_file,
            format!("{process}\n{}\n0\n5432\n\n\n\nready\n", pid_file.parent().unwrap().display()),
        )
        .unwrap();
        start(folder.path()).await.unwrap().stop().await.unwrap();
    }
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger was ended");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    zombie.wait().unwrap();
}

#[tokio::test]
async fn a_postgres_that_still_runs_in_the_data_directory_is_stopped_first() {
    let folder = folder();
    start(folder.path()).await.unwrap().stop().await.unwrap();
    let cluster = folder.path().join("postgres/cluster");
    let owner = cluster.metadata().unwrap();
    // Without the shim, the server does not notice that its application has ended.
    let mut orphan = Command::new(Binaries::find(None).unwrap().postgres)
        .arg("-D")
        .arg(&cluster)
        .args(["-c", "listen_addresses=", "-c", "unix_socket_directories=."])
        .uid(owner.uid())
        .gid(owner.gid())
        .spawn()
        .unwrap();
    wait_until("the start of the orphan", || {
        std::fs::read_to_string(cluster.join("postmaster.pid")).is_ok_and(|file| file.contains("ready"))
    })
    .await;
    let server = start(folder.path()).await.unwrap();
    assert!(orphan.try_wait().unwrap().is_some_and(|end| end.success()), "it was not shut down in order");
    connect(&server).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn an_unfinished_initdb_is_discarded() {
    let folder = folder();
    let data_dir = folder.path().join("postgres");
    std::fs::create_dir_all(data_dir.join("cluster.unfinished/base")).unwrap();
    std::fs::write(data_dir.join("cluster.unfinished/PG_VERSION"), "1").unwrap();
    start(folder.path()).await.unwrap().stop().await.unwrap();
    assert!(!data_dir.join("cluster.unfinished").exists());
}

#[tokio::test]
async fn a_second_instance_is_refused_with_the_pid_of_the_first() {
    let folder = folder();
    let first = start(folder.path()).await.unwrap();
    let refusal = start(folder.path()).await.unwrap_err();
    assert!(
        matches!(&refusal, PrivateServerError::AlreadyRunning { holder, .. } if *holder == std::process::id().to_string()),
        "{refusal}"
    );
    connect(&first).await;
    first.stop().await.unwrap();
    start(folder.path()).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_server_is_found_while_it_starts_but_not_after_it_has_stopped() {
    let folder = folder();
    let data_dir = folder.path().join("postgres");
    assert_eq!(PrivateServer::running(&data_dir).await.unwrap(), None);
    assert!(!data_dir.exists(), "looking has made something");
    let starting = tokio::spawn(PrivateServer::start(server_settings(data_dir.clone(), false)));
    let lock = data_dir.join("lock");
    wait_until("the lock", || std::fs::read_to_string(&lock).is_ok_and(|holder| !holder.is_empty())).await;
    let running = PrivateServer::running(&data_dir).await.unwrap();
    let server = starting.await.unwrap().unwrap();
    assert_eq!(running, Some(server.url()));
    // A leftover file of a killed server has no effect.
    let pid_file = server.data_dir().join("cluster/postmaster.pid");
    let leftover = std::fs::read(&pid_file).unwrap();
    server.stop().await.unwrap();
    std::fs::write(pid_file, leftover).unwrap();
    assert_eq!(PrivateServer::running(&data_dir).await.unwrap(), None);
}

#[tokio::test]
async fn data_of_another_major_version_is_refused() {
    let folder = folder();
    let cluster = folder.path().join("postgres/cluster");
    std::fs::create_dir_all(&cluster).unwrap();
    std::fs::write(cluster.join("PG_VERSION"), "9\n").unwrap();
    let refusal = start(folder.path()).await.unwrap_err();
    assert!(matches!(refusal, PrivateServerError::VersionMismatch { stored: 9, .. }), "{refusal}");
}

#[tokio::test]
async fn a_path_that_is_too_long_for_a_socket_works() {
    let folder = folder();
    let deep = folder.path().join("d".repeat(60)).join("e".repeat(60));
    let server = start(&deep).await.unwrap();
    connect(&server).await;
    let socket_dir = server.connect_options().get_socket().unwrap().clone();
    assert_eq!(socket_dir.metadata().unwrap().mode() & 0o777, 0o700);
    server.stop().await.unwrap();
    std::fs::remove_dir_all(socket_dir).unwrap();
}

#[tokio::test]
async fn other_users_cannot_access_the_socket_or_the_data() {
    let folder = folder();
    let server = start(folder.path()).await.unwrap();
    for private in [server.data_dir(), server.connect_options().get_socket().unwrap()] {
        assert_eq!(private.metadata().unwrap().mode() & 0o777, 0o700, "{}", private.display());
    }
    let listen: String =
        sqlx::query_scalar("show listen_addresses").fetch_one(&mut connect(&server).await).await.unwrap();
    assert_eq!(listen, "");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn for_root_the_server_runs_as_another_user_without_access_to_data_or_program() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = folder();
    let closed = folder.path().join("closed");
    std::fs::DirBuilder::new().mode(0o700).create(&closed).unwrap();
    let mut settings = server_settings(closed.join("postgres"), false);
    let program = std::mem::replace(&mut settings.shim_exe, closed.join("tollgate"));
    std::fs::copy(program, &settings.shim_exe).unwrap();
    let server = PrivateServer::start(settings).await.unwrap();
    let data_dir = server.data_dir().to_owned();
    assert!(!data_dir.starts_with(folder.path()), "{}", data_dir.display());
    assert_ne!(data_dir.join("cluster").metadata().unwrap().uid(), 0);
    connect(&server).await;
    // Another process with the same settings finds it.
    let running = PrivateServer::running(&closed.join("postgres")).await.unwrap();
    assert_eq!(running, Some(server.url()));
    server.stop().await.unwrap();
    std::fs::remove_dir_all(data_dir).unwrap();
}

#[tokio::test]
async fn root_does_not_change_the_owner_of_a_linked_file() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = folder();
    let victim = folder.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    let link = folder.path().join("postgres");
    std::os::unix::fs::symlink(&victim, &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(4_242), None).unwrap();
    let server = start(folder.path()).await.unwrap();
    let data_dir = server.data_dir().to_owned();
    server.stop().await.unwrap();
    assert!(!data_dir.starts_with(folder.path()), "{}", data_dir.display());
    assert_eq!(victim.metadata().unwrap().uid(), 0);
    std::fs::remove_dir_all(data_dir).unwrap();
}

#[tokio::test]
async fn each_role_has_a_login_that_cannot_change_its_role_on_an_old_cluster_too() {
    let folder = folder();
    let server = start(folder.path()).await.unwrap();
    Databases::open(&DatabaseSettings::for_url(server.url())).await.unwrap().close().await;
    let settings = server.settings().await.unwrap();
    let again = PrivateServer::settings_at(&server.url()).await.unwrap();
    assert_eq!(settings.app_url, again.app_url);
    let databases = Databases::open(&settings).await.unwrap();
    for (pool, role) in [
        (databases.app.sqlx_pool(), "app"),
        (databases.facts.sqlx_pool(), "journal"),
        (databases.system.sqlx_pool(), "system"),
    ] {
        let mut session = pool.acquire().await.unwrap();
        sqlx::raw_sql("set role none").execute(&mut *session).await.unwrap();
        let login: String =
            sqlx::query_scalar("select current_user::text").fetch_one(&mut *session).await.unwrap();
        assert_eq!(login, format!("tollgate_{role}_login"));
        for other in ["tollgate", "tollgate_owner", "tollgate_app", "tollgate_journal", "tollgate_system"] {
            let become_it = sqlx::AssertSqlSafe(format!("set role {other}"));
            let became = sqlx::raw_sql(become_it).execute(&mut *session).await;
            assert_eq!(became.is_ok(), other == format!("tollgate_{role}"), "{login} as {other}");
        }
    }
    databases.close().await;
    server.stop().await.unwrap();
}
