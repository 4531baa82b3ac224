-- Aggregates: what rules ask about earlier payments with the same values. A payment has
-- a row for each declared series of its tenant of which it has all values, and no others.

-- A series: by which values payments are kept together, and which other value is counted.
create table value_series (
    tenant_id      uuid not null references tenants,
    -- A hash of the definition.
    digest         uuid not null,
    definition     jsonb not null,
    -- Its place in the log of all tenants' series. Batches of the journal carry the series
    -- up to the place that they record.
    sequence       bigint not null,
    declared_at_ms bigint not null,
    -- Decisions that are older than the series are filled in, in the order of their ids, up
    -- to this one.
    reached        uuid,
    -- Null until all older decisions are filled in.
    complete_at_ms bigint,
    -- Each series once; and the tenant first, as everywhere.
    primary key (tenant_id, digest)
);
-- What nodes read: everything above the last place they know.
create unique index value_series_by_sequence on value_series (sequence);
-- What is left to fill in; empty most of the time.
create index value_series_to_fill_in on value_series (sequence) where complete_at_ms is null;
alter table value_series enable row level security;
alter table value_series force row level security;
create policy own on value_series for select to tollgate_app using (tenant_id = current_tenant());
-- `declare_series` runs as the owner, for the session's tenant only.
create policy declaring on value_series to tollgate_owner using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on value_series to tollgate_system using (true) with check (true);
-- A writer of the journal keeps the series of all tenants: definitions name no values.
create policy writing on value_series for select to tollgate_journal using (true);
grant select on value_series to tollgate_app;
grant select on value_series to tollgate_system, tollgate_journal;
grant update (reached, complete_at_ms) on value_series to tollgate_system;

-- The last place in the log of series: one row.
create table value_series_log (
    is_only  boolean primary key default true check (is_only),
    sequence bigint not null
);
insert into value_series_log (sequence) values (0);
grant select on value_series_log to tollgate_system, tollgate_journal;

-- Adds series of the session's tenant. After it has committed, every batch carries them: a
-- batch that does not know them either committed before, or is refused by `admit_batch`.
-- The lock is held until the transaction commits, and every batch waits for it meanwhile. So
-- nothing else may be in that transaction, and it does not wait for a slow batch for long.
create function declare_series(series_tenant uuid, digests uuid[], definitions jsonb[], at_ms bigint) returns void
    language plpgsql security definer set search_path = tollgate, pg_temp set lock_timeout = '200ms'
as $$
declare
    next_sequence bigint;
begin
    if not exists (select from unnest(digests) as wanted
                   where not exists (select from value_series s
                                     where s.tenant_id = series_tenant and s.digest = wanted)) then
        return;
    end if;
    perform pg_advisory_xact_lock(8390043841926791179);
    select sequence into next_sequence from value_series_log;
    for place in 1 .. cardinality(digests) loop
        next_sequence := next_sequence + 1;
        insert into value_series (tenant_id, digest, definition, sequence, declared_at_ms)
        values (series_tenant, digests[place], definitions[place], next_sequence, at_ms)
        on conflict (tenant_id, digest) do nothing;
    end loop;
    -- Each is a row of every payment. Older ones are not removed yet.
    if (select count(*) from value_series s where s.tenant_id = series_tenant) > 256 then
        raise exception 'the tenant has too many series' using errcode = 'TG002';
    end if;
    update value_series_log set sequence = next_sequence;
end
$$;
revoke all on function declare_series from public;
grant execute on function declare_series to tollgate_app;

-- Part of the statement that stores a batch. Fails unless the writer knows all series. The
-- shared lock is held until the batch has committed, so that no series is added meanwhile.
-- Volatile, so that it sees what was committed before it got the lock.
create function admit_batch(known_sequence bigint) returns boolean
    language plpgsql volatile set search_path = tollgate, pg_temp
as $$
begin
    perform pg_advisory_xact_lock_shared(8390043841926791179);
    if (select sequence from value_series_log) <> known_sequence then
        raise exception 'the writer does not know all series' using errcode = 'TG001';
    end if;
    return true;
end
$$;
revoke all on function admit_batch from public;
grant execute on function admit_batch to tollgate_journal;

-- Which series a batch carries. Null in batches of earlier releases, which carry none.
alter table journal_batches add column series_sequence bigint;

-- Partitioned by month, so that what is old can be dropped.
create table aggregate_values (
    tenant_id      uuid not null,
    -- A hash of tenant, series, values and currency.
    value_key      uuid not null,
    received_day   integer not null,
    received_at_ms bigint not null,
    payment_id     uuid not null,
    -- Null if it could not be converted.
    amount_minor   bigint,
    -- By the numbers of the stored forms.
    method         smallint not null,
    outcome        smallint not null,
    -- A hash of the value whose distinct values are counted.
    distinct_key   bigint
) partition by range (received_at_ms);
-- A window of one value, answered from the index alone. It begins with the day for the
-- reason that 0007 gives.
create index aggregate_values_by_day on aggregate_values (received_day, value_key, received_at_ms)
    include (tenant_id, payment_id, amount_minor, method, outcome, distinct_key);
alter table aggregate_values enable row level security;
alter table aggregate_values force row level security;
create policy own on aggregate_values for select to tollgate_app using (tenant_id = current_tenant());
create policy batch on aggregate_values to tollgate_journal using (tenant_id = any ((select batch_tenants())::uuid[])) with check (tenant_id = any ((select batch_tenants())::uuid[]));
create policy background on aggregate_values to tollgate_system using (true) with check (true);
grant select on aggregate_values to tollgate_app;
grant select, insert on aggregate_values to tollgate_journal;
-- Fills in older decisions.
grant select, insert on aggregate_values to tollgate_system;

-- Takes what no month has been made for.
create table aggregate_values_rest partition of aggregate_values default;

-- As `ensure_decision_partition`, for this table.
create function ensure_aggregate_partition(month date) returns boolean
    language plpgsql security definer set search_path = tollgate, pg_temp set lock_timeout = '1s'
as $$
declare
    first date := date_trunc('month', month)::date;
    partition text := 'aggregate_values_' || to_char(first, 'YYYY_MM');
    first_ms bigint := extract(epoch from first::timestamp) * 1000;
    next_ms bigint := extract(epoch from first + interval '1 month') * 1000;
begin
    perform pg_advisory_xact_lock(hashtext('ensure_aggregate_partition'));
    if to_regclass('tollgate.' || partition) is not null then
        return false;
    end if;
    execute format('create table %I partition of aggregate_values for values from (%L) to (%L)', partition, first_ms, next_ms);
    return true;
end
$$;
revoke all on function ensure_aggregate_partition from public;
grant execute on function ensure_aggregate_partition to tollgate_system;

-- The filter for later events, and what is shown of the first and last payment, are looked
-- up together with the other facts.
create policy batch on payment_events for select to tollgate_journal using (tenant_id = any ((select batch_tenants())::uuid[]));
grant select on payment_events to tollgate_journal;
