-- The keys that sign tokens are read by background work only. Sealed as they
-- are, a request's session has no business with them.
revoke select on signing_keys from tollgate_app;
