-- Sign-in by OpenID Connect: the provider of a tenant, and the users who come from it.

create table openid_settings (
    tenant_id            uuid not null references tenants,
    issuer               text not null,
    client_id            text not null,
    -- Sealed under a key derived from the root secret. Null for a client without a secret.
    client_secret_sealed bytea,
    -- The claim that names a person's roles, and pairs of a value of it and a role.
    roles_claim          text not null,
    role_mapping         jsonb not null,
    -- Whether users may sign in with passwords too.
    password_sign_in     boolean not null,
    changed_by           text not null,
    changed_at_ms        bigint not null,
    -- Null while the settings are valid. The program deletes no row of a tenant for a request.
    removed_at_ms        bigint,
    primary key (tenant_id)
);
alter table openid_settings enable row level security;
alter table openid_settings force row level security;
create policy own on openid_settings to tollgate_app using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
grant select, insert,
      update (issuer, client_id, client_secret_sealed, roles_claim, role_mapping, password_sign_in, changed_by,
              changed_at_ms, removed_at_ms) on openid_settings to tollgate_app;

-- By what a provider knows the user. Null until the user has signed in by one.
alter table users add column openid_issuer text;
alter table users add column openid_subject text;
alter table users add constraint openid_identity_is_whole
    check ((openid_issuer is null) = (openid_subject is null));
grant update (openid_issuer, openid_subject) on users to tollgate_app;
-- Each sign-in by a provider finds its user by this, and a person is one user.
create unique index users_by_openid_identity on users (tenant_id, openid_issuer, openid_subject)
    where openid_issuer is not null;
