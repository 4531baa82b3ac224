-- Fields of a tenant that are not looked through for card numbers, since its own
-- numbers look like them. An operator's command writes it, on record. Every node
-- reads it whole, twice a second: it has a row for each field that is switched off,
-- and without one every field is checked.
create table unchecked_fields (
    tenant_id     uuid not null references tenants,
    -- As the command line names it. One that a version does not know means nothing to it.
    field         text not null,
    created_at_ms bigint not null,
    -- Each field once; and the tenant first, as everywhere.
    primary key (tenant_id, field)
);
alter table unchecked_fields enable row level security;
alter table unchecked_fields force row level security;
create policy own on unchecked_fields for select to tollgate_app using (tenant_id = current_tenant());
create policy background on unchecked_fields to tollgate_system using (true) with check (true);
-- A request of a tenant may see its own and changes none.
grant select on unchecked_fields to tollgate_app;
grant select, insert, delete on unchecked_fields to tollgate_system;
