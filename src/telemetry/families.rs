//! The metrics: their names, kinds and help texts.
//!
//! Names carry their base unit, and counters end in `_total`. A label must never hold a value that
//! clients choose, because each value would be a new series that is never removed.

use metrics::Unit;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug, Clone, Copy)]
struct MetricFamily {
    kind: MetricKind,
    name: &'static str,
    unit: Unit,
    help: &'static str,
    /// Whether it has labels, or is absent until it is measured: its series are registered there.
    labelled: bool,
}

impl MetricFamily {
    const fn labelled(self) -> Self {
        Self { labelled: true, ..self }
    }

    const fn in_bytes(self) -> Self {
        Self { unit: Unit::Bytes, ..self }
    }

    const fn in_seconds(self) -> Self {
        Self { unit: Unit::Seconds, ..self }
    }
}

const fn counter(name: &'static str, help: &'static str) -> MetricFamily {
    MetricFamily { kind: MetricKind::Counter, name, unit: Unit::Count, help, labelled: false }
}

const fn gauge(name: &'static str, help: &'static str) -> MetricFamily {
    MetricFamily { kind: MetricKind::Gauge, name, unit: Unit::Count, help, labelled: false }
}

const fn seconds(name: &'static str, help: &'static str) -> MetricFamily {
    MetricFamily { kind: MetricKind::Histogram, name, unit: Unit::Seconds, help, labelled: false }
}

/// All except those of the process, which `metrics_process` describes.
const FAMILIES: [MetricFamily; 40] = [
    counter("http_requests_total", "Requests answered, by route template, method and class of status.")
        .labelled(),
    seconds(
        "http_request_duration_seconds",
        "Time from a received request to its response; of a large body, from its head.",
    )
    .labelled(),
    counter(
        "http_requests_shed_total",
        "Requests rejected because this node was serving as many as it can, or as their sender may have, by \
         limit.",
    )
    .labelled(),
    counter("connections_accepted_total", "Connections accepted."),
    counter(
        "connections_bounded_total",
        "Connections closed, and requests refused, because of a bound, by bound.",
    )
    .labelled(),
    gauge("connections_open", "Open connections, by whether they have shown a believed token.").labelled(),
    counter("http_requests_rate_limited_total", "Requests rejected because their client sent too many."),
    counter("http_sign_ins_rate_limited_total", "Sign-ins rejected because too many had failed."),
    gauge("event_streams_open", "Event streams open on this node."),
    counter(
        "tollgate_decisions_total",
        "Payments decided and stored by this node, by outcome. Retries do not count.",
    )
    .labelled(),
    seconds("tollgate_decision_stage_seconds", "Time a decision spends in each stage.").labelled(),
    counter(
        "tollgate_rule_runs_total",
        "Live rules in stored decisions, by verdict or by why there was none.",
    )
    .labelled(),
    counter(
        "tollgate_rule_failures_total",
        "Live rules that failed in stored decisions, by class of failure.",
    )
    .labelled(),
    counter(
        "tollgate_deployments_loaded_total",
        "Deployments loaded into memory, for an activation or for a payment of a tenant that had none there.",
    ),
    gauge(
        "tollgate_rules_in_quarantine",
        "Rules of all tenants that are not run because they failed too often.",
    ),
    gauge(
        "tollgate_reviews_waiting",
        "Reviews of all tenants that nobody has decided. At most 100,000 are counted.",
    ),
    gauge(
        "tollgate_reviews_oldest_age_seconds",
        "Age of the oldest review of all tenants that nobody has decided. 0 if there is none.",
    )
    .in_seconds(),
    counter(
        "tollgate_shadow_skipped_total",
        "Payments whose shadow run was skipped because the queue was full.",
    ),
    counter(
        "tollgate_list_facts_total",
        "Facts about lists for payments decided by this node, by source (memory or database).",
    )
    .labelled(),
    gauge("tollgate_lists_in_memory", "Lists whose entries this node has in memory."),
    gauge("tollgate_lists_memory_bytes", "Memory that the entries of lists take.").in_bytes(),
    counter("tollgate_journal_batches_total", "Batches stored by the journal."),
    counter("tollgate_journal_decisions_total", "Decisions stored by the journal, including imported ones."),
    counter(
        "tollgate_journal_batch_ids_filled_total",
        "Batches of an earlier release to which this node has added the ids of their decisions.",
    ),
    gauge("tollgate_journal_queue_decisions", "Decisions waiting for the journal."),
    counter(
        "tollgate_search_indexed_decisions_total",
        "Decisions that this node has indexed for the search.",
    ),
    gauge(
        "tollgate_search_history_batches",
        "Batches of before the search index that are not indexed yet. Until there are none, searches are refused.",
    ),
    gauge(
        "tollgate_rule_workers",
        "Rule workers that this process knows, by state: well (ready for calls) or unwell.",
    )
    .labelled(),
    counter(
        "tollgate_rule_worker_calls_total",
        "Rulesets evaluated by workers, asked again after a failure, and left to the fallback, by result.",
    )
    .labelled(),
    counter("tollgate_rule_worker_failures_total", "Calls to rule workers that failed without an answer."),
    gauge("tollgate_database_connections", "Database connections, by pool and state (in use or idle).")
        .labelled(),
    gauge("tollgate_database_connections_max", "Maximum number of connections of a pool.").labelled(),
    gauge("tollgate_database_waiting", "Transactions waiting for a connection, by pool.").labelled(),
    gauge(
        "tollgate_clock_offset_seconds",
        "How far the time of decisions, taken from the database, is ahead of this machine's clock.",
    )
    .in_seconds(),
    gauge(
        "tollgate_clock_error_seconds",
        "Largest possible difference between the time of decisions and the database's clock.",
    )
    .in_seconds(),
    counter(
        "tollgate_log_lines_lost_total",
        "Log lines lost because their reader was too slow or the disk was full.",
    ),
    gauge(
        "tls_certificate_expires_timestamp_seconds",
        "When the certificate of this server ends, in seconds since 1970. Absent without TLS.",
    )
    .in_seconds()
    .labelled(),
    counter("tls_handshakes_failed_total", "TLS handshakes that failed, most often for a certificate.")
        .labelled(),
    counter("tls_reloads_total", "Changes of the certificate files, by whether the new files could be used.")
        .labelled(),
    gauge("tollgate_build_info", "Always 1. The label is the version.").labelled(),
];

/// Describes all metrics, and registers those without labels so that they are shown from the
/// start.
pub(super) fn describe() {
    for MetricFamily { kind, name, unit, help, labelled } in FAMILIES {
        match kind {
            MetricKind::Counter => metrics::describe_counter!(name, unit, help),
            MetricKind::Gauge => metrics::describe_gauge!(name, unit, help),
            MetricKind::Histogram => metrics::describe_histogram!(name, unit, help),
        }
        match kind {
            MetricKind::Counter if !labelled => metrics::counter!(name).increment(0),
            MetricKind::Gauge if !labelled => metrics::gauge!(name).set(0.0),
            _ => {}
        }
    }
    metrics::gauge!("tollgate_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics_process::Collector::default().describe();
}

/// Measures the process.
pub(super) fn measure_process() {
    metrics_process::Collector::default().collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_in_their_base_unit_and_those_of_counters_in_total() {
        for MetricFamily { kind, name, unit, help, .. } in FAMILIES {
            let stem = name.strip_suffix("_total");
            assert_eq!(stem.is_some(), kind == MetricKind::Counter, "{name}");
            assert_eq!(stem.unwrap_or(name).ends_with("_seconds"), unit == Unit::Seconds, "{name}");
            assert!(help.ends_with('.') && !help.contains('\n'), "{name}: {help}");
        }
    }
}
