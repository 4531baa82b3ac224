-- A plugin that the small limits turned out not to hold goes on in the queue of large ones.
grant update (profile) on plugin_uploads to tollgate_system;
