//! The limit of open files, which also limits connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For Postgres, plugins, the log and what else the process opens.
const KEPT_FOR_OTHERS: u64 = 256;

/// Raises the limit of this process as far as the system allows without privileges, and returns
/// how many connections fit.
pub fn connections_that_fit(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let needed = wanted as u64 + KEPT_FOR_OTHERS;
    if current.is_some_and(|current| current < needed) {
        let raised = maximum.map_or(needed, |maximum| maximum.min(needed));
        // If it fails, fewer connections fit.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
    }
    let Some(limit) = getrlimit(Resource::Nofile).current else { return wanted };
    // A very low limit is shared evenly.
    let fit = limit.saturating_sub(KEPT_FOR_OTHERS).max(limit / 2);
    usize::try_from(fit).unwrap_or(usize::MAX).min(wanted)
}
