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
