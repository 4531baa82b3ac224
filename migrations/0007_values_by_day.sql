-- Entries of one day stay together. Under the key alone each value of a payment
-- lands on a page of its own somewhere in all that was ever stored, and with ten
-- million payments writing those pages is most of what a decision costs; under the
-- day, only the pages of this day are written. Whoever reads names the days: a
-- window of a value is one look-up for each of its days, and Postgres has no other
-- way into this index.
--
-- A column, since row security lets nothing but comparisons of columns into an
-- index: a division could fail, and tell of rows that must not be seen.
--
-- Both tables are written anew, in the order in which decisions are stored, or a
-- running node and this would wait for each other.
alter table decisions
    add column received_day integer not null generated always as ((received_at_ms / 86400000)::integer) stored;
alter table payment_values
    add column received_day integer not null generated always as ((received_at_ms / 86400000)::integer) stored;
create index payment_values_by_day on payment_values (received_day, value_key, received_at_ms)
    include (tenant_id, currency, amount_minor, approved, payment_id);
drop index payment_values_by_key;

-- What is known of the columns is what statements are planned by. An empty table
-- is better left unknown than known to be empty.
do $$
begin
    if pg_relation_size('payment_values') > 0 then
        analyze decisions, payment_values;
    end if;
end
$$;
