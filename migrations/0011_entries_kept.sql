-- An entry that is valid now may stand beside one of the same form that begins later,
-- and one with several forms beside entries that have some of them. Those who fill one
-- list wait for each other and see what is there, so no index has to keep them apart.
drop index list_entries_open;

-- Entries that were ever made, since none is deleted. Null until the first one is made
-- from now on, which counts them.
alter table lists add column entries_kept bigint;
grant update (entries_kept) on lists to tollgate_app;
