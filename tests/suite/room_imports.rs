//! Reads the sources and checks what each room imports. Also checks that some operations are used
//! in one place only.

mod paths;

use std::fs;
use std::path::{Path, PathBuf};

use paths::{paths, paths_outside_tests};

struct Room {
    name: &'static str,
    /// The other rooms of the crate that it may import.
    rooms: &'static [&'static str],
    /// The crates that it must not use.
    barred_crates: &'static [&'static str],
}

const ROOMS: [Room; 10] = [
    Room { name: "domain", rooms: &[], barred_crates: &["rocket", "sqlx", "wasmtime", "tokio"] },
    Room { name: "rules", rooms: &["domain"], barred_crates: &["rocket", "sqlx"] },
    Room { name: "storage", rooms: &["domain"], barred_crates: &["rocket", "wasmtime"] },
    Room { name: "auth", rooms: &["domain"], barred_crates: &["rocket", "sqlx", "wasmtime"] },
    Room {
        name: "decisions",
        rooms: &["domain", "rules", "storage", "auth"],
        barred_crates: &["rocket", "sqlx", "wasmtime"],
    },
    Room {
        name: "people",
        rooms: &["domain", "storage", "auth"],
        barred_crates: &["rocket", "sqlx", "wasmtime"],
    },
    Room {
        name: "proposals",
        rooms: &["domain", "rules", "storage", "auth", "decisions", "people"],
        barred_crates: &["rocket", "sqlx", "wasmtime"],
    },
    Room { name: "workers", rooms: &["domain", "rules"], barred_crates: &["rocket", "sqlx", "wasmtime"] },
    Room { name: "door", rooms: &["domain"], barred_crates: &["rocket", "sqlx", "wasmtime"] },
    Room {
        name: "http",
        rooms: &["domain", "rules", "storage", "auth", "decisions", "people", "proposals", "door"],
        barred_crates: &["sqlx", "wasmtime"],
    },
];

/// The module that reads the clock and the random source. Unit tests of every room may use it.
const WORLD: &str = "world";

/// The paths of functions that read the date or draw random bytes.
const CLOCK_AND_RANDOMNESS: [&[&str]; 12] = [
    &["SystemTime", "now"],
    &["UNIX_EPOCH"],
    &["ClockId", "Realtime"],
    &["ClockId", "Monotonic"],
    &["ClockId", "Boottime"],
    &["Uuid", "now_v7"],
    &["Uuid", "now_v1"],
    &["Uuid", "new_v4"],
    &["Timestamp", "now"],
    &["rand"],
    &["fastrand"],
    &["getrandom"],
];

impl Room {
    /// The paths in one source file of the room that are forbidden there.
    fn violations(&self, file: &Path, source: &str) -> Vec<String> {
        let (all, own) = if is_for_tests(file) {
            (paths(source), Vec::new())
        } else {
            (paths(source), paths_outside_tests(source))
        };
        let may_import = |room: &str| room == self.name || self.rooms.contains(&room);
        let rooms =
            all.iter().filter(|path| room_of(path).is_some_and(|room| room != WORLD && !may_import(room)));
        let world = own.iter().filter(|path| room_of(path) == Some(WORLD));
        let crates = all.iter().filter(|path| self.barred_crates.contains(&first(path)));
        rooms.chain(world).chain(crates).map(|path| format!("{} names {path}", file.display())).collect()
    }
}

/// The room of a path that begins with `crate::`.
fn room_of(path: &str) -> Option<&str> {
    path.strip_prefix("crate::").map(first)
}

fn first(path: &str) -> &str {
    path.split("::").next().unwrap_or_default()
}

/// Whether a file is compiled for tests only, which its name shows.
fn is_for_tests(file: &Path) -> bool {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    stem == "tests" || stem == "fixtures" || stem.ends_with("_tests")
}

/// The paths in a source file that read the clock or the random source.
fn clock_and_randomness(source: &str) -> Vec<String> {
    let mut found = paths_outside_tests(source);
    found.retain(|path| {
        let segments: Vec<&str> = path.split("::").collect();
        CLOCK_AND_RANDOMNESS
            .iter()
            .any(|reading| segments.windows(reading.len()).any(|part| part == *reading))
    });
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path()) {
        if entry.is_dir() {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
    found
}

#[test]
fn each_room_names_only_the_rooms_and_crates_it_may() {
    let mut wrong = Vec::new();
    for room in ROOMS {
        for file in sources(&src().join(room.name)) {
            wrong.extend(room.violations(&file, &fs::read_to_string(&file).expect("source")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_wrong_import_in_a_group_is_found() {
    let violations = |source: &str| ROOMS[2].violations(Path::new("x.rs"), source);
    assert_eq!(violations("use crate::{domain::time::Clock, storage::{pool, session}};"), [""; 0]);
    assert_eq!(violations("use crate::{domain, http::{edge, request}};").len(), 2);
    assert_eq!(violations("use crate::domain;\nuse {sqlx::PgPool, rocket::{State, get}};").len(), 2);
    assert_eq!(violations("fn f() -> rocket::http::Status { crate::decisions::f() }").len(), 2);
    assert_eq!(violations("use rocket;"), ["x.rs names rocket"]);
    assert_eq!(violations("use crate::{domain, world::OsRandomness};").len(), 1);
    assert_eq!(violations("#[cfg(test)] mod tests { use crate::{domain, world::OsRandomness}; }"), [""; 0]);
}

#[test]
fn only_world_reads_the_clock_and_the_random_source() {
    let world = src().join("world.rs");
    let mut wrong = Vec::new();
    for file in sources(&src()).into_iter().filter(|file| *file != world && !is_for_tests(file)) {
        for path in clock_and_randomness(&fs::read_to_string(&file).expect("source")) {
            wrong.push(format!("{} names {path}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(!clock_and_randomness(&fs::read_to_string(&world).expect("source")).is_empty());
}

#[test]
fn a_reading_of_the_clock_or_the_random_source_is_found() {
    for source in [
        "fn f() { std::time::SystemTime::now(); }",
        "fn f() { Uuid::now_v7() }",
        "use aws_lc_rs::{digest, rand};",
        "use std::time::{Duration, UNIX_EPOCH};",
    ] {
        assert_eq!(clock_and_randomness(source).len(), 1, "{source}");
    }
    for source in [
        "use std::time::{Instant, SystemTime}; fn f() { Instant::now() }",
        "#[cfg(test)] mod tests { fn f() { Uuid::now_v7() } }",
    ] {
        assert_eq!(clock_and_randomness(source), [""; 0], "{source}");
    }
}

#[test]
fn outside_of_storage_the_role_of_a_pool_is_its_type() {
    for path in sources(&src()).iter().filter(|path| !path.starts_with(src().join("storage"))) {
        let source = fs::read_to_string(path).expect("source");
        for name in ["PgPool", "sqlx_pool("] {
            assert!(!source.contains(name), "{} names {name}", path.display());
        }
    }
}

#[test]
fn only_the_tenant_transaction_begins_transactions_for_requests() {
    // The journal and provisioning have separate connections.
    let may_begin = ["transaction.rs", "journal", "provision.rs", "migrate.rs", "pool.rs"];
    for path in sources(&src()) {
        let source = fs::read_to_string(&path).expect("source");
        let shown = path.display().to_string();
        if may_begin.iter().any(|part| shown.contains(part)) {
            continue;
        }
        assert!(
            !source.contains(".begin()") && !source.contains(".begin_with("),
            "{shown} begins a transaction"
        );
    }
}

#[test]
fn every_module_says_first_what_it_owns() {
    for path in sources(&src()) {
        let source = fs::read_to_string(&path).expect("source");
        assert!(source.starts_with("//!"), "{} does not open with //!", path.display());
    }
}
