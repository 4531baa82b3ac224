//! The door: which requests come in, how long a connection may stay, and who gets a place.
//!
//! Connections that stop in a handshake are tested with the certificates, over
//! `RawClient::over`.

mod floods;
mod refused;
mod requests;
mod served;
mod slow;
mod stop;
