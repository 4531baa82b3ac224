//! Checks the imports between rooms by reading the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room, the other rooms that it may import, and the crates that it must not name.
const ROOMS: [(&str, &[&str], &[&str]); 6] = [
    ("domain", &[], &["rocket", "sqlx", "wasmtime", "tokio", "rocket_db_pools"]),
    ("rules", &["domain"], &["rocket", "sqlx", "rocket_db_pools"]),
    ("storage", &["domain"], &["rocket", "wasmtime"]),
    ("auth", &["domain"], &["rocket", "sqlx", "wasmtime", "rocket_db_pools"]),
    (
        "decisions",
        &["domain", "rules", "storage", "auth"],
        &["rocket", "sqlx", "wasmtime", "rocket_db_pools"],
    ),
    ("http", &["domain", "rules", "storage", "auth", "decisions"], &["sqlx", "wasmtime"]),
];

/// Unit tests may set the clock and the randomness.
const FOR_TESTS: &str = "world";

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

/// The first path segment after each occurrence of `before`, without comments.
fn named_after<'a>(source: &'a str, before: &str) -> Vec<&'a str> {
    source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.match_indices(before).map(move |(place, _)| &line[place + before.len()..]))
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            &rest[..end]
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn each_room_imports_only_the_rooms_it_may() {
    let mut wrong = Vec::new();
    for (room, may_import, _) in ROOMS {
        for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room)) {
            let source = fs::read_to_string(&path).expect("source");
            for imported in named_after(&source, "crate::") {
                if imported != room && imported != FOR_TESTS && !may_import.contains(&imported) {
                    wrong.push(format!("{} imports crate::{imported}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_room_names_a_crate_that_is_forbidden_to_it() {
    let mut wrong = Vec::new();
    for (room, _, must_not_know) in ROOMS {
        for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room)) {
            let source = fs::read_to_string(&path).expect("source");
            for name in must_not_know {
                let named = source.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
                    line.contains(&format!("{name}::")) || line.contains(&format!("use {name};"))
                });
                if named {
                    wrong.push(format!("{} names {name}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn outside_storage_the_type_of_a_pool_is_its_role() {
    let source_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&source_folder).iter().filter(|path| !path.starts_with(source_folder.join("storage")))
    {
        let source = fs::read_to_string(path).expect("source");
        for name in ["PgPool", "sqlx_pool("] {
            assert!(!source.contains(name), "{} names {name}", path.display());
        }
    }
}

#[test]
fn only_the_tenant_transaction_begins_transactions_for_requests() {
    // The journal and provisioning have their own connections.
    let may_begin = ["transaction.rs", "journal", "provision.rs", "migrate.rs", "pool.rs"];
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
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
fn every_module_starts_with_a_doc_comment() {
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let source = fs::read_to_string(&path).expect("source");
        assert!(source.starts_with("//!"), "{} does not open with //!", path.display());
    }
}
