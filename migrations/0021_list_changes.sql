-- Lists are answered from memory, as tables are. So that no node answers from a list that has
-- changed, a change holds two seconds after it was written: by then every node has read it, or
-- knows that it has not. The database sees to it, so releases before this one obey it as well.

-- The time from which the newest change holds, for the check at the commit.
alter table lists add column changes_hold_from_ms bigint not null default 0;

-- The version of the list with which the row was written or last changed. Null since before this
-- migration.
alter table list_entries add column list_version bigint;
-- What has changed since a node last read the list.
create index list_entries_by_change on list_entries (tenant_id, list, list_version)
    where list_version is not null;

-- Versions used to rise after the rows were written, by the owner. A row now has its version when
-- it is written, and whoever may write entries raises it.
drop trigger entries_added on list_entries;
drop trigger entries_updated on list_entries;
drop function raise_list_versions();
drop policy counted on lists;
grant update (version, changes_hold_from_ms) on lists to tollgate_app, tollgate_system;

create function milliseconds_now() returns bigint
    language sql volatile
    return (extract(epoch from clock_timestamp()) * 1000)::bigint;

-- Begins a change of a list, once in a transaction, and returns the time from which it holds. Null
-- if there is no such list for this role.
--
-- The lock is held until the commit. A node that gets it shared, and then reads, sees every change
-- that holds within the lead: a later writer gets the lock later, and its time with it. The row of
-- the list is locked first: whoever adds entries has it already.
create function begin_list_change(in_tenant uuid, of_list text, lead_ms bigint) returns bigint
    language plpgsql set search_path = tollgate, pg_temp
as $$
declare
    change constant text := in_tenant || ' ' || of_list;
    begun  record;
begin
    if current_setting('app.changing_list', true) = change then
        return current_setting('app.list_changes_hold_from_ms')::bigint;
    end if;
    perform from lists where tenant_id = in_tenant and name = of_list for no key update;
    perform pg_advisory_xact_lock(hashtextextended('list ' || change, 0));
    update lists set version = version + 1, changes_hold_from_ms = milliseconds_now() + lead_ms
    where tenant_id = in_tenant and name = of_list
    returning version, changes_hold_from_ms into begun;
    if not found then
        return null;
    end if;
    perform set_config('app.changing_list', change, true),
            set_config('app.list_version', begun.version::text, true),
            set_config('app.list_changes_hold_from_ms', begun.changes_hold_from_ms::text, true);
    return begun.changes_hold_from_ms;
end
$$;

-- Nothing that holds before then is changed: a row begins then, or later; and it ends then, or
-- later, unless it ended before already.
create function change_list_later() returns trigger
    language plpgsql
as $$
declare
    holds_from_ms bigint;
    begun_ms      bigint;
begin
    -- Thousands of rows may be written at once, so the function is called for the first one only.
    if current_setting('app.changing_list', true) is distinct from new.tenant_id || ' ' || new.list
       and begin_list_change(new.tenant_id, new.list, 2000) is null then
        -- The policies or the foreign key refuse the row.
        return new;
    end if;
    holds_from_ms := current_setting('app.list_changes_hold_from_ms')::bigint;
    new.list_version := current_setting('app.list_version')::bigint;
    if tg_op = 'UPDATE' then
        if old.valid_to_ms < holds_from_ms then
            new.valid_to_ms := old.valid_to_ms;
        elsif new.valid_to_ms < holds_from_ms then
            new.valid_to_ms := holds_from_ms;
        end if;
    elsif new.valid_from_ms < holds_from_ms then
        -- A further form of an entry holds since its others do: the conversion of an older list
        -- writes it.
        select valid_from_ms into begun_ms from list_entries
        where tenant_id = new.tenant_id and id = new.id limit 1;
        new.valid_from_ms := coalesce(begun_ms, holds_from_ms);
        if new.valid_to_ms < new.valid_from_ms then
            new.valid_to_ms := new.valid_from_ms;
        end if;
    end if;
    return new;
end
$$;
create trigger entries_change_later before insert or update on list_entries
    for each row execute function change_list_later();

-- A change that is committed only after it holds would be missing in decisions between the two.
-- Half a second is left for the commit itself, and for nodes whose clocks are ahead.
create function refuse_late_list_change() returns trigger
    language plpgsql
as $$
begin
    if milliseconds_now() > new.changes_hold_from_ms - 500 then
        raise exception 'the change of the list took too long: it would be stored after the time from which it holds'
            using errcode = 'serialization_failure';
    end if;
    return null;
end
$$;
create constraint trigger changes_are_in_time after update on lists
    deferrable initially deferred
    for each row when (new.version <> old.version)
    execute function refuse_late_list_change();
