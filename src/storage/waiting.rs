//! Who waits for a connection, for the metrics.
//!
//! Owns the gauge. Must never change how anybody waits.

use metrics::Gauge;
use sqlx::PgPool;

/// Counted among those who wait, until it is dropped.
#[derive(Debug)]
pub struct Waiting(Gauge);

impl Waiting {
    pub fn on(pool: &PgPool) -> Self {
        let gauge = gauge_of(pool);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Of each pool, whether or not anybody waits.
pub fn gauge_of(pool: &PgPool) -> Gauge {
    metrics::gauge!("tollgate_database_waiting", "pool" => name_of(pool))
}

/// The role of its sessions: `app` or `system`.
fn name_of(pool: &PgPool) -> String {
    let options = pool.connect_options();
    let role = options.get_application_name().unwrap_or_default();
    role.trim_start_matches("tollgate_").to_owned()
}
