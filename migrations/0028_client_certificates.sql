-- Clients that must show a certificate (RFC 8705): which one, by exactly one of these.

alter table clients add column certificate_sha256 bytea check (octet_length(certificate_sha256) = 32);
alter table clients add column certificate_san_dns text check (certificate_san_dns = lower(certificate_san_dns));
alter table clients add column certificate_san_uri text;
alter table clients add constraint one_certificate_binding
    check (num_nonnulls(certificate_sha256, certificate_san_dns, certificate_san_uri) <= 1);
grant update (certificate_sha256, certificate_san_dns, certificate_san_uri) on clients to tollgate_app;

-- As client_credentials, with what came since.
create function client_sign_in(of_client uuid)
    returns table (tenant_id uuid, secret_hash text, scopes text[], requests_per_s integer,
                   secret_generation integer, previous_secret_hash text, previous_secret_until_ms bigint,
                   certificate_sha256 bytea, certificate_san_dns text, certificate_san_uri text)
    language sql stable security definer set search_path = tollgate, pg_temp
    begin atomic
        select clients.tenant_id, clients.secret_hash, clients.scopes, clients.requests_per_s,
               clients.secret_generation, clients.previous_secret_hash, clients.previous_secret_until_ms,
               clients.certificate_sha256, clients.certificate_san_dns, clients.certificate_san_uri
        from clients
        where clients.id = of_client and clients.disabled_at_ms is null;
    end;
revoke all on function client_sign_in from public;
grant execute on function client_sign_in to tollgate_app;

-- Nodes of the release before call this. They see no certificates, so they must give such a client no
-- token.
create or replace function client_credentials(of_client uuid)
    returns table (tenant_id uuid, secret_hash text, scopes text[], requests_per_s integer,
                   secret_generation integer, previous_secret_hash text, previous_secret_until_ms bigint)
    language sql stable security definer set search_path = tollgate, pg_temp
    begin atomic
        select clients.tenant_id, clients.secret_hash, clients.scopes, clients.requests_per_s,
               clients.secret_generation, clients.previous_secret_hash, clients.previous_secret_until_ms
        from clients
        where clients.id = of_client and clients.disabled_at_ms is null
          and num_nonnulls(clients.certificate_sha256, clients.certificate_san_dns,
                           clients.certificate_san_uri) = 0;
    end;
