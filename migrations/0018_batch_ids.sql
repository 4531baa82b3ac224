-- A batch names its decisions, so verification finds them by their primary key. Before, it
-- needed an index over all decisions, which every decision paid for.

alter table journal_batches
    -- Tenant and id of each decision, 16 bytes each, in their position. Null in batches of
    -- earlier releases until `fill_in` of the program has added them.
    add column decision_ids bytea;
-- Not compressed, so that one position is read without the others.
alter table journal_batches alter column decision_ids set storage external;
grant update (decision_ids) on journal_batches to tollgate_system;

-- How far earlier batches have got their ids: one row.
create table batch_ids_progress (
    is_only      boolean primary key default true check (is_only),
    -- The batch that the current pass over all batches has reached.
    writer_id    uuid not null default '00000000-0000-0000-0000-000000000000',
    sequence     bigint not null default 0,
    -- Whether every batch has needed ids since before the current pass began.
    are_required boolean not null,
    -- Whether a pass has ended since then and the index is gone.
    is_complete  boolean not null
);
grant select on batch_ids_progress to tollgate_system;
grant update (writer_id, sequence) on batch_ids_progress to tollgate_system;

-- From then on a node of an earlier release cannot store batches. The lock makes every batch
-- wait, so it is not waited for: the caller comes again later.
create function require_batch_ids() returns void
    language plpgsql security definer set search_path = tollgate, pg_temp set lock_timeout = '200ms'
as $$
begin
    alter table journal_batches
        add constraint journal_batches_have_ids check (decision_ids is not null) not valid;
    -- A batch without ids may have been stored behind the last pass, so another one follows.
    update batch_ids_progress
    set are_required = true, writer_id = '00000000-0000-0000-0000-000000000000', sequence = 0;
end
$$;

-- The end of the pass after `require_batch_ids`. Dropping the index locks out readers and
-- writers of decisions for a moment.
create function drop_decisions_by_position() returns void
    language plpgsql security definer set search_path = tollgate, pg_temp set lock_timeout = '200ms'
as $$
begin
    if not (select are_required from batch_ids_progress) then
        raise exception 'batches without ids may still be stored';
    end if;
    drop index if exists decisions_by_position;
    update batch_ids_progress set is_complete = true;
end
$$;
revoke all on function require_batch_ids, drop_decisions_by_position from public;
grant execute on function require_batch_ids, drop_decisions_by_position to tollgate_system;

-- A new database never has the index.
do $$
declare
    is_new boolean := not exists (select from journal_batches);
begin
    insert into batch_ids_progress (are_required, is_complete) values (false, false);
    if is_new then
        perform require_batch_ids();
        perform drop_decisions_by_position();
    end if;
end
$$;
