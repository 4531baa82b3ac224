-- Search: payments are found by terms, which are hashes of what a payment can be found by. The
-- lists of payments of all terms are kept in sorted segments, written a moment after the
-- decisions and merged later, so that a decision itself writes nothing for it.

-- How far the batches of each writer of the journal are in segments. A page of batches, its
-- segments and this row are one transaction, so nothing is lost or stored twice.
create table search_progress (
    writer_id     uuid primary key,
    -- The last batch that is indexed.
    sequence      bigint not null,
    -- While it is higher than `sequence`, the history of the writer is being indexed, and no
    -- search by terms is complete. Zero for writers that began after this migration.
    history_until bigint not null
);
grant select, insert, update on search_progress to tollgate_system;

insert into search_progress (writer_id, sequence, history_until)
select id, 0, stored.last_sequence
from (select w.id, (select max(b.sequence) from journal_batches b where b.writer_id = w.id) as last_sequence
      from journal_writers w) stored
where stored.last_sequence is not null;

-- What is still missing of the history: a look at an empty index once it is complete.
create index search_progress_of_history on search_progress (writer_id) where sequence < history_until;

create sequence search_segment_ids;
grant usage on search_segment_ids to tollgate_system;

-- A segment is immutable. Sixteen of a level become one of the next level.
create table search_segments (
    tenant_id uuid not null,
    id        bigint not null,
    -- The first day of the month of its payments, by the times in their ids. A segment has
    -- payments of one month only, so that a month can be deleted.
    month     date not null,
    level     smallint not null,
    -- The first and the last time of its payments.
    first_ms  bigint not null,
    last_ms   bigint not null,
    bytes     bigint not null,
    primary key (tenant_id, id)
);
-- The segments of a month: for searches, which go month by month, for merging and for deleting.
create index search_segments_by_month on search_segments (tenant_id, month, level);
alter table search_segments enable row level security;
alter table search_segments force row level security;
create policy own on search_segments for select to tollgate_app using (tenant_id = current_tenant());
create policy background on search_segments to tollgate_system using (true) with check (true);
grant select on search_segments to tollgate_app;
grant select, insert, update, delete on search_segments to tollgate_system;

-- The entries of a segment, pairs of term and time, sorted and cut into chunks.
create table search_chunks (
    tenant_id  uuid not null,
    segment_id bigint not null,
    first_term bigint not null,
    first_ms   bigint not null,
    last_term  bigint not null,
    last_ms    bigint not null,
    entries    bytea not null,
    -- Finds the chunk of a term and a time by one probe. No other index, since each chunk
    -- costs an entry.
    primary key (tenant_id, segment_id, first_term, first_ms),
    -- Deleting a segment, or a month of them, deletes the chunks.
    foreign key (tenant_id, segment_id) references search_segments (tenant_id, id) on delete cascade
);
-- A chunk fills a page. Hashes do not compress, and out of line each chunk would be five
-- look-ups instead of one.
alter table search_chunks alter column entries set storage plain;
alter table search_chunks enable row level security;
alter table search_chunks force row level security;
create policy own on search_chunks for select to tollgate_app using (tenant_id = current_tenant());
create policy background on search_chunks to tollgate_system using (true) with check (true);
grant select on search_chunks to tollgate_app;
grant select, insert, update, delete on search_chunks to tollgate_system;

-- The payments of which an event was reported, newest or oldest first. Reports of events wait
-- while this is built; decisions do not.
create index payment_events_by_kind on payment_events (tenant_id, kind, payment_id);
