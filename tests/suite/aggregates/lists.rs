//! Lists: an entry opens once, closes once, and the past stays as it was.

use tollgate::storage::lists::{AddEntryError, NewEntry, add_entry, close_entry, create, entries, lists};
use uuid::Uuid;

use super::tenant;
use crate::support::database::TestDatabase;

fn entry(value: &str, valid_from_ms: u64) -> NewEntry {
    NewEntry {
        id: Uuid::now_v7(),
        value: value.to_owned(),
        reason: "because".to_owned(),
        valid_from_ms,
        valid_to_ms: None,
        added_by: "alice".to_owned(),
    }
}

#[tokio::test]
async fn a_value_is_open_once_and_can_come_back_after_it_was_closed() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, tenant(&databases).await);
    create(app, tenant, "watched", "who to watch", "alice", 5).await.unwrap();
    let taken = create(app, tenant, "watched", "", "bob", 6).await.unwrap_err();
    assert!(taken.is_unique_violation());
    assert_eq!(format!("{taken:?}"), "Database(SQLSTATE 23505, constraint lists_pkey)", "quotes no row");

    let first = entry("c-1", 100);
    add_entry(app, tenant, "watched", first.clone(), 5).await.unwrap();
    let again = add_entry(app, tenant, "watched", entry(" c-1 ", 110), 5).await;
    assert!(matches!(again, Err(AddEntryError::AlreadyOpen)), "{again:?}");
    let nowhere = add_entry(app, tenant, "no-such-list", entry("c-1", 110), 5).await;
    assert!(matches!(nowhere, Err(AddEntryError::UnknownList)), "{nowhere:?}");
    assert_eq!(lists(app, tenant).await.unwrap()[0].open_entries, 1);

    assert!(close_entry(app, tenant, "watched", first.id, 200, "bob").await.unwrap());
    assert!(!close_entry(app, tenant, "watched", first.id, 210, "bob").await.unwrap());
    assert_eq!(lists(app, tenant).await.unwrap()[0].open_entries, 0);
    let second = entry("c-1", 300);
    add_entry(app, tenant, "watched", second.clone(), 5).await.unwrap();

    for (at_ms, expected) in
        [(99, None), (100, Some(first.id)), (199, Some(first.id)), (200, None), (300, Some(second.id))]
    {
        let seen = entries(app, tenant, "watched", Some(at_ms), Some("c-1"), None, 10).await.unwrap();
        assert_eq!(seen.first().map(|entry| entry.id), expected, "at {at_ms}");
    }
    let all = entries(app, tenant, "watched", None, None, None, 10).await.unwrap();
    assert_eq!((all[0].valid_to_ms, all[0].closed_by.as_deref()), (Some(200), Some("bob")));
    let page = entries(app, tenant, "watched", None, None, Some(first.id), 10).await.unwrap();
    assert_eq!(page, all[1..]);
}

#[tokio::test]
async fn an_entry_closed_before_it_begins_never_begins() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, tenant(&databases).await);
    create(app, tenant, "l", "", "alice", 5).await.unwrap();
    let later = entry("c-1", 1_000);
    add_entry(app, tenant, "l", later.clone(), 5).await.unwrap();
    assert!(close_entry(app, tenant, "l", later.id, 10, "bob").await.unwrap());
    assert!(entries(app, tenant, "l", Some(1_000), None, None, 10).await.unwrap().is_empty());

    let ends = NewEntry { valid_to_ms: Some(500), ..entry("c-2", 100) };
    add_entry(app, tenant, "l", ends.clone(), 5).await.unwrap();
    assert!(close_entry(app, tenant, "l", ends.id, 200, "bob").await.unwrap(), "ends earlier than planned");
    assert!(entries(app, tenant, "l", Some(300), Some("c-2"), None, 10).await.unwrap().is_empty());
}
