-- Reference tables: rows that rules look up by a value of a payment. A version is
-- immutable, and nothing is deleted, since decisions may have used it.

create table tables (
    tenant_id     uuid not null references tenants,
    name          text not null check (name ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and length(name) <= 64),
    description   text not null,
    lookup        text not null check (lookup in ('exact', 'longest_prefix', 'range')),
    -- The kind of the key, as for lists.
    kind          text not null,
    -- Beside those of the key. Fixed, so that a rule finds the cells that it was made for.
    column_names  text[] not null,
    column_kinds  text[] not null,
    created_by    text not null,
    created_at_ms bigint not null,
    -- Closed: it takes no versions, and no new revision asks about it.
    closed_at_ms  bigint,
    closed_by     text,
    primary key (tenant_id, name),
    constraint tables_columns_have_kinds check (cardinality(column_names) = cardinality(column_kinds)),
    constraint tables_closed_by_somebody check ((closed_at_ms is null) = (closed_by is null))
);
alter table tables enable row level security;
alter table tables force row level security;
create policy own on tables to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on tables for select to tollgate_system using (true);
-- Foreign keys look here as the owner.
create policy referenced on tables for select to tollgate_owner using (true);
grant select, insert on tables to tollgate_app;
grant update (closed_at_ms, closed_by) on tables to tollgate_app;
grant select on tables to tollgate_system;

-- A version stands here once all of its rows are stored: both are one transaction. So
-- there is no version that is only half there.
create table table_versions (
    tenant_id          uuid not null,
    table_name         text not null,
    -- From 1, without gaps: whoever inserts holds a lock of the tenant.
    number             integer not null check (number > 0),
    -- Names the rows before the version has its number, since the lock under which
    -- it gets one must not be held while they are written.
    content            uuid not null,
    row_count          integer not null check (row_count >= 0),
    size_bytes         bigint not null check (size_bytes >= 0),
    -- SHA-256 of columns and rows, the rows in order.
    digest             bytea not null check (length(digest) = 32),
    -- Of the bytes of the rows, and of the forms of their keys.
    form_version       smallint not null,
    comparison_version smallint not null,
    note               text not null,
    created_by         text not null,
    created_at_ms      bigint not null,
    -- When it first takes effect, two seconds after it was written: every node has it by then.
    valid_from_ms      bigint not null,
    primary key (tenant_id, table_name, number),
    -- What the rows refer to.
    unique (tenant_id, content),
    foreign key (tenant_id, table_name) references tables
);
alter table table_versions enable row level security;
alter table table_versions force row level security;
create policy own on table_versions to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on table_versions for select to tollgate_system using (true);
create policy referenced on table_versions for select to tollgate_owner using (true);
-- No update, no delete: a version is immutable.
grant select, insert on table_versions to tollgate_app;
grant select on table_versions to tollgate_system;

-- The rows of a version in parts of about 256 kB, in the order of their keys. With a
-- row here for each row of the table, a million of them would take minutes to write
-- and seconds to read, and three times the space. Postgres compresses them.
create table table_chunks (
    tenant_id uuid not null,
    content   uuid not null,
    place     integer not null check (place >= 0),
    -- The sort key of the first row, so that one row is found in one part. A version
    -- has at most a few hundred parts and their bytes stand elsewhere, so passing
    -- over them by the primary key is as quick as an index of its own.
    first_key bytea not null,
    bytes     bytea not null,
    primary key (tenant_id, content, place),
    -- Checked at the commit, since the version follows its rows.
    foreign key (tenant_id, content) references table_versions (tenant_id, content) deferrable initially deferred
);
alter table table_chunks enable row level security;
alter table table_chunks force row level security;
create policy own on table_chunks to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on table_chunks for select to tollgate_system using (true);
grant select, insert on table_chunks to tollgate_app;
grant select on table_chunks to tollgate_system;

-- Append-only: which version is valid from when. The sequence rises in commit order
-- because whoever inserts holds an advisory lock until commit; nodes poll for what is
-- above the last one they saw.
create table table_activations (
    tenant_id       uuid not null,
    sequence        bigint generated always as identity,
    table_name      text not null,
    version         integer not null,
    kind            text not null check (kind in ('upload', 'activate', 'roll_back')),
    activated_by    text not null,
    activated_at_ms bigint not null,
    -- Never falls from one line of a table to the next.
    valid_from_ms   bigint not null,
    primary key (tenant_id, sequence),
    foreign key (tenant_id, table_name, version) references table_versions
);
-- The poll of every node, over all tenants.
create unique index table_activations_by_sequence on table_activations (sequence);
-- The log of one table, and its latest line.
create index table_activations_by_table on table_activations (tenant_id, table_name, sequence);
alter table table_activations enable row level security;
alter table table_activations force row level security;
create policy own on table_activations to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on table_activations for select to tollgate_system using (true);
grant select, insert on table_activations to tollgate_app;
grant select on table_activations to tollgate_system;
