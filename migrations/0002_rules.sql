-- What decides: plugins, rulesets and their activations, lists.

create table plugins (
    -- SHA-256 of the bytes.
    digest          bytea primary key check (length(digest) = 32),
    bytes           bytea not null,
    contract        text not null,
    profile         text not null check (profile in ('small', 'large')),
    name            text not null,
    version         text not null,
    summary         text not null,
    settings_schema text not null,
    compile_ms      bigint not null,
    -- From the folder of the installation: every tenant may use it.
    shared          boolean not null default false,
    created_at_ms   bigint not null
);
-- Components are compressed already as far as it pays.
alter table plugins alter column bytes set storage external;

-- Which tenant sees which plugin. The bytes stand once however many upload them.
create table tenant_plugins (
    tenant_id     uuid not null references tenants,
    digest        bytea not null references plugins,
    uploaded_by   text not null,
    created_at_ms bigint not null,
    primary key (tenant_id, digest)
);
alter table tenant_plugins enable row level security;
alter table tenant_plugins force row level security;
create policy own on tenant_plugins to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on tenant_plugins to tollgate_system using (true) with check (true);
grant select, insert on tenant_plugins to tollgate_app;
grant select, insert on tenant_plugins to tollgate_system;

alter table plugins enable row level security;
alter table plugins force row level security;
create policy visible on plugins for select to tollgate_app
    using (shared or exists (select from tenant_plugins own where own.digest = plugins.digest and own.tenant_id = current_tenant()));
create policy background on plugins to tollgate_system using (true) with check (true);
-- Foreign keys look here as the owner.
create policy referenced on plugins for select to tollgate_owner using (true);
grant select on plugins to tollgate_app;
-- Bytes are never deleted: a decision may name them.
grant select, insert, update (shared) on plugins to tollgate_system;

create table revisions (
    tenant_id     uuid not null references tenants,
    point         text not null check (point = 'payment'),
    number        integer not null check (number > 0),
    -- The prepared rules as versioned canonical bytes, and their SHA-256.
    rules_version smallint not null,
    rules         bytea not null,
    digest        bytea not null check (length(digest) = 32),
    note          text not null,
    created_by    text not null,
    created_at_ms bigint not null,
    primary key (tenant_id, point, number)
);
alter table revisions enable row level security;
alter table revisions force row level security;
create policy own on revisions to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on revisions to tollgate_system using (true) with check (true);
create policy referenced on revisions for select to tollgate_owner using (true);
-- No update, no delete: a revision is immutable.
grant select, insert on revisions to tollgate_app, tollgate_system;

-- Append-only. The sequence rises in commit order because whoever inserts holds
-- an advisory lock until commit; nodes poll for what is above the last one they saw.
create table activations (
    tenant_id       uuid not null,
    sequence        bigint generated always as identity,
    point           text not null,
    revision        integer not null,
    activated_by    text not null,
    activated_at_ms bigint not null,
    primary key (tenant_id, sequence),
    foreign key (tenant_id, point, revision) references revisions
);
-- The poll of every node, over all tenants.
create unique index activations_by_sequence on activations (sequence);
alter table activations enable row level security;
alter table activations force row level security;
create policy own on activations to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on activations to tollgate_system using (true) with check (true);
grant select, insert on activations to tollgate_app, tollgate_system;

create table lists (
    tenant_id     uuid not null references tenants,
    name          text not null check (name ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and length(name) <= 64),
    description   text not null,
    created_by    text not null,
    created_at_ms bigint not null,
    primary key (tenant_id, name)
);
alter table lists enable row level security;
alter table lists force row level security;
create policy own on lists to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on lists to tollgate_system using (true) with check (true);
create policy referenced on lists for select to tollgate_owner using (true);
grant select, insert on lists to tollgate_app, tollgate_system;

-- Temporal: closed by valid_to_ms, never deleted, so a past moment can be seen as it was.
create table list_entries (
    tenant_id       uuid not null,
    list            text not null,
    id              uuid not null,
    value           text not null,
    -- For exact and prefix matching.
    comparable      text not null,
    -- For matching names without case, accents and punctuation.
    normalized_name text not null,
    reason          text not null,
    valid_from_ms   bigint not null,
    valid_to_ms     bigint check (valid_to_ms >= valid_from_ms),
    added_by        text not null,
    closed_by       text,
    primary key (tenant_id, id),
    foreign key (tenant_id, list) references lists
);
-- The facts query: equality for exact, equality with each prefix of the value for prefix.
create index list_entries_by_value on list_entries (tenant_id, list, comparable);
create index list_entries_by_name on list_entries (tenant_id, list, normalized_name);
-- One open entry per value: adding it twice is a conflict, not a copy.
create unique index list_entries_open on list_entries (tenant_id, list, comparable) where valid_to_ms is null;
alter table list_entries enable row level security;
alter table list_entries force row level security;
create policy own on list_entries to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on list_entries to tollgate_system using (true) with check (true);
grant select, insert on list_entries to tollgate_app, tollgate_system;
grant update (valid_to_ms, closed_by) on list_entries to tollgate_app;
