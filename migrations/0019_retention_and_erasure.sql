-- Retention removes what is older than a tenant wants to keep; erasure removes the personal
-- data of one payment. Both leave a record. Deleting and changing decisions is a right of the
-- functions below alone, which need that record first.

-- How many whole months are kept before the current one. Null: everything.
alter table tenants add column retention_months integer check (retention_months between 1 and 1200);
grant update (retention_months) on tenants to tollgate_system;

-- What was removed, or is being removed: a month of a tenant. A month gets a second record if
-- its history was imported again.
create table removals (
    tenant_id    uuid not null references tenants,
    -- Its first day.
    month        date not null,
    number       integer not null,
    -- Ids are collected, signed, and only then removed.
    state        text not null default 'collecting'
                 check (state in ('collecting', 'collected', 'signed', 'removing', 'removed')),
    decisions    bigint not null default 0,
    -- Over the entries of all chunks; signed together with the columns above.
    hash         bytea,
    signed_at_ms bigint,
    kid          text,
    signature    text,
    -- While removing: the day whose values are next, and the last decision that is gone.
    next_day     integer,
    reached      uuid not null default '00000000-0000-0000-0000-000000000000',
    primary key (tenant_id, month, number),
    check ((state in ('collecting', 'collected')) = (signature is null)),
    check ((signature is null) = (hash is null))
);
-- What is not finished, for each look of a node; and one at a time for a tenant.
create unique index removals_open on removals (tenant_id) where state <> 'removed';
alter table removals enable row level security;
alter table removals force row level security;
create policy own on removals for select to tollgate_app using (tenant_id = current_tenant());
create policy background on removals to tollgate_system, tollgate_owner using (true) with check (true);
grant select on removals to tollgate_app;
-- Nobody deletes: verification needs the records for ever.
grant select, insert on removals to tollgate_system;
grant update (state, decisions, hash, signed_at_ms, kid, signature, next_day) on removals to tollgate_system;

-- The decisions of a removal in the order of their ids: for each its id and the digest that its
-- batch has, 48 bytes together, so that a record excuses exactly one place of a batch.
create table removal_chunks (
    tenant_id uuid not null,
    month     date not null,
    number    integer not null,
    first_id  uuid not null,
    last_id   uuid not null,
    entries   bytea not null check (length(entries) > 0 and length(entries) % 48 = 0),
    -- Finds the chunk of an id by one look-up.
    primary key (tenant_id, month, number, last_id),
    foreign key (tenant_id, month, number) references removals
);
-- Hashes do not compress.
alter table removal_chunks alter column entries set storage external;
alter table removal_chunks enable row level security;
alter table removal_chunks force row level security;
create policy own on removal_chunks for select to tollgate_app using (tenant_id = current_tenant());
create policy background on removal_chunks to tollgate_system, tollgate_owner using (true) with check (true);
grant select on removal_chunks to tollgate_app;
grant select, insert on removal_chunks to tollgate_system;

-- Whose personal data was erased: when, by whom and why.
create table erasures (
    tenant_id    uuid not null references tenants,
    payment_id   uuid not null,
    erased_at_ms bigint not null,
    actor        text not null,
    reason       text not null,
    -- What the payment was found by, until it is removed from the segments of the search.
    terms        bigint[],
    primary key (tenant_id, payment_id)
);
-- What is left to remove; empty most of the time.
create index erasures_in_segments on erasures (tenant_id) where terms is not null;
alter table erasures enable row level security;
alter table erasures force row level security;
create policy own on erasures to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on erasures to tollgate_system using (true) with check (true);
create policy removing on erasures to tollgate_owner using (true);
grant select, insert on erasures to tollgate_app;
grant select on erasures to tollgate_system;
grant update (terms) on erasures to tollgate_system;

-- For the functions, which run as the owner.
create policy removing on decisions to tollgate_owner using (true) with check (true);
create policy removing on idempotency_keys to tollgate_owner using (true);
create policy removing on aggregate_values to tollgate_owner using (true);
create policy removing on payment_events to tollgate_owner using (true) with check (true);
create policy removing on shadow_runs to tollgate_owner using (true);
create policy removing on backtests to tollgate_owner using (true) with check (true);
create policy removing on tenants for select to tollgate_owner using (true);
-- Only a database that is being upgraded has this table (0016).
do $$
begin
    if to_regclass('payment_values') is not null then
        create policy removing on payment_values to tollgate_owner using (true);
    end if;
end
$$;

-- Series that were removed because nobody asked about them. Their rows are still there, and an
-- erasure computes their keys from the definitions.
create table removed_series (
    tenant_id  uuid not null references tenants,
    digest     uuid not null,
    definition jsonb not null,
    primary key (tenant_id, digest)
);
alter table removed_series enable row level security;
alter table removed_series force row level security;
create policy own on removed_series for select to tollgate_app using (tenant_id = current_tenant());
create policy keeping on removed_series to tollgate_owner using (true) with check (true);
grant select on removed_series to tollgate_app;

create function keep_removed_series() returns trigger
    language plpgsql security definer set search_path = tollgate, pg_temp
as $$
begin
    insert into removed_series (tenant_id, digest, definition)
    values (old.tenant_id, old.digest, old.definition)
    on conflict (tenant_id, digest) do nothing;
    return old;
end
$$;
revoke all on function keep_removed_series from public;
create trigger series_removed before delete on value_series
    for each row execute function keep_removed_series();

-- Removes some values of one day, and returns how many. They have no index by payment, so they
-- go by their time, which is that of the ids.
create function remove_values(removed_tenant uuid, removed_month date, removed_number integer, day integer)
    returns bigint
    language plpgsql security definer set search_path = tollgate, pg_temp
as $$
declare
    first_ms bigint := extract(epoch from removed_month::timestamp) * 1000;
    next_ms bigint := extract(epoch from removed_month + interval '1 month') * 1000;
    removed bigint;
    more bigint := 0;
begin
    perform from removals r
    where r.tenant_id = removed_tenant and r.month = removed_month and r.number = removed_number
      and r.state = 'removing';
    if not found or day < first_ms / 86400000 or day >= next_ms / 86400000 then
        raise exception 'nothing is being removed on this day';
    end if;
    if to_regclass('tollgate.payment_values') is not null then
        execute 'delete from payment_values
                 where ctid = any (array(select ctid from payment_values
                                         where received_day = $1 and tenant_id = $2 limit 10000))'
            using day, removed_tenant;
        get diagnostics more = row_count;
    end if;
    -- Within a month all rows are in one partition, so their ctids are unique.
    delete from aggregate_values
    where received_at_ms >= first_ms and received_at_ms < next_ms
      and ctid = any (array(select ctid from aggregate_values
                            where received_day in (0, day) and tenant_id = removed_tenant
                              and received_at_ms >= first_ms and received_at_ms < next_ms limit 10000));
    get diagnostics removed = row_count;
    removed := removed + more;
    -- The roll-ups of the day, and of its block (0020).
    delete from aggregate_days
    where ctid = any (array(select ctid from aggregate_days
                            where period + 0 in (day, -1 - day / 32) and tenant_id = removed_tenant
                            limit 10000));
    get diagnostics more = row_count;
    return removed + more;
end
$$;

-- Removes the next recorded decisions with their keys and events. Returns false at the end.
create function remove_decisions(removed_tenant uuid, removed_month date, removed_number integer)
    returns boolean
    language plpgsql security definer set search_path = tollgate, pg_temp
as $$
declare
    chunk removal_chunks;
    ids uuid[];
begin
    select c.* into chunk
    from removals r
    join removal_chunks c on c.tenant_id = r.tenant_id and c.month = r.month and c.number = r.number
                         and c.last_id > r.reached
    where r.tenant_id = removed_tenant and r.month = removed_month and r.number = removed_number
      and r.state = 'removing'
    order by c.last_id
    limit 1;
    if not found then
        return false;
    end if;
    ids := array(select encode(substring(chunk.entries from place * 48 + 1 for 16), 'hex')::uuid
                 from generate_series(0, length(chunk.entries) / 48 - 1) as place);
    with gone as (
        delete from decisions
        where tenant_id = removed_tenant and id = any (ids)
        returning id, client_id, idempotency_key
    )
    delete from idempotency_keys k
    using gone
    where k.tenant_id = removed_tenant and k.client_id = gone.client_id and k.key = gone.idempotency_key
      and k.decision_id = gone.id;
    delete from payment_events where tenant_id = removed_tenant and payment_id = any (ids);
    delete from erasures where tenant_id = removed_tenant and payment_id = any (ids);
    update removals set reached = chunk.last_id
    where tenant_id = removed_tenant and month = removed_month and number = removed_number;
    return true;
end
$$;

-- Drops the partitions of a month in which something was removed, if they are empty and the
-- month is over. It gives up instead of making every decision wait for a long reader.
create function drop_empty_partition(parent text, dropped_month date) returns boolean
    language plpgsql security definer set search_path = tollgate, pg_temp set lock_timeout = '200ms'
as $$
declare
    partition text := parent || '_' || to_char(dropped_month, 'YYYY_MM');
    is_used boolean;
begin
    if parent not in ('decisions', 'aggregate_values')
       or dropped_month >= date_trunc('month', now() at time zone 'utc')
       or not exists (select from removals r where r.month = dropped_month) then
        raise exception 'this partition must stay';
    end if;
    perform pg_advisory_xact_lock(hashtext(case parent when 'decisions' then 'ensure_decision_partition'
                                                       else 'ensure_aggregate_partition' end));
    if to_regclass('tollgate.' || partition) is null then
        return false;
    end if;
    execute format('select exists (select from %I)', partition) into is_used;
    if is_used then
        return false;
    end if;
    -- Nothing is stored in the partition from here on.
    execute format('lock table %I in access exclusive mode', partition);
    execute format('select exists (select from %I)', partition) into is_used;
    if is_used then
        return false;
    end if;
    execute format('drop table %I', partition);
    return true;
end
$$;

-- Takes the payments with these ids out of the examples of finished backtests. A report has three
-- by three lists of examples.
create function forget_examples(forgetting_tenant uuid, first_id uuid, last_id uuid) returns void
    language plpgsql security definer set search_path = tollgate, pg_temp
as $$
begin
    update backtests b
    set report = jsonb_set(b.report, '{examples}', (
        select jsonb_agg((
            select jsonb_agg((
                select coalesce(jsonb_agg(example order by place), '[]')
                from jsonb_array_elements(cell) with ordinality as examples (example, place)
                where (example ->> 'payment')::uuid not between first_id and last_id
            ) order by cell_place)
            from jsonb_array_elements(line) with ordinality as cells (cell, cell_place)
        ) order by line_place)
        from jsonb_array_elements(b.report -> 'examples') with ordinality as lines (line, line_place)))
    where b.tenant_id = forgetting_tenant and b.state not in ('waiting', 'running')
      and exists (select from jsonb_path_query(b.report, '$.examples[*][*][*].payment') as payment
                  where (payment #>> '{}')::uuid between first_id and last_id);
end
$$;

-- Erases the personal data of a payment of the session's tenant, of which `erasures` has a record.
-- The digests stay, which the chain covers.
create function erase_payment(
    erased uuid, erased_received_at_ms bigint, value_keys uuid[], aggregate_keys uuid[]
) returns void
    language plpgsql security definer set search_path = tollgate, pg_temp
as $$
declare
    own_tenant uuid := current_tenant();
    day integer := (erased_received_at_ms / 86400000)::integer;
begin
    perform from erasures where tenant_id = own_tenant and payment_id = erased;
    if not found then
        raise exception 'an erasure needs its record first';
    end if;
    update decisions set payload = null, payload_salt = null, reference = null
    where tenant_id = own_tenant and id = erased;
    if to_regclass('tollgate.payment_values') is not null then
        execute 'delete from payment_values
                 where received_day = $1 and value_key = any ($2) and received_at_ms = $3
                   and tenant_id = $4 and payment_id = $5'
            using day, value_keys, erased_received_at_ms, own_tenant, erased;
    end if;
    delete from aggregate_values
    where received_day in (0, day) and value_key = any (aggregate_keys) and received_at_ms = erased_received_at_ms
      and tenant_id = own_tenant and payment_id = erased;
    update payment_events set note = '' where tenant_id = own_tenant and payment_id = erased;
    delete from shadow_runs
    where received_at_ms = erased_received_at_ms and tenant_id = own_tenant and payment_id = erased;
    perform forget_examples(own_tenant, erased, erased);
end
$$;

revoke all on function remove_values, remove_decisions, drop_empty_partition, forget_examples, erase_payment
    from public;
grant execute on function remove_values, remove_decisions, drop_empty_partition, forget_examples
    to tollgate_system;
grant execute on function erase_payment to tollgate_app;
