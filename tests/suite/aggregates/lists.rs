//! List entries: each is opened and closed once, and the past does not change.

use tollgate::domain::comparison::ValueKind;
use tollgate::domain::list::{ListEntry, ListKinds};
use tollgate::domain::tenant::TenantId;
use tollgate::storage::lists::{
    AddEntryError, CreateListError, EntryFilter, NewEntry, NewList, add_entry, close_entry, create, entries,
    list,
};
use tollgate::storage::pool::AppPool;
use uuid::Uuid;

use super::tenant;
use crate::support::database::TestDatabase;

fn new_list(name: &str) -> NewList {
    NewList {
        name: name.to_owned(),
        description: String::new(),
        kind: ValueKind::Customer,
        created_by: "alice".to_owned(),
        created_at_ms: 5,
    }
}

async fn visible_entries(
    app: &AppPool,
    tenant: TenantId,
    list: &str,
    at_ms: u64,
    value: Option<&str>,
) -> Vec<ListEntry> {
    let forms = value.map(|value| vec![value.to_owned()]);
    let filter = EntryFilter { at_ms: Some(at_ms), forms, not_ended_at_ms: None };
    entries(app, tenant, list, filter, None, 10).await.unwrap()
}

fn entry(value: &str, valid_from_ms: u64) -> NewEntry {
    NewEntry {
        forms: ListKinds::one(ValueKind::Customer).forms(value).unwrap(),
        id: Uuid::now_v7(),
        value: value.to_owned(),
        reason: "because".to_owned(),
        valid_from_ms,
        valid_to_ms: None,
        added_by: "alice".to_owned(),
    }
}

#[tokio::test]
async fn a_value_has_one_open_entry_and_can_be_added_again_after_it_was_closed() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, tenant(&databases).await);
    create(app, tenant, new_list("watched"), 10).await.unwrap();
    let taken = create(app, tenant, new_list("watched"), 10).await.unwrap_err();
    assert!(matches!(taken, CreateListError::NameTaken), "{taken:?}");

    let first = entry("c-1", 100);
    add_entry(app, tenant, "watched", first.clone(), 10, 5).await.unwrap();
    let again = add_entry(app, tenant, "watched", entry(" c-1 ", 110), 10, 5).await;
    assert!(matches!(again, Err(AddEntryError::AlreadyOpen)), "{again:?}");
    let nowhere = add_entry(app, tenant, "no-such-list", entry("c-1", 110), 10, 5).await;
    assert!(matches!(nowhere, Err(AddEntryError::UnknownList)), "{nowhere:?}");
    assert_eq!(list(app, tenant, None, 10).await.unwrap()[0].open_entries, 1);

    assert!(close_entry(app, tenant, "watched", first.id, 200, "bob").await.unwrap());
    assert!(!close_entry(app, tenant, "watched", first.id, 210, "bob").await.unwrap());
    assert_eq!(list(app, tenant, None, 10).await.unwrap()[0].open_entries, 0);
    let second = entry("c-1", 300);
    add_entry(app, tenant, "watched", second.clone(), 10, 5).await.unwrap();

    for (at_ms, expected) in
        [(99, None), (100, Some(first.id)), (199, Some(first.id)), (200, None), (300, Some(second.id))]
    {
        let seen = visible_entries(app, tenant, "watched", at_ms, Some("c-1")).await;
        assert_eq!(seen.first().map(|entry| entry.id), expected, "at {at_ms}");
    }
    let all = entries(app, tenant, "watched", EntryFilter::default(), None, 10).await.unwrap();
    assert_eq!((all[0].valid_to_ms, all[0].closed_by.as_deref()), (Some(200), Some("bob")));
    let page = entries(app, tenant, "watched", EntryFilter::default(), Some(first.id), 10).await.unwrap();
    assert_eq!(page, all[1..]);
}

#[tokio::test]
async fn an_entry_that_is_closed_before_it_begins_never_becomes_valid() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, tenant(&databases).await);
    create(app, tenant, new_list("l"), 10).await.unwrap();
    let later = entry("c-1", 1_000);
    add_entry(app, tenant, "l", later.clone(), 10, 5).await.unwrap();
    assert!(close_entry(app, tenant, "l", later.id, 10, "bob").await.unwrap());
    assert!(visible_entries(app, tenant, "l", 1_000, None).await.is_empty());

    let ends = NewEntry { valid_to_ms: Some(500), ..entry("c-2", 100) };
    add_entry(app, tenant, "l", ends.clone(), 10, 5).await.unwrap();
    assert!(close_entry(app, tenant, "l", ends.id, 200, "bob").await.unwrap(), "ends earlier than planned");
    assert!(visible_entries(app, tenant, "l", 300, Some("c-2")).await.is_empty());
}

/// An entry of a list with several kinds.
#[tokio::test]
async fn an_entry_has_all_its_forms_even_if_another_entry_has_some_of_them() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, tenant(&databases).await);
    create(app, tenant, new_list("l"), 10).await.unwrap();
    let of = |forms: &[&str]| {
        let forms = forms.iter().map(|form| (*form).to_owned()).collect();
        NewEntry { forms, ..entry("Ab 12", 100) }
    };
    let (first, second) = (of(&["AB12"]), of(&["AB12", "Ab 12"]));
    add_entry(app, tenant, "l", first.clone(), 10, 5).await.unwrap();
    add_entry(app, tenant, "l", second.clone(), 10, 5).await.unwrap();
    let again = add_entry(app, tenant, "l", of(&["AB12", "Ab 12"]), 10, 5).await;
    assert!(matches!(again, Err(AddEntryError::AlreadyOpen)), "{again:?}");
    assert!(close_entry(app, tenant, "l", first.id, 200, "bob").await.unwrap());
    for form in ["AB12", "Ab 12"] {
        let seen: Vec<Uuid> =
            visible_entries(app, tenant, "l", 300, Some(form)).await.iter().map(|entry| entry.id).collect();
        assert_eq!(seen, [second.id], "{form}");
    }
}
