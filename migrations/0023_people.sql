-- People: the users of a tenant, their sign-ins, and what makes a token invalid before its end.

create table users (
    tenant_id          uuid not null references tenants,
    id                 uuid not null,
    -- As it was written, and as it is compared.
    email              text not null,
    email_compared     text not null,
    display_name       text not null,
    roles              text[] not null,
    created_by         text not null,
    created_at_ms      bigint not null,
    disabled_at_ms     bigint,
    last_sign_in_at_ms bigint,
    -- argon2id in PHC form. Null until the person has set one.
    password_hash      text,
    -- SHA-256 of the secret in a link with which the person may set a password, once.
    link_digest        bytea,
    link_expires_at_ms bigint,
    -- The secret of one-time passwords, sealed under a key derived from the root secret.
    totp_sealed        bytea,
    -- Null until the person has shown that it works.
    totp_confirmed_at_ms bigint,
    -- The time step of the last code that was accepted: no code is accepted twice.
    totp_last_step     bigint,
    -- SHA-256 of the recovery codes that are left.
    recovery_digests   bytea[] not null default '{}',
    primary key (tenant_id, id),
    -- A person signs in with the tenant's name and the address.
    unique (tenant_id, email_compared),
    check ((link_digest is null) = (link_expires_at_ms is null)),
    check (totp_confirmed_at_ms is null or totp_sealed is not null)
);
alter table users enable row level security;
alter table users force row level security;
create policy own on users to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on users to tollgate_system using (true) with check (true);
grant select, insert on users to tollgate_app, tollgate_system;
grant update (display_name, roles, disabled_at_ms, last_sign_in_at_ms, password_hash, link_digest, link_expires_at_ms,
              totp_sealed, totp_confirmed_at_ms, totp_last_step, recovery_digests) on users to tollgate_app;

-- A sign-in lasts until the person signs out. Its refresh tokens are numbered, and each is made
-- from the sign-in and its number, so none is stored.
create table sign_ins (
    tenant_id     uuid not null,
    id            uuid not null,
    user_id       uuid not null,
    begun_at_ms   bigint not null,
    -- The number of the newest refresh token, and when the token before it was spent.
    generation    bigint not null default 0,
    renewed_at_ms bigint not null,
    expires_at_ms bigint not null,
    ended_at_ms   bigint,
    -- What the person recognises it by.
    address       text,
    user_agent    text,
    primary key (tenant_id, id),
    foreign key (tenant_id, user_id) references users (tenant_id, id)
);
-- A user's list of sign-ins, and ending all of them.
create index sign_ins_of_user on sign_ins (tenant_id, user_id) where ended_at_ms is null;
-- Deleting those that ended long ago.
create index sign_ins_by_renewal on sign_ins (renewed_at_ms);
alter table sign_ins enable row level security;
alter table sign_ins force row level security;
create policy own on sign_ins to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on sign_ins to tollgate_system using (true) with check (true);
grant select, insert, update (generation, renewed_at_ms, ended_at_ms) on sign_ins to tollgate_app;
grant select, delete on sign_ins to tollgate_system;

-- Tokens of a sign-in, or those of a client up to a generation of its secret, are refused. Nodes
-- poll this by sequence.
create table revocations (
    tenant_id         uuid not null references tenants,
    sequence          bigint generated always as identity,
    sign_in_id        uuid,
    client_id         uuid,
    -- Tokens of the generations before this one are refused.
    client_generation integer,
    revoked_at_ms     bigint not null,
    primary key (tenant_id, sequence),
    check (num_nonnulls(sign_in_id, client_id) = 1),
    check ((client_id is null) = (client_generation is null))
);
-- What a node has not read yet, over all tenants.
create unique index revocations_by_sequence on revocations (sequence);
alter table revocations enable row level security;
alter table revocations force row level security;
create policy own on revocations to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
create policy background on revocations to tollgate_system using (true) with check (true);
grant select, insert on revocations to tollgate_app;
grant select, insert, delete on revocations to tollgate_system;

-- Rises when the tokens of a client end before their time.
alter table clients add column secret_generation integer not null default 0;
-- The secret before, which is accepted for a while after a new one was made.
alter table clients add column previous_secret_hash text;
alter table clients add column previous_secret_until_ms bigint;
alter table clients add constraint previous_secret_ends
    check ((previous_secret_hash is null) = (previous_secret_until_ms is null));
grant update (name, scopes, requests_per_s, secret_hash, secret_generation, previous_secret_hash,
              previous_secret_until_ms) on clients to tollgate_app;

-- As find_client, which the release before calls, with what came since.
create function client_credentials(of_client uuid)
    returns table (tenant_id uuid, secret_hash text, scopes text[], requests_per_s integer,
                   secret_generation integer, previous_secret_hash text, previous_secret_until_ms bigint)
    language sql stable security definer set search_path = tollgate, pg_temp
    begin atomic
        select clients.tenant_id, clients.secret_hash, clients.scopes, clients.requests_per_s,
               clients.secret_generation, clients.previous_secret_hash, clients.previous_secret_until_ms
        from clients
        where clients.id = of_client and clients.disabled_at_ms is null;
    end;
revoke all on function client_credentials from public;
grant execute on function client_credentials to tollgate_app;

-- Sign-in knows only the tenant's name.
create function tenant_named(of_name text) returns uuid
    language sql stable security definer set search_path = tollgate, pg_temp
    begin atomic
        select id from tenants where name = of_name;
    end;
revoke all on function tenant_named from public;
grant execute on function tenant_named to tollgate_app;
