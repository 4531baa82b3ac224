//! How many callers wait for a connection, for the metrics.

use metrics::Gauge;
use sqlx::PgPool;

/// Counts a caller as waiting until it is dropped.
#[derive(Debug)]
pub(super) struct WaitingCaller(Gauge);

impl WaitingCaller {
    pub fn of(pool: &PgPool) -> Self {
        let gauge = gauge_of(&name_of(pool));
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for WaitingCaller {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// The gauge of the pool with this name: `app` or `system`.
pub fn gauge_of(pool: &str) -> Gauge {
    metrics::gauge!("tollgate_database_waiting", "pool" => pool.to_owned())
}

/// The role of the pool's sessions, without the prefix `tollgate_`.
fn name_of(pool: &PgPool) -> String {
    let options = pool.connect_options();
    let role = options.get_application_name().unwrap_or_default();
    role.trim_start_matches("tollgate_").to_owned()
}
