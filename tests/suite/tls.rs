//! TLS: the handshake, certificates that are replaced while the server runs, and clients that are bound to
//! theirs.

mod bound_clients;
mod handshake;
mod replacement;
mod server;
mod whole_server;
