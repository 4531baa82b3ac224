-- A node asks once which lists have changed since it last looked. It used to probe each list that
-- payments ask about, which cost as much as the payments themselves with thousands of tenants.

-- The number of the newest change among the changes of all lists. Null: not changed since before
-- this migration.
create sequence list_changes;
alter table lists add column newest_change bigint;
-- Which lists have changed since a node last looked.
create index lists_by_change on lists (newest_change) where newest_change is not null;
grant usage on sequence list_changes to tollgate_app, tollgate_system;
grant select on sequence list_changes to tollgate_system;
grant update (newest_change) on lists to tollgate_app, tollgate_system;

-- As before. In addition all who change lists share a lock: a node that gets it alone knows that no
-- list is being changed, and that all changes up to the newest number are stored.
create or replace function begin_list_change(in_tenant uuid, of_list text, lead_ms bigint) returns bigint
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
    perform pg_advisory_xact_lock_shared(8390043841926791182);
    perform pg_advisory_xact_lock(hashtextextended('list ' || change, 0));
    update lists set version = version + 1, changes_hold_from_ms = milliseconds_now() + lead_ms,
                     newest_change = nextval('list_changes')
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
