-- The facts of many payments are looked up in one statement, for the tenants of
-- the batch, by the role that stores their decisions in the same way.
create policy batch on list_entries for select to tollgate_journal using (tenant_id = any ((select batch_tenants())::uuid[]));
grant select on list_entries, payment_values to tollgate_journal;
