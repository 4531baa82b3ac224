//! Tests of the lists in memory.

use uuid::Uuid;

use super::super::list_contents::EntryRow;
use super::super::list_reader::ChangedRow;
use super::*;

const NOW_MS: u64 = 1_000_000;

fn at(now_ms: u64) -> ReadAt {
    ReadAt { now_ms, newest_change: 0 }
}

fn tenant(number: u128) -> TenantId {
    TenantId(Uuid::from_u128(number))
}

/// A list with this many entries, as it was read.
fn whole(entries: u32) -> WholeList {
    let mut contents = ListContents::new(false);
    for number in 0..entries {
        contents.put(&EntryRow {
            entry: Uuid::from_u128(number.into()),
            form: format!("{number:08}"),
            normalized_name: String::new(),
            valid_from_ms: 0,
            valid_to_ms: u64::MAX,
        });
    }
    WholeList { version: 1, contents: Some(contents) }
}

fn bytes(entries: u32) -> usize {
    whole(entries).contents.map_or(0, |contents| contents.bytes())
}

fn sought() -> Arc<SearchTexts> {
    Arc::new(SearchTexts { texts: vec!["00000000".to_owned()], by_name: false })
}

impl ListMemory {
    fn ask(&self, tenant: TenantId, list: &str) -> Option<bool> {
        self.has_any(tenant, list, NOW_MS, sought)
    }

    /// Loads what waits to be loaded. Each list has this many entries.
    fn load(&self, entries: u32) -> Vec<String> {
        let waiting = self.to_load();
        waiting.iter().for_each(|named| self.keep(named, at(NOW_MS), Some(whole(entries))));
        waiting.into_iter().map(|named| named.list).collect()
    }

    fn stop_asking(&mut self) {
        let past = self.begun.checked_sub(ASKED_FOR);
        self.begun = past.expect("the machine has run for longer");
    }
}

#[test]
fn a_list_is_loaded_once_it_was_asked_about_and_known_for_a_while() {
    let memory = ListMemory::new(1 << 20);
    assert_eq!(memory.ask(tenant(1), "a"), None);
    assert_eq!(memory.load(1), ["a"]);
    assert_eq!(memory.load(1), Vec::<String>::new());
    let until_ms = NOW_MS + KNOWN_AHEAD_MS;
    for (at_ms, expected) in [
        (NOW_MS - ENDED_BEFORE_MS - 1, None),
        (NOW_MS - ENDED_BEFORE_MS, Some(true)),
        (until_ms - 1, Some(true)),
        (until_ms, None),
    ] {
        assert_eq!(memory.has_any(tenant(1), "a", at_ms, sought), expected, "{at_ms}");
        assert_eq!(memory.version(tenant(1), "a", at_ms), expected.map(|_| 1), "{at_ms}");
    }
    assert_eq!(memory.ask(tenant(2), "a"), None, "of another tenant");
}

#[test]
fn the_tenants_take_turns_in_loading() {
    let memory = ListMemory::new(1 << 20);
    for (number, list) in [(1, "a"), (1, "a"), (1, "a"), (2, "b")] {
        memory.ask(tenant(number), &format!("{list}{}", memory.to_load().len()));
    }
    let in_turn = memory.load(1);
    assert!(in_turn[..2].iter().any(|list| list.starts_with('b')), "{in_turn:?}");
    assert_eq!(in_turn.len(), 4);
}

#[test]
fn lists_in_use_do_not_push_each_other_out_and_a_tenant_has_half_of_the_room() {
    let mut memory = ListMemory::new(4 * bytes(10));
    for list in ["a", "b", "c"] {
        assert_eq!(memory.ask(tenant(1), list), None);
        assert_eq!(memory.load(10), [list]);
    }
    let known = ["a", "b", "c"].map(|list| memory.ask(tenant(1), list).is_some());
    assert_eq!(known, [true, true, false], "half of the room");
    for number in [2, 3, 4] {
        memory.ask(tenant(number), "a");
        memory.load(10);
    }
    let known = [2, 3, 4].map(|number| memory.ask(tenant(number), "a").is_some());
    assert_eq!(known, [true, true, false], "the rest of the room");
    assert_eq!(memory.load(10), Vec::<String>::new(), "they are not tried again at once");
    memory.stop_asking();
    memory.ask(tenant(5), "a");
    memory.load(10);
    assert_eq!(memory.ask(tenant(5), "a"), Some(true), "nobody asks about the others any more");
    assert_eq!(memory.usage(), ListUsage { lists: 4, bytes: 4 * bytes(10) });
}

#[test]
fn changes_are_taken_over_unless_the_list_was_loaded_again_meanwhile() {
    let memory = ListMemory::new(1 << 20);
    memory.ask(tenant(1), "a");
    memory.load(1);
    let ended = |version| {
        let row = EntryRow {
            entry: Uuid::nil(),
            form: "00000000".to_owned(),
            normalized_name: String::new(),
            valid_from_ms: 0,
            valid_to_ms: NOW_MS,
        };
        Some(ListChanges { version, rows: vec![ChangedRow { row, is_comparable: true }] })
    };
    let [named] = &memory.to_follow()[..] else { panic!("one list") };
    let since = named.followed.since(named);
    let older = SinceVersion { version: 0, list: "a".to_owned(), ..since };
    named.followed.take_over(&older, at(NOW_MS + 400), ended(1), 1 << 20);
    assert_eq!(memory.ask(tenant(1), "a"), Some(true), "the changes are of another version");
    named.followed.take_over(&since, at(NOW_MS + 400), ended(2), 1 << 20);
    assert_eq!(memory.ask(tenant(1), "a"), Some(false));
    for (after_ms, version) in [(KNOWN_AHEAD_MS - 1, 1), (KNOWN_AHEAD_MS, 2), (KNOWN_AHEAD_MS + 399, 2)] {
        assert_eq!(memory.version(tenant(1), "a", NOW_MS + after_ms), Some(version), "{after_ms}");
    }
    let searched = memory.searched();
    assert_eq!(searched.iter().map(|(_, version)| *version).collect::<Vec<_>>(), [2]);
    let since = named.followed.since(named);
    named.followed.take_over(&since, at(NOW_MS + 800), ended(3), 1);
    assert_eq!(memory.ask(tenant(1), "a"), None, "it has grown too large, and is loaded again");
    assert_eq!(memory.load(1), ["a"]);
}

#[test]
fn a_list_with_forms_of_another_version_is_asked_in_the_database() {
    let memory = ListMemory::new(1 << 20);
    memory.ask(tenant(1), "a");
    for named in memory.to_load() {
        memory.keep(&named, at(NOW_MS), Some(WholeList { version: 1, contents: None }));
    }
    assert_eq!((memory.ask(tenant(1), "a"), memory.to_load().len()), (None, 0));
}

#[test]
fn a_list_stays_as_it_is_only_if_no_change_before_is_missing() {
    let memory = ListMemory::new(1 << 20);
    memory.ask(tenant(1), "a");
    memory.load(1);
    let [named] = &memory.to_follow()[..] else { panic!("one list") };
    let later = ReadAt { now_ms: NOW_MS + 400, newest_change: 7 };
    assert!(named.followed.stays(0, later));
    let at_ms = NOW_MS + KNOWN_AHEAD_MS + 399;
    assert_eq!(memory.has_any(tenant(1), "a", at_ms, sought), Some(true));
    assert!(named.followed.stays(7, later));
    assert!(!named.followed.stays(8, later));
}
