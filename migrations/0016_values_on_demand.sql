-- Velocities are counted by series, as aggregates are, and payments are searched for in
-- segments (0017). So the values of payments are no longer written into `payment_values`.

-- Whether batches still write them. Nodes of the release before read them, so a database that
-- has any keeps them until those nodes are gone. Once false, it stays false.
alter table value_series_log add column writes_values boolean not null default false;

-- Whether the node counts velocities by series. Nodes of the release before do not say so.
alter table nodes add column counts_by_series boolean not null default false;

-- By its size: no policy lets the owner see rows.
do $$
begin
    if pg_relation_size('payment_values') > 0 then
        update value_series_log set writes_values = true;
    else
        drop table payment_values;
    end if;
end
$$;

-- One step at a time, each by a call: batches no longer write the values; then the table is
-- dropped. Returns whether nothing is left to do. In one step, batches that hold the table
-- would wait for the lock of the series, and this for them.
create function retire_payment_values() returns boolean
    language plpgsql security definer set search_path = tollgate, pg_temp set lock_timeout = '200ms'
as $$
begin
    if to_regclass('tollgate.payment_values') is null then
        return true;
    end if;
    if not (select writes_values from value_series_log) then
        drop table payment_values;
        return true;
    end if;
    if not exists (select from nodes where not counts_by_series and seen_at > now() - interval '1 minute') then
        perform pg_advisory_xact_lock(8390043841926791179);
        -- The new place makes every writer read this before its next batch.
        update value_series_log set writes_values = false, sequence = sequence + 1;
    end if;
    return false;
end
$$;
revoke all on function retire_payment_values from public;
grant execute on function retire_payment_values to tollgate_system;

-- When a revision, an activation or a dry run last asked about the series, to the hour. 0 if
-- not since this column was added.
alter table value_series add column asked_at_ms bigint not null default 0;
-- The place in the log at which series were last removed. Who knows only earlier places reads
-- all series again.
alter table value_series_log add column removed_at_sequence bigint not null default 0;

-- As before, and notes that the series were asked about. A series that is being removed at this
-- moment is waited for, and then added again.
create or replace function declare_series(series_tenant uuid, digests uuid[], definitions jsonb[], at_ms bigint)
    returns void
    language plpgsql security definer set search_path = tollgate, pg_temp set lock_timeout = '200ms'
as $$
declare
    next_sequence bigint;
begin
    update value_series s set asked_at_ms = at_ms
    where s.tenant_id = series_tenant and s.digest = any (digests) and s.asked_at_ms < at_ms - 3600000;
    if not exists (select from unnest(digests) as wanted
                   where not exists (select from value_series s
                                     where s.tenant_id = series_tenant and s.digest = wanted)) then
        return;
    end if;
    perform pg_advisory_xact_lock(8390043841926791179);
    select sequence into next_sequence from value_series_log;
    for place in 1 .. cardinality(digests) loop
        next_sequence := next_sequence + 1;
        insert into value_series (tenant_id, digest, definition, sequence, declared_at_ms, asked_at_ms)
        values (series_tenant, digests[place], definitions[place], next_sequence, at_ms, at_ms)
        on conflict (tenant_id, digest) do nothing;
    end loop;
    -- Each is a row of every payment.
    if (select count(*) from value_series s where s.tenant_id = series_tenant) > 256 then
        raise exception 'the tenant has too many series' using errcode = 'TG002';
    end if;
    update value_series_log set sequence = next_sequence;
end
$$;

-- Removes the series that nobody has asked about since `before_ms`. Their rows stay until their
-- month is dropped, and if a series is declared again, only what is missing is filled in.
create function remove_series(series_tenant uuid, digests uuid[], before_ms bigint) returns bigint
    language plpgsql security definer set search_path = tollgate, pg_temp set lock_timeout = '200ms'
as $$
declare
    removed bigint;
begin
    perform pg_advisory_xact_lock(8390043841926791179);
    delete from value_series
    where tenant_id = series_tenant and digest = any (digests)
      and declared_at_ms < before_ms and asked_at_ms < before_ms;
    get diagnostics removed = row_count;
    if removed > 0 then
        update value_series_log set sequence = sequence + 1, removed_at_sequence = sequence + 1;
    end if;
    return removed;
end
$$;
revoke all on function remove_series from public;
grant execute on function remove_series to tollgate_system;
-- The function runs as the owner, in a session of no tenant.
create policy removing on value_series to tollgate_owner using (current_tenant() is null);
