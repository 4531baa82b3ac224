//! What is measured when somebody looks at the metrics.
//!
//! Owns the list of it. Must never ask the database: metrics are for when it is away.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;

use crate::storage::journal::Journal;
use crate::storage::pool::Databases;
use crate::storage::waiting;
use crate::telemetry;

/// Measures, then renders.
pub fn page(
    handle: PrometheusHandle,
    databases: Databases,
    journal: Arc<Journal>,
) -> Box<dyn Fn() -> String + Send + Sync> {
    Box::new(move || {
        telemetry::measure();
        metrics::gauge!("tollgate_journal_queue_decisions").set(journal.waiting() as f64);
        for (name, pool) in
            [("app", &databases.app), ("facts", &databases.facts), ("system", &databases.system)]
        {
            measure_pool(name, pool);
        }
        for pool in [&databases.app, &databases.system] {
            waiting::gauge_of(pool).increment(0.0);
        }
        handle.render()
    })
}

fn measure_pool(name: &'static str, pool: &PgPool) {
    let (open, idle) = (f64::from(pool.size()), pool.num_idle() as f64);
    let connections = |state: &'static str| metrics::gauge!("tollgate_database_connections", "pool" => name, "state" => state);
    connections("idle").set(idle);
    connections("in_use").set((open - idle).max(0.0));
    let most = f64::from(pool.options().get_max_connections());
    metrics::gauge!("tollgate_database_connections_max", "pool" => name).set(most);
}
