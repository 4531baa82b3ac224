-- Long windows are answered from roll-ups: a row for the payments of a day, and one for those of
-- a block of 32 days. A roll-up is final, since a day is sealed before it is rolled up.

-- All days up to `sealed_day` are sealed: what is still received for them is stored under the day
-- 0 until it is rolled up as well. All days up to `rolled_day` are rolled up. -1: none yet.
alter table value_series_log
    add column sealed_day  integer not null default -1,
    add column rolled_day  integer not null default -1,
    -- The last key of the next day that is rolled up. Null at its beginning.
    add column rolling_key uuid;
-- The statement that looks facts up reads it.
grant select on value_series_log to tollgate_app;
grant update (rolled_day, rolling_key) on value_series_log to tollgate_system;

alter table value_series
    -- Whether long windows ask about the series.
    add column by_day    boolean not null default false,
    -- Its days are rolled up in the order of the decisions' ids, up to this one.
    add column rolled_to uuid,
    -- Whether all its days up to `rolled_day` are rolled up.
    add column is_rolled boolean not null default false;
grant update (rolled_to, is_rolled) on value_series to tollgate_system;
-- What is left to roll up; empty most of the time.
create index value_series_to_roll_up on value_series (sequence) where by_day and not is_rolled;

-- Whether the row is of a series by day: only those are rolled up. Null is no.
alter table aggregate_values add column by_day boolean;
grant update (by_day, received_day) on aggregate_values to tollgate_system;

create table aggregate_days (
    tenant_id     uuid not null,
    value_key     uuid not null,
    -- The day; or for a block of 32 days, the day divided by 32, as -1 - block.
    period        integer not null,
    method        smallint not null,
    outcome       smallint not null,
    payments      bigint not null,
    total         numeric not null,
    squares       numeric not null,
    minimum       bigint,
    maximum       bigint,
    unconverted   bigint not null,
    -- At most 257: that many show that there are more than are counted exactly.
    distinct_keys bigint[] check (cardinality(distinct_keys) <= 257),
    first_at_ms   bigint not null,
    first_payment uuid not null,
    last_at_ms    bigint not null,
    last_payment  uuid not null,
    -- The days of one value are together, and the numbers are read from the index alone.
    primary key (value_key, period, method, outcome)
        include (tenant_id, payments, total, squares, minimum, maximum, unconverted)
);
-- Retention removes a tenant's days. By an expression, so that no look-up of a value is planned by
-- this index instead of the primary key.
create index aggregate_days_by_period on aggregate_days ((period + 0), tenant_id);
alter table aggregate_days enable row level security;
alter table aggregate_days force row level security;
create policy own on aggregate_days for select to tollgate_app using (tenant_id = current_tenant());
create policy reading on aggregate_days for select to tollgate_journal using (tenant_id = any ((select batch_tenants())::uuid[]));
create policy background on aggregate_days to tollgate_system using (true) with check (true);
create policy removing on aggregate_days to tollgate_owner using (true);
grant select on aggregate_days to tollgate_app, tollgate_journal;
grant select, insert, update on aggregate_days to tollgate_system;

-- As with four arguments, which nodes of the release before call; and some of the series are asked
-- about by long windows.
create function declare_series(series_tenant uuid, digests uuid[], definitions jsonb[], by_days boolean[], at_ms bigint)
    returns void
    language plpgsql security definer set search_path = tollgate, pg_temp set lock_timeout = '200ms'
as $$
begin
    perform declare_series(series_tenant, digests, definitions, at_ms);
    update value_series s set by_day = true
    from unnest(digests, by_days) as asked (digest, by_day)
    where s.tenant_id = series_tenant and s.digest = asked.digest and asked.by_day and not s.by_day;
    if found then
        -- Every batch that does not know it has committed before, so rolling up finds its rows.
        perform pg_advisory_xact_lock(8390043841926791179);
        -- Writers read all series again.
        update value_series_log set sequence = sequence + 1, removed_at_sequence = sequence + 1;
    end if;
end
$$;
revoke all on function declare_series(uuid, uuid[], jsonb[], boolean[], bigint) from public;
grant execute on function declare_series(uuid, uuid[], jsonb[], boolean[], bigint) to tollgate_app;

-- Seals the days up to this one, which must be over for longer than a payment can be in flight.
-- From then on a batch whose writer does not know it is refused by `admit_batch`, so no row is
-- added under these days. Not while nodes of the release before may store batches.
create function seal_days(up_to_day integer) returns void
    language plpgsql security definer set search_path = tollgate, pg_temp set lock_timeout = '200ms'
as $$
begin
    if to_regclass('tollgate.payment_values') is not null
       or (select sealed_day from value_series_log) >= up_to_day then
        return;
    end if;
    perform pg_advisory_xact_lock(8390043841926791179);
    update value_series_log
    set sequence = sequence + 1,
        sealed_day = greatest(sealed_day, up_to_day),
        -- No series has been rolled up before days are sealed.
        rolled_day = case when sealed_day < 0 then up_to_day else rolled_day end;
end
$$;
revoke all on function seal_days from public;
grant execute on function seal_days to tollgate_system;
