-- Small uploads do not wait behind large ones: each kind has a queue of its own.
-- The profile is what the node that received the bytes expects from their form.
alter table plugin_uploads
    add column profile text not null default 'small' check (profile in ('small', 'large')),
    -- When a node last began to compile it.
    add column started_at_ms bigint;
-- As good a guess as can be made of bytes that wait already.
update plugin_uploads set profile = 'large' where size_bytes > 4194304;
-- Handing in again what was refused begins anew.
grant update (profile, started_at_ms) on plugin_uploads to tollgate_app;
grant update (started_at_ms) on plugin_uploads to tollgate_system;
