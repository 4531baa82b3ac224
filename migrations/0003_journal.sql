-- What was decided. The hot path writes these tables and no others; there are
-- no foreign keys here, since each would cost a look-up per decision.

-- The journal's policies ask for the tenants of the batch in a sub-select, which
-- is computed once for a statement. Called for every row it would parse the whole
-- list again: quadratic, and six times slower with 256 tenants in a batch.

-- A key binds only when its decision is committed in the same transaction.
-- Not partitioned: a unique key over partitions would have to contain the time.
create table idempotency_keys (
    tenant_id     uuid not null,
    client_id     uuid not null,
    key           text not null,
    request_hash  bytea not null,
    decision_id   uuid not null,
    created_at_ms bigint not null,
    primary key (tenant_id, client_id, key)
);
alter table idempotency_keys enable row level security;
alter table idempotency_keys force row level security;
create policy own on idempotency_keys for select to tollgate_app using (tenant_id = current_tenant());
create policy batch on idempotency_keys to tollgate_journal using (tenant_id = any ((select batch_tenants())::uuid[])) with check (tenant_id = any ((select batch_tenants())::uuid[]));
create policy background on idempotency_keys for select to tollgate_system using (true);
grant select on idempotency_keys to tollgate_app, tollgate_system;
grant select, insert on idempotency_keys to tollgate_journal;

-- One wide row per decision, partitioned by the time in its UUIDv7.
create table decisions (
    tenant_id        uuid not null,
    id               uuid not null,
    client_id        uuid not null,
    idempotency_key  text not null,
    request_hash     bytea not null,
    origin           text not null,
    outcome          text not null check (outcome in ('approve', 'review', 'reject')),
    received_at_ms   bigint not null,
    -- Nothing when no ruleset was active.
    revision         integer,
    -- For lists and filters only; the payload is what counts.
    reference        text,
    amount_minor     bigint not null,
    currency         text not null,
    method           text not null,
    -- Payment, facts, results and reasons as versioned canonical bytes. Payload
    -- and salt may be nulled by erasure; the chain covers the salted digest.
    payload_version  smallint not null,
    payload          bytea,
    payload_salt     bytea,
    payload_digest   bytea not null,
    -- Over everything above that erasure leaves.
    digest           bytea not null,
    -- The place in the chain.
    writer_id        uuid not null,
    batch_sequence   bigint not null,
    batch_position   integer not null,
    primary key (tenant_id, id)
) partition by range (id);
-- Reads in journal order: verification, feeds and deliveries follow the position.
create index decisions_by_position on decisions (writer_id, batch_sequence, batch_position);
alter table decisions enable row level security;
alter table decisions force row level security;
create policy own on decisions for select to tollgate_app using (tenant_id = current_tenant());
create policy batch on decisions to tollgate_journal using (tenant_id = any ((select batch_tenants())::uuid[])) with check (tenant_id = any ((select batch_tenants())::uuid[]));
create policy background on decisions for select to tollgate_system using (true);
grant select on decisions to tollgate_app, tollgate_system;
grant select, insert on decisions to tollgate_journal;

-- Takes what no month has been made for, so that no clock can lose a decision.
create table decisions_rest partition of decisions default;

-- Makes the partition of one month, if it is missing. Runs as the owner so that
-- background work needs no right to change tables. It has to lock out all readers
-- and writers for a moment; rather than make every decision queue behind it
-- while it waits for a long reader, it gives up and is called again later.
create function ensure_decision_partition(month date) returns boolean
    language plpgsql security definer set search_path = tollgate, pg_temp set lock_timeout = '1s'
as $$
declare
    first date := date_trunc('month', month)::date;
    partition text := 'decisions_' || to_char(first, 'YYYY_MM');
    lower_bound uuid := uuid_at(first);
    upper_bound uuid := uuid_at((first + interval '1 month')::date);
begin
    -- Nodes start together and would make the same month twice.
    perform pg_advisory_xact_lock(hashtext('ensure_decision_partition'));
    if to_regclass('tollgate.' || partition) is not null then
        return false;
    end if;
    execute format('create table %I partition of decisions for values from (%L) to (%L)', partition, lower_bound, upper_bound);
    return true;
end
$$;

-- The smallest UUIDv7 of a day: 48 bits of milliseconds, then zeros.
create function uuid_at(day date) returns uuid
    language sql immutable
    return (rpad(lpad(to_hex((extract(epoch from day::timestamp) * 1000)::bigint), 12, '0'), 32, '0'))::uuid;

revoke all on function ensure_decision_partition from public;
grant execute on function ensure_decision_partition to tollgate_system;

-- Every value a payment is counted or found by, under a hash of tenant, selector
-- and value: velocity facts and searches by account, customer, card and so on.
create table payment_values (
    tenant_id      uuid not null,
    value_key      uuid not null,
    received_at_ms bigint not null,
    payment_id     uuid not null,
    amount_minor   bigint not null,
    currency       text not null,
    approved       boolean not null
);
-- A window of one value, answered from the index alone.
create index payment_values_by_key on payment_values (value_key, received_at_ms)
    include (tenant_id, currency, amount_minor, approved, payment_id);
alter table payment_values enable row level security;
alter table payment_values force row level security;
create policy own on payment_values for select to tollgate_app using (tenant_id = current_tenant());
create policy batch on payment_values to tollgate_journal using (tenant_id = any ((select batch_tenants())::uuid[])) with check (tenant_id = any ((select batch_tenants())::uuid[]));
create policy background on payment_values for select to tollgate_system using (true);
grant select on payment_values to tollgate_app, tollgate_system;
grant insert on payment_values to tollgate_journal;

-- Each writing connection of each process is a writer with a chain of its own.
create table journal_writers (
    id            uuid primary key,
    node          text not null,
    started_at_ms bigint not null
);
grant select, insert on journal_writers to tollgate_journal;
grant select on journal_writers to tollgate_system;

-- The chain: each batch covers the digests of its decisions and the batch before.
-- The primary key also settles a commit whose fate is unknown: inserting the same
-- position again waits for it and tells.
create table journal_batches (
    writer_id        uuid not null,
    sequence         bigint not null,
    previous_hash    bytea not null,
    -- The digests of the decisions one after the other, in their position.
    decision_digests bytea not null,
    hash             bytea not null,
    committed_at_ms  bigint not null,
    primary key (writer_id, sequence)
);
grant select, insert on journal_batches to tollgate_journal;
grant select on journal_batches to tollgate_system;
