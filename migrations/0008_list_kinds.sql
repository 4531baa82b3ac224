-- A list holds values of one kind, and an entry is stored in the form in which it
-- is compared, so that an entry which can never match is refused when it is made.
-- Lists and entries from before are brought over by the program after this
-- migration: their forms follow rules that SQL does not have.

alter table lists
    -- Null until an older list is brought over. One for each list that is made from
    -- now on; several for an older list that rules ask about several kinds of values.
    add column kinds         text[] check (cardinality(kinds) >= 1),
    -- Closed: it takes no entries, and no new revision asks about it. Kept, since it
    -- explains what was decided.
    add column closed_at_ms  bigint,
    add column closed_by     text,
    add constraint lists_closed_by_somebody check ((closed_at_ms is null) = (closed_by is null));
-- A tenant closes its lists; the program brings them over.
grant update (closed_at_ms, closed_by) on lists to tollgate_app;
grant update (kinds) on lists to tollgate_system;

alter table list_entries
    -- Which version of the canonical forms `comparable` and `normalized_name` have.
    -- What stands here from before has the first; whoever inserts says which.
    add column comparison_version smallint not null default 1,
    -- Why the program closed it; null where a client did.
    add column closed_because     text;
alter table list_entries alter column comparison_version drop default;
grant update (comparable, normalized_name, comparison_version, valid_to_ms, closed_by, closed_because)
    on list_entries to tollgate_system;

-- On an older list of several kinds an entry has a row for each form it is compared in.
alter table list_entries drop constraint list_entries_pkey;
alter table list_entries add primary key (tenant_id, id, comparable);

-- One open entry for each form. Entries of older forms stand apart: two of them may
-- become equal, and while they are brought over the later one gives way to the earlier.
drop index list_entries_open;
create unique index list_entries_open on list_entries (tenant_id, list, comparable)
    where valid_to_ms is null and comparison_version = 2;

-- Those that are left to bring over, the earliest first; empty afterwards.
create index list_entries_of_older_forms on list_entries (tenant_id, list, valid_from_ms, id)
    where comparison_version < 2;

-- A page of one list; under the key alone it would pass over the entries of all others.
create index list_entries_by_id on list_entries (tenant_id, list, id);

-- The quota counts what has not ended.
create index list_entries_by_end on list_entries (tenant_id, list, valid_to_ms);
