-- How rules change safely: uploads, tries on history and beside live payments,
-- deployments, quarantine, and the record of who did what.

-- Every administrative act. Append-only by privilege: nobody may update or
-- delete here, so a line that was written stays.
create table audit_events (
    tenant_id uuid not null references tenants,
    -- Rises in commit order within a tenant: whoever inserts holds a lock of the
    -- tenant until commit, so a feed that asks for what is above its last one misses nothing.
    sequence  bigint generated always as identity,
    at_ms     bigint not null,
    actor     text not null,
    action    text not null,
    -- What was acted on: a revision's number, a plugin's digest, a list's name.
    subject   text not null,
    before    jsonb,
    after     jsonb,
    primary key (tenant_id, sequence)
);
alter table audit_events enable row level security;
alter table audit_events force row level security;
create policy own on audit_events to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on audit_events to tollgate_system using (true) with check (true);
grant select, insert on audit_events to tollgate_app, tollgate_system;

-- The processes that serve, by their own heartbeat. An activation waits until
-- every one that is alive has its plugins ready.
create table nodes (
    id            uuid primary key,
    name          text not null,
    started_at_ms bigint not null,
    -- By the database's clock, so that nodes with clocks of their own agree.
    seen_at       timestamptz not null default now()
);
grant select, insert, delete on nodes to tollgate_system;
grant update (seen_at) on nodes to tollgate_system;

create table node_plugins (
    node_id     uuid not null references nodes on delete cascade,
    digest      bytea not null check (length(digest) = 32),
    ready_at_ms bigint not null,
    -- Why it cannot be loaded there; nothing when it is ready.
    why         text,
    primary key (node_id, digest)
);
grant select, insert on node_plugins to tollgate_system;
grant update (ready_at_ms, why) on node_plugins to tollgate_system;
-- The reference is looked up and cascades as the owner, who has all rights already.

-- What a tenant has handed in, from the first byte to ready or refused. The
-- bytes wait here, so that a crash in the middle loses nothing; once the plugin
-- is taken in they stand in plugins, and here no more.
create table plugin_uploads (
    tenant_id      uuid not null references tenants,
    digest         bytea not null check (length(digest) = 32),
    bytes          bytea,
    size_bytes     bigint not null,
    state          text not null check (state in ('waiting', 'compiling', 'ready', 'refused')),
    -- Why it was refused.
    why            text,
    uploaded_by    text not null,
    uploaded_at_ms bigint not null,
    finished_at_ms bigint,
    -- The node at work, and until when it need not be asked, by the database's clock.
    claimed_by     uuid,
    claimed_until  timestamptz,
    attempts       integer not null default 0,
    -- How often the machine failed over it, and not the bytes: it is not tried for ever.
    failures       integer not null default 0,
    primary key (tenant_id, digest),
    check ((bytes is not null) = (state in ('waiting', 'compiling')))
);
alter table plugin_uploads alter column bytes set storage external;
-- The poll of every node: what is to be done, among all that ever was.
create index plugin_uploads_pending on plugin_uploads (uploaded_at_ms) where state in ('waiting', 'compiling');
alter table plugin_uploads enable row level security;
alter table plugin_uploads force row level security;
create policy own on plugin_uploads to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on plugin_uploads to tollgate_system using (true) with check (true);
grant select, insert on plugin_uploads to tollgate_app;
-- Handing in again what was refused.
grant update (bytes, size_bytes, state, why, uploaded_by, uploaded_at_ms, finished_at_ms, claimed_until, attempts, failures)
    on plugin_uploads to tollgate_app;
-- Deleted are refused ones beyond the newest of a tenant.
grant select, delete on plugin_uploads to tollgate_system;
grant update (bytes, state, why, finished_at_ms, claimed_by, claimed_until, attempts, failures)
    on plugin_uploads to tollgate_system;

-- What a component imports: types of the contract, nothing to call.
alter table plugins add column imports text[] not null default '{}';
grant update (imports) on plugins to tollgate_system;

-- A retired plugin decides on where it is active and enters no new revision.
alter table tenant_plugins
    add column retired_at_ms bigint,
    add column retired_by text;
grant update (retired_at_ms, retired_by) on tenant_plugins to tollgate_app;

-- An activation becomes a deployment: which revision decides, which one decides
-- for a share, which one runs without effect. One line holds all three, so no
-- node and no payment ever sees half of a change.
alter table activations
    add column kind text not null default 'activate'
        check (kind in ('activate', 'roll_back', 'canary', 'shadow')),
    add column canary_revision integer,
    -- Of ten thousand payments.
    add column canary_share integer check (canary_share between 1 and 10000),
    add column shadow_revision integer,
    -- The backtest an activation was guarded by.
    add column guard_backtest uuid,
    add check ((canary_revision is null) = (canary_share is null)),
    add foreign key (tenant_id, point, canary_revision) references revisions,
    add foreign key (tenant_id, point, shadow_revision) references revisions;

-- A rule that failed too often. It is known by what it is, plugin and settings,
-- so a new revision with the same rule does not set it free unseen.
create table quarantines (
    tenant_id     uuid not null references tenants,
    id            uuid not null,
    point         text not null,
    rule          text not null,
    binding       bytea not null check (length(binding) = 32),
    revision      integer not null,
    failures      bigint not null,
    runs          bigint not null,
    last_failure  text not null,
    opened_at_ms  bigint not null,
    lifted_at_ms  bigint,
    lifted_by     text,
    primary key (tenant_id, id)
);
-- What every node polls; and two nodes that notice at once open one.
create unique index quarantines_open on quarantines (tenant_id, point, rule, binding) where lifted_at_ms is null;
alter table quarantines enable row level security;
alter table quarantines force row level security;
create policy own on quarantines to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on quarantines to tollgate_system using (true) with check (true);
grant select on quarantines to tollgate_app;
grant update (lifted_at_ms, lifted_by) on quarantines to tollgate_app;
grant select, insert on quarantines to tollgate_system;

-- What a rule or a revision would have said to live payments.
create table shadow_runs (
    tenant_id        uuid not null references tenants,
    -- Whose rules ran: a shadow revision, or the deciding one for its own shadow rules.
    revision         integer not null,
    kind             text not null check (kind in ('rules', 'revision')),
    payment_id       uuid not null,
    decided_revision integer not null,
    received_at_ms   bigint not null,
    decided          text not null check (decided in ('approve', 'review', 'reject')),
    would_be         text not null check (would_be in ('approve', 'review', 'reject')),
    amount_minor     bigint not null,
    currency         text not null,
    -- Side by side: the rules that ran and what each said, or how it failed.
    rules            text[] not null,
    verdicts         text[] not null,
    -- Their facts and results as versioned canonical bytes.
    payload_version  smallint not null,
    payload          bytea not null,
    primary key (tenant_id, kind, revision, payment_id)
);
-- Examples of change, which may be rare among many runs.
create index shadow_runs_changed on shadow_runs (tenant_id, kind, revision, payment_id) where decided <> would_be;
-- What is old, over all tenants.
create index shadow_runs_by_time on shadow_runs (received_at_ms);
alter table shadow_runs enable row level security;
alter table shadow_runs force row level security;
create policy own on shadow_runs for select to tollgate_app using (tenant_id = current_tenant());
create policy background on shadow_runs to tollgate_system using (true) with check (true);
grant select on shadow_runs to tollgate_app;
-- Deleted when they are old: they explain a try, not a decision.
grant select, insert, delete on shadow_runs to tollgate_system;

-- A candidate revision over stored decisions.
create table backtests (
    tenant_id         uuid not null references tenants,
    id                uuid not null,
    point             text not null,
    revision          integer not null,
    -- What it is compared with: a revision run again, or what was decided then.
    baseline_revision integer,
    selection         jsonb not null,
    state             text not null check (state in ('waiting', 'running', 'finished', 'cancelled', 'failed')),
    why               text,
    total             bigint,
    done              bigint not null default 0,
    -- How far it is, and the report so far: written in one statement, so that
    -- going on after a crash counts nothing twice.
    reached           uuid,
    report            jsonb,
    created_by        text not null,
    created_at_ms     bigint not null,
    started_at_ms     bigint,
    finished_at_ms    bigint,
    claimed_by        uuid,
    claimed_until     timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, point, revision) references revisions,
    foreign key (tenant_id, point, baseline_revision) references revisions
);
-- The poll of every node.
create index backtests_pending on backtests (created_at_ms) where state in ('waiting', 'running');
alter table backtests enable row level security;
alter table backtests force row level security;
create policy own on backtests to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on backtests to tollgate_system using (true) with check (true);
grant select, insert on backtests to tollgate_app;
grant update (state, finished_at_ms) on backtests to tollgate_app;
grant select on backtests to tollgate_system;
grant update (state, why, total, done, reached, report, started_at_ms, finished_at_ms, claimed_by, claimed_until)
    on backtests to tollgate_system;

-- What became of a payment after its decision.
create table payment_events (
    tenant_id      uuid not null,
    payment_id     uuid not null,
    id             uuid not null,
    kind           text not null check (kind in ('claimed', 'approved', 'rejected', 'expired', 'cancelled',
                                                 'settled', 'failed', 'refunded', 'fraud')),
    -- When it happened, as told; and when it was told.
    at_ms          bigint not null,
    recorded_at_ms bigint not null,
    actor          text not null,
    note           text not null,
    primary key (tenant_id, payment_id, id)
);
-- Telling the same twice is one event.
create unique index payment_events_once on payment_events (tenant_id, payment_id, kind, at_ms);
alter table payment_events enable row level security;
alter table payment_events force row level security;
create policy own on payment_events to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on payment_events to tollgate_system using (true) with check (true);
-- No update, no delete: what was told wrongly is outdone by what is told later.
grant select, insert on payment_events to tollgate_app;
grant select on payment_events to tollgate_system;
