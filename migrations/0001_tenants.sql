-- Who uses Tollgate: tenants, their machine clients, and the keys that sign tokens.
--
-- Roles (made before any migration, since they belong to the whole cluster):
--   tollgate_owner    owns the tables, runs migrations
--   tollgate_app      one request of one tenant: app.tenant_id names it
--   tollgate_journal  writes decisions for the tenants of a batch: app.tenants lists them
--   tollgate_system   background work and the command line, over all tenants
--
-- Every tenant table has row security forced and carries tenant_id first in its
-- keys. nullif: after a commit the setting is '', and ''::uuid would be an error.

create function current_tenant() returns uuid
    language sql stable parallel safe
    return nullif(current_setting('app.tenant_id', true), '')::uuid;

create function batch_tenants() returns uuid[]
    language sql stable parallel safe
    return string_to_array(nullif(current_setting('app.tenants', true), ''), ',')::uuid[];

create table tenants (
    id            uuid primary key,
    name          text not null unique check (name ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and length(name) <= 64),
    created_at_ms bigint not null
);
alter table tenants enable row level security;
alter table tenants force row level security;
create policy own on tenants for select to tollgate_app using (id = current_tenant());
create policy background on tenants to tollgate_system using (true) with check (true);
grant select on tenants to tollgate_app;
grant select, insert on tenants to tollgate_system;

create table clients (
    tenant_id      uuid not null references tenants,
    id             uuid not null,
    name           text not null,
    -- argon2id in PHC form.
    secret_hash    text not null,
    scopes         text[] not null,
    created_at_ms  bigint not null,
    disabled_at_ms bigint,
    primary key (tenant_id, id),
    -- Sign-in knows only the client's id.
    unique (id)
);
alter table clients enable row level security;
alter table clients force row level security;
create policy own on clients to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on clients to tollgate_system using (true) with check (true);
-- For find_client below, which runs as the owner.
create policy sign_in on clients for select to tollgate_owner using (true);
grant select, insert on clients to tollgate_app;
grant update (disabled_at_ms) on clients to tollgate_app;
grant select, insert, update on clients to tollgate_system;

-- The one door through row security: sign-in does not know the tenant yet.
create function find_client(client_id uuid)
    returns table (tenant_id uuid, secret_hash text, scopes text[])
    language sql stable security definer set search_path = tollgate, pg_temp
    begin atomic
        select clients.tenant_id, clients.secret_hash, clients.scopes
        from clients
        where clients.id = find_client.client_id and clients.disabled_at_ms is null;
    end;
revoke all on function find_client from public;
grant execute on function find_client to tollgate_app;

create table signing_keys (
    -- RFC 7638 thumbprint.
    kid                text primary key,
    public_key         bytea not null,
    -- Encrypted under a key derived from the root secret, which Postgres never sees.
    sealed_private_key bytea not null,
    created_at_ms      bigint not null,
    retired_at_ms      bigint
);
-- Read by background work only: a request's session has no business with them.
grant select, insert, update on signing_keys to tollgate_system;
