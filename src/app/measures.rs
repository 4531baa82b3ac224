//! The measurements that are taken when the metrics are read.
//!
//! Must never query the database: the metrics must work without it.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;

use crate::storage::databases::Databases;
use crate::storage::journal::Journal;
use crate::storage::pool::ConnectionCounts;
use crate::storage::reference::{ListUsage, ReferenceMemory};
use crate::storage::waiting;
use crate::telemetry;

pub fn page(
    handle: PrometheusHandle,
    databases: Databases,
    journal: Arc<Journal>,
    reference: Arc<ReferenceMemory>,
) -> Box<dyn Fn() -> String + Send + Sync> {
    Box::new(move || {
        telemetry::measure();
        metrics::gauge!("tollgate_journal_queue_decisions").set(journal.waiting() as f64);
        let ListUsage { lists, bytes } = reference.list_usage();
        metrics::gauge!("tollgate_lists_in_memory").set(lists as f64);
        metrics::gauge!("tollgate_lists_memory_bytes").set(bytes as f64);
        for (name, counts) in databases.connection_counts() {
            measure_pool(name, counts);
        }
        for pool in ["app", "system"] {
            waiting::gauge_of(pool).increment(0.0);
        }
        handle.render()
    })
}

/// Of a process that has no database.
pub fn page_of_worker(handle: PrometheusHandle) -> Box<dyn Fn() -> String + Send + Sync> {
    Box::new(move || {
        telemetry::measure();
        handle.render()
    })
}

fn measure_pool(name: &'static str, counts: ConnectionCounts) {
    let connections = |state: &'static str| metrics::gauge!("tollgate_database_connections", "pool" => name, "state" => state);
    connections("idle").set(counts.idle as f64);
    connections("in_use").set(counts.in_use as f64);
    metrics::gauge!("tollgate_database_connections_max", "pool" => name).set(f64::from(counts.max));
}
