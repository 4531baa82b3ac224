-- Rules ask lists for similar names, and tables for rows. Both are answered from memory,
-- so the look-up of facts only finds out what has to be in memory.

-- How often the entries of a list have changed. A node that has them in memory compares it.
alter table lists add column version bigint not null default 0;

-- The owner raises it, whoever changes the entries, including an older release.
create policy counted on lists for update to tollgate_owner using (true) with check (true);

create function raise_list_versions() returns trigger
    language plpgsql security definer set search_path = tollgate, pg_temp
as $$
begin
    update lists set version = version + 1
    where (tenant_id, name) in (select distinct tenant_id, list from changed);
    return null;
end
$$;
revoke all on function raise_list_versions from public;

-- Postgres gives the changed rows only to triggers of one kind of change.
create trigger entries_added after insert on list_entries
    referencing new table as changed for each statement execute function raise_list_versions();
create trigger entries_updated after update on list_entries
    referencing new table as changed for each statement execute function raise_list_versions();

-- Looked up together with the other facts.
create policy batch on lists for select to tollgate_journal using (tenant_id = any ((select batch_tenants())::uuid[]));
create policy batch on table_activations for select to tollgate_journal using (tenant_id = any ((select batch_tenants())::uuid[]));
grant select (tenant_id, name, version) on lists to tollgate_journal;
grant select (tenant_id, table_name, version, valid_from_ms, sequence) on table_activations to tollgate_journal;
