-- How many decisions of each outcome there were, and how long they took, for charts. Counted by
-- whoever writes the search index, in the same transaction, so that a decision itself writes nothing
-- for it and is counted once.

alter table search_progress
    -- The last batch that is counted. Lower than `sequence` for what an earlier release indexed.
    add column counted bigint not null default 0;

-- What is still missing: a look at an empty index once all is counted.
create index search_progress_uncounted on search_progress (writer_id) where counted < sequence;

create table decision_counts (
    tenant_id uuid not null,
    -- Ten seconds from this time on, by the times in the ids of the decisions.
    from_ms   bigint not null check (from_ms % 10000 = 0),
    approve   bigint not null,
    review    bigint not null,
    reject    bigint not null,
    -- For each bound of `domain/duration_counts.rs` how many decisions were stored within it.
    durations bigint[] not null,
    -- A span of time of one tenant is a range of this key. There is at most a row for each decision,
    -- so that rows of longer spans for older times would save little.
    primary key (tenant_id, from_ms)
);
alter table decision_counts enable row level security;
alter table decision_counts force row level security;
create policy own on decision_counts for select to tollgate_app using (tenant_id = current_tenant());
create policy background on decision_counts to tollgate_system using (true) with check (true);
grant select on decision_counts to tollgate_app;
grant select, insert, update (approve, review, reject, durations), delete on decision_counts to tollgate_system;
