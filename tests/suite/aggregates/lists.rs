//! List entries: each is opened and closed once, and the past does not change.

use std::time::Duration;

use tollgate::domain::comparison::ValueKind;
use tollgate::domain::list::{ListEntry, ListKinds};
use tollgate::domain::tenant::TenantId;
use tollgate::storage::lists::{
    AddEntryError, CreateListError, EntryFilter, NewEntry, NewList, add_entries, add_entry, close_entry,
    create, entries, list,
};
use tollgate::storage::pool::AppPool;
use uuid::Uuid;

use super::tenant;
use crate::support::database::TestDatabase;
use crate::support::decisions::now_ms;

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

    let first = add_entry(app, tenant, "watched", entry("c-1", 100), 10, "alice".into(), 5).await.unwrap();
    assert!(first.valid_from_ms > now_ms(), "it cannot begin in the past");
    let again = add_entry(app, tenant, "watched", entry(" c-1 ", 110), 10, "alice".into(), 5).await;
    assert!(matches!(again, Err(AddEntryError::AlreadyOpen)), "{again:?}");
    let nowhere = add_entry(app, tenant, "no-such-list", entry("c-1", 110), 10, "alice".into(), 5).await;
    assert!(matches!(nowhere, Err(AddEntryError::UnknownList)), "{nowhere:?}");
    assert_eq!(list(app, tenant, None, 10).await.unwrap()[0].open_entries, 1);

    // So that the first is valid for a while.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let closed = close_entry(app, tenant, "watched", first.id, 200, "bob".into()).await.unwrap().unwrap();
    let again = close_entry(app, tenant, "watched", first.id, 210, "bob".into()).await.unwrap();
    assert_eq!(again, None, "closed is closed");
    assert_eq!(list(app, tenant, None, 10).await.unwrap()[0].open_entries, 0);
    let end_ms = closed.valid_to_ms.unwrap();
    let second =
        add_entry(app, tenant, "watched", entry("c-1", end_ms + 100), 10, "alice".into(), 5).await.unwrap();
    assert_eq!(second.valid_from_ms, end_ms + 100);

    for (at_ms, expected) in [
        (first.valid_from_ms - 1, None),
        (first.valid_from_ms, Some(first.id)),
        (end_ms - 1, Some(first.id)),
        (end_ms, None),
        (end_ms + 100, Some(second.id)),
    ] {
        let seen = visible_entries(app, tenant, "watched", at_ms, Some("c-1")).await;
        assert_eq!(seen.first().map(|entry| entry.id), expected, "at {at_ms}");
    }
    let all = entries(app, tenant, "watched", EntryFilter::default(), None, 10).await.unwrap();
    assert_eq!((all[0].clone(), all[0].closed_by.as_deref()), (closed, Some("bob")));
    let page = entries(app, tenant, "watched", EntryFilter::default(), Some(first.id), 10).await.unwrap();
    assert_eq!(page, [second]);
    assert_eq!(page, all[1..]);
}

#[tokio::test]
async fn an_entry_that_is_closed_before_it_begins_never_becomes_valid() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, tenant(&databases).await);
    create(app, tenant, new_list("l"), 10).await.unwrap();
    let begin_ms = now_ms() + 3_600_000;
    let later = add_entry(app, tenant, "l", entry("c-1", begin_ms), 10, "alice".into(), 5).await.unwrap();
    let closed = close_entry(app, tenant, "l", later.id, 10, "bob".into()).await.unwrap().unwrap();
    assert_eq!((closed.valid_from_ms, closed.valid_to_ms), (begin_ms, Some(begin_ms)));
    assert!(visible_entries(app, tenant, "l", begin_ms, None).await.is_empty());

    let ends = NewEntry { valid_to_ms: Some(begin_ms), ..entry("c-2", 100) };
    let ends = add_entry(app, tenant, "l", ends, 10, "alice".into(), 5).await.unwrap();
    let closed = close_entry(app, tenant, "l", ends.id, 200, "bob".into()).await.unwrap().unwrap();
    assert!(closed.valid_to_ms.unwrap() < begin_ms, "it ends earlier than planned");
    assert!(visible_entries(app, tenant, "l", begin_ms - 1, Some("c-2")).await.is_empty());
}

#[tokio::test]
async fn what_holds_within_two_seconds_is_not_changed_whatever_a_program_writes() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, tenant(&databases).await);
    create(app, tenant, new_list("l"), 10).await.unwrap();
    let mut superuser = database.superuser().await;
    let begun_ms = now_ms();
    // As a release that does not know of it writes.
    let added: (i64, Option<i64>) = sqlx::query_as(
        "insert into list_entries (tenant_id, list, id, value, comparable, normalized_name, reason, valid_from_ms,
                                   valid_to_ms, added_by, comparison_version)
         select tenant_id, name, gen_random_uuid(), 'c-1', 'c-1', 'c 1', 'r', $1, $1 + 10, 'alice', 2 from lists
         returning valid_from_ms, valid_to_ms",
    )
    .bind(begun_ms.cast_signed())
    .fetch_one(&mut superuser)
    .await
    .unwrap();
    assert!(added.0.cast_unsigned() >= begun_ms + 2_000, "{added:?}");
    assert_eq!(added.1, Some(added.0), "it is never valid");
    let open = add_entry(app, tenant, "l", entry("c-2", 0), 10, "alice".into(), 5).await.unwrap();
    let mut set_end = async |to_ms: u64| -> u64 {
        let statement = "update list_entries set valid_to_ms = $2 where id = $1 returning valid_to_ms";
        let end_ms = sqlx::query_scalar(statement).bind(open.id).bind(to_ms.cast_signed());
        end_ms.fetch_one(&mut superuser).await.map(i64::cast_unsigned).unwrap()
    };
    let closing_ms = now_ms();
    let end_ms = set_end(closing_ms).await;
    assert!(end_ms >= closing_ms + 2_000, "ends at {end_ms}, closed after {closing_ms}");
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(set_end(end_ms + 60_000).await, end_ms, "it ends so soon that nodes may know it already");
}

/// Decisions in between would have been made without it.
#[tokio::test]
async fn a_change_that_would_be_stored_after_it_holds_is_refused_or_made_to_hold_later() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, tenant(&databases).await);
    create(app, tenant, new_list("l"), 10).await.unwrap();
    let slowly = "create function slowly() returns trigger language plpgsql as
                      $$ begin perform pg_sleep(1.6); return new; end $$;
                  create trigger slowly before insert on audit_events for each row execute function slowly()";
    sqlx::raw_sql(slowly).execute(&mut database.superuser().await).await.unwrap();
    let late = add_entry(app, tenant, "l", entry("c-1", 0), 10, "alice".into(), 5).await;
    assert!(matches!(&late, Err(AddEntryError::Storage(error)) if error.is_passing()), "{late:?}");
    let all = entries(app, tenant, "l", EntryFilter::default(), None, 10).await.unwrap();
    assert_eq!(all, [], "nothing was stored");
    // Many entries may always take so long, so they are tried again with more time.
    let begun_ms = now_ms();
    let added = add_entries(app, tenant, "l", vec![entry("c-1", 0)], 10, &"alice".into(), 5).await.unwrap();
    assert!(added.valid_from_ms >= begun_ms + 30_000, "{added:?}");
    let all = entries(app, tenant, "l", EntryFilter::default(), None, 10).await.unwrap();
    assert_eq!(all.iter().map(|entry| entry.valid_from_ms).collect::<Vec<_>>(), [added.valid_from_ms]);
}

/// Each locks rows, the list and the audit log.
#[tokio::test(flavor = "multi_thread")]
async fn those_who_change_a_list_at_the_same_time_wait_for_each_other() {
    let database = TestDatabase::create().await;
    let databases = database.databases();
    let (app, tenant) = (&databases.app, tenant(&databases).await);
    create(app, tenant, new_list("l"), 10).await.unwrap();
    let changing = (0..12).map(async |number| {
        for round in 0..5 {
            let value = format!("c-{number}-{round}");
            let added =
                add_entry(app, tenant, "l", entry(&value, 0), 1_000, "alice".into(), 5).await.unwrap();
            let many = ["a", "b"].map(|more| entry(&format!("{value}-{more}"), 0)).to_vec();
            assert_eq!(
                add_entries(app, tenant, "l", many, 1_000, &"alice".into(), 5).await.unwrap().ids.len(),
                2
            );
            let closed = close_entry(app, tenant, "l", added.id, 5, "bob".into()).await.unwrap().unwrap();
            assert!(closed.valid_to_ms.unwrap() >= added.valid_from_ms);
        }
    });
    futures::future::join_all(changing).await;
    assert_eq!(list(app, tenant, None, 10).await.unwrap()[0].open_entries, 12 * 5 * 2);
    let version: i64 = sqlx::query_scalar("select version from lists")
        .fetch_one(&mut database.superuser().await)
        .await
        .unwrap();
    assert_eq!(version, 12 * 5 * 3, "one for each change");
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
    let first = add_entry(app, tenant, "l", of(&["AB12"]), 10, "alice".into(), 5).await.unwrap();
    let second = add_entry(app, tenant, "l", of(&["AB12", "Ab 12"]), 10, "alice".into(), 5).await.unwrap();
    let again = add_entry(app, tenant, "l", of(&["AB12", "Ab 12"]), 10, "alice".into(), 5).await;
    assert!(matches!(again, Err(AddEntryError::AlreadyOpen)), "{again:?}");
    let closed = close_entry(app, tenant, "l", first.id, 200, "bob".into()).await.unwrap().unwrap();
    let end_ms = closed.valid_to_ms.unwrap();
    for form in ["AB12", "Ab 12"] {
        assert_eq!(
            visible_entries(app, tenant, "l", end_ms, Some(form)).await,
            std::slice::from_ref(&second),
            "{form}"
        );
    }
}
