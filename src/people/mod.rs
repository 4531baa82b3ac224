//! The use cases of people: signing in, users, clients and tenants.
//!
//! Joins `auth`, which knows no database, and `storage`, which knows no secret. A payment never
//! comes here.

mod attempts;
pub mod clients;
pub mod openid;
pub mod password_policy;
pub mod revocations;
pub mod second_factor;
pub mod sign_in;
pub mod tenants;
pub mod users;
