-- Reviews: what waits for a person, and what became of it. The decision itself never changes.

create table reviews (
    tenant_id        uuid not null,
    -- That of the decision, or one of its own if an event of the payment opened the item. Either
    -- way it carries the time at which the item was opened.
    id               uuid not null,
    payment_id       uuid not null,
    opened_at_ms     bigint not null,
    -- For filters. The reference is read from the decision, so that erasing it there is enough.
    amount_minor     bigint not null,
    currency         text not null,
    -- The events that opened or joined the item, in the order of their reports.
    event_ids        uuid[],
    -- Who works on it. The claim ends at that time unless it is renewed.
    claimed_by       uuid,
    claimed_until_ms bigint,
    outcome          text check (outcome in ('approve', 'reject')),
    decided_by       text,
    decided_at_ms    bigint,
    -- Whether nobody decided in time.
    is_expired       boolean not null default false,
    note             text,
    primary key (tenant_id, id),
    check ((claimed_by is null) = (claimed_until_ms is null)),
    check (num_nonnulls(outcome, decided_by, decided_at_ms) in (0, 3)),
    check (decided_at_ms is null or claimed_by is null)
);
-- The queue, oldest first; and what is due for expiry.
create index reviews_waiting on reviews (tenant_id, id) where decided_at_ms is null;
-- A payment's items that events opened. One of them is open at most.
create index reviews_of_events on reviews (tenant_id, payment_id) where id <> payment_id;
create unique index reviews_open_of_events on reviews (tenant_id, payment_id)
    where id <> payment_id and decided_at_ms is null;
-- How many were decided today.
create index reviews_decided on reviews (tenant_id, decided_at_ms) where decided_at_ms is not null;
alter table reviews enable row level security;
alter table reviews force row level security;
create policy own on reviews to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy batch on reviews for insert to tollgate_journal with check (tenant_id = any ((select batch_tenants())::uuid[]));
create policy background on reviews to tollgate_system using (true) with check (true);
-- For the functions, which run as the owner.
create policy removing on reviews to tollgate_owner using (true) with check (true);
grant insert (tenant_id, id, payment_id, opened_at_ms, amount_minor, currency) on reviews to tollgate_journal;
grant select on reviews to tollgate_app, tollgate_system;
grant insert (tenant_id, id, payment_id, opened_at_ms, amount_minor, currency, event_ids) on reviews to tollgate_app;
grant update (event_ids, claimed_by, claimed_until_ms, outcome, decided_by, decided_at_ms, note) on reviews to tollgate_app;
grant update (claimed_by, claimed_until_ms, outcome, decided_by, decided_at_ms, is_expired) on reviews to tollgate_system;

-- How a tenant reviews. Without a row, the defaults of the program.
create table review_settings (
    tenant_id         uuid primary key references tenants,
    lease_min         integer not null check (lease_min between 1 and 1440),
    -- Null: never.
    expires_after_min integer check (expires_after_min between 1 and 525600),
    expires_to        text check (expires_to in ('approve', 'reject')),
    -- Events of these kinds open an item.
    event_kinds       text[] not null,
    check ((expires_after_min is null) = (expires_to is null))
);
alter table review_settings enable row level security;
alter table review_settings force row level security;
create policy own on review_settings to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on review_settings for select to tollgate_system using (true);
grant select, insert, update (lease_min, expires_after_min, expires_to, event_kinds) on review_settings to tollgate_app;
grant select on review_settings to tollgate_system;

-- As before, with reviews.
create or replace function remove_decisions(removed_tenant uuid, removed_month date, removed_number integer)
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
    delete from reviews where tenant_id = removed_tenant and id = any (ids);
    delete from reviews where tenant_id = removed_tenant and payment_id = any (ids) and id <> payment_id;
    delete from erasures where tenant_id = removed_tenant and payment_id = any (ids);
    update removals set reached = chunk.last_id
    where tenant_id = removed_tenant and month = removed_month and number = removed_number;
    return true;
end
$$;

-- As before, with the notes of reviews.
create or replace function erase_payment(
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
    update reviews set note = null where tenant_id = own_tenant and id = erased;
    update reviews set note = null
    where tenant_id = own_tenant and payment_id = erased and id <> payment_id;
    delete from shadow_runs
    where received_at_ms = erased_received_at_ms and tenant_id = own_tenant and payment_id = erased;
    perform forget_examples(own_tenant, erased, erased);
end
$$;
