-- The second person: a tenant may want that nobody changes alone what decides about payments.

alter table tenants add column second_person boolean not null default false;
grant update (second_person) on tenants to tollgate_system;

-- A change that waits until another person approves or declines it.
create table proposals (
    tenant_id      uuid not null references tenants,
    id             uuid not null,
    kind           text not null,
    -- Everything that the change needs to be made.
    change         jsonb not null,
    proposed_by    text not null,
    proposed_at_ms bigint not null,
    state          text not null default 'open' check (state in ('open', 'approved', 'declined', 'withdrawn')),
    decided_by     text,
    decided_at_ms  bigint,
    note           text not null default '',
    primary key (tenant_id, id),
    check ((state = 'open') = (decided_by is null)),
    check ((decided_by is null) = (decided_at_ms is null)),
    -- Nobody approves what they have proposed, whatever the program thinks.
    check (state <> 'approved' or decided_by <> proposed_by)
);
-- What waits, newest first, and how many.
create index proposals_open on proposals (tenant_id, id) where state = 'open';
alter table proposals enable row level security;
alter table proposals force row level security;
create policy own on proposals to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on proposals to tollgate_system using (true) with check (true);
grant select, insert, update (state, decided_by, decided_at_ms, note) on proposals to tollgate_app;
grant select, update (state, decided_by, decided_at_ms, note) on proposals to tollgate_system;

-- On whose approval a change was made.
alter table audit_events add column proposal_id uuid;
alter table audit_events add column approved_by text;
alter table audit_events add constraint approval_has_a_proposal
    check ((proposal_id is null) = (approved_by is null));

-- A version that another person has to activate does not take effect when it is uploaded.
alter table table_versions alter column valid_from_ms drop not null;
