-- How many requests a second one client may send, where that differs from the
-- node's own setting: an operator gives a bulk client more, or one that runs
-- wild less, without a new configuration for all. Null follows the setting, 0 is
-- no limit. Sign-in reads it and the token carries it, so no request asks for it.
alter table clients add column requests_per_s integer check (requests_per_s between 0 and 1000000);

-- What a function returns cannot be changed in place.
drop function find_client(uuid);
create function find_client(client_id uuid)
    returns table (tenant_id uuid, secret_hash text, scopes text[], requests_per_s integer)
    language sql stable security definer set search_path = tollgate, pg_temp
    begin atomic
        select clients.tenant_id, clients.secret_hash, clients.scopes, clients.requests_per_s
        from clients
        where clients.id = find_client.client_id and clients.disabled_at_ms is null;
    end;
revoke all on function find_client from public;
grant execute on function find_client to tollgate_app;
