//! Logs and metrics: set up once, before anything else speaks.
//!
//! Owns the log's form and the panic hook. Must never let payment data, a token
//! or a secret through: a panic's text may quote what it choked on, so only its
//! place is logged.

mod families;
mod log;

use std::io::IsTerminal;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
pub use log::LogWriter;
use log::lines_lost;

/// Seconds; from a bare answer to the longest deadline.
const LATENCY_BUCKETS_S: [f64; 12] =
    [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Takes the log before Rocket can: its printer then stays silent. What waits when
/// the log is dropped is written first.
pub fn start_log(format: LogFormat, filter: &str) -> Result<LogWriter, String> {
    // What Rocket says quotes paths and request data; its targets are the crate
    // and "_". Why it does not start is told by whoever started it. What sqlx's
    // pool says quotes Postgres, and comes again with every connection.
    let filter = EnvFilter::try_new(format!("{filter},rocket=off,_=off,sqlx=error,sqlx_core::pool=off"))
        .map_err(|error| format!("configuration: `tollgate.log_filter`: {error}"))?;
    let (queue, log) = LogWriter::start();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(queue);
    // It would tell of a line that failed on standard error, and panic if that failed, too.
    let builder = builder.log_internal_errors(false);
    let started = match format {
        LogFormat::Text => builder.with_target(false).with_ansi(wants_colors()).try_init(),
        LogFormat::Json => {
            // What fails inside of a request is found by the request's id.
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
        }
    };
    started.map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic");
    }));
    Ok(log)
}

/// Escapes are for people's terminals; in a file or a pipe they hide what is searched for.
fn wants_colors() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The process-wide recorder, installed at the first call; the handle renders `/metrics`.
pub fn metrics() -> Result<PrometheusHandle, String> {
    static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    let install = || {
        PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &LATENCY_BUCKETS_S)
            .and_then(PrometheusBuilder::install_recorder)
            .inspect(|_| families::describe())
            .map_err(|error| error.to_string())
    };
    HANDLE.get_or_init(install).clone()
}

/// What this room can measure by itself, when somebody looks.
pub fn measure() {
    metrics::counter!("tollgate_log_lines_lost_total").absolute(lines_lost());
    families::measure_process();
}
