//! Where a request keeps its body until a guard takes it.
//!
//! Not in Rocket's `Data`: Rocket would look into it before any guard, and treat a form's
//! `_method` as the method of the request.

use std::sync::{Mutex, PoisonError};

use rocket::Request;

use crate::door::ReceivedBody;

struct Kept(Mutex<Option<ReceivedBody>>);

pub fn keep(request: &Request<'_>, body: ReceivedBody) {
    request.local_cache(|| Kept(Mutex::new(Some(body))));
}

/// The body. It is there once; after that it is empty, as it is if none was kept.
pub fn take(request: &Request<'_>) -> ReceivedBody {
    let Kept(body) = request.local_cache(|| Kept(Mutex::default()));
    body.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_else(ReceivedBody::empty)
}
