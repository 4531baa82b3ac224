//! Threads that are separate from the server's and have a lower priority.

use tokio::runtime::{Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

use super::EngineError;

/// The niceness of the threads for long rulesets. If they compete with the server's threads for a
/// processor, they get a tenth of it.
pub const LIVE_NICENESS: i32 = 10;
/// The niceness of threads for background work. If they compete with live payments for a processor,
/// they get a fifteenth of it.
///
/// It must not be much higher. These threads share locks of the allocator and the runtime with the
/// server's threads. The higher a thread's niceness, the later it continues if it is interrupted
/// while it holds a lock. With 15, every request waited for more than a second on a busy machine.
pub const BACKGROUND_NICENESS: i32 = 12;

pub struct Threads {
    /// `None` only while this is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Threads {
    /// `niceness` is added to that of the caller.
    pub fn start(name: &str, count: usize, niceness: i32) -> std::io::Result<Self> {
        #[cfg(target_os = "linux")]
        let niceness = rustix::process::getpriority_process(None).unwrap_or(0) + niceness;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name(name)
            // New payments go before interrupted rules.
            .global_queue_interval(1)
            .on_thread_start(move || {
                // Only Linux has a niceness for each thread; elsewhere this would change the whole
                // process. It is set and not added, since a thread inherits the niceness of the
                // thread that started it. If this is refused, only the priority is different.
                #[cfg(target_os = "linux")]
                let _ = rustix::process::setpriority_process(None, niceness);
                #[cfg(not(target_os = "linux"))]
                let _ = niceness;
            })
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// The work is aborted if the caller is dropped.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let task = AbortOnDropHandle::new(self.handle.spawn(work));
        task.await.map_err(|error| EngineError::Unavailable(error.to_string()))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // This may run in async code, which must not block until the work has ended. The work
            // is aborted at its next tick.
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").finish_non_exhaustive()
    }
}
