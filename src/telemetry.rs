//! Sets up logs and metrics.
//!
//! Must never log payment data, a token or a secret. The message of a panic may quote them, so
//! only its place is logged.

mod families;
mod log;

use std::io::IsTerminal;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
pub use log::LogWriter;
use log::lines_lost;

/// In seconds, up to the longest deadline.
const LATENCY_BUCKETS_S: [f64; 12] =
    [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Must run before Rocket starts, so that Rocket does not install its own logger. Dropping the
/// returned value writes the lines that still wait.
pub fn start_log(format: LogFormat, filter: &str) -> Result<LogWriter, String> {
    // Rocket's own lines quote paths and request data. Their targets are `rocket` and `_`. The
    // command logs failures to start. Lines of sqlx's pool quote Postgres and are repeated for
    // every connection.
    let filter = EnvFilter::try_new(format!("{filter},rocket=off,_=off,sqlx=error,sqlx_core::pool=off"))
        .map_err(|error| format!("configuration: `tollgate.log_filter`: {error}"))?;
    let (queue, log) = LogWriter::start();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(queue);
    // Internal errors would be reported to standard error, with a panic if that failed too.
    let builder = builder.log_internal_errors(false);
    let started = match format {
        LogFormat::Text => builder.with_target(false).with_ansi(wants_colors()).try_init(),
        LogFormat::Json => {
            // The current span has the request's id, by which the other lines of the request are
            // found.
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

/// Only a terminal shows colours. In a file or a pipe, their escapes would make a search harder.
fn wants_colors() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The recorder of the process, installed by the first call. The handle renders `/metrics`.
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

/// Takes the measurements of the process and of the log.
pub fn measure() {
    metrics::counter!("tollgate_log_lines_lost_total").absolute(lines_lost());
    families::measure_process();
}
