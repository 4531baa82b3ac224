//! Threads apart from the server's own, with a priority of their own.
//!
//! Owns how they are started and given up. Must never wait for what runs on them.

use tokio::runtime::{Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

use super::EngineError;

/// How much the threads of long rules stand back behind those that answer, store
/// and run the quick ones: a tenth of a processor that both want.
pub const LIVE_NICENESS: i32 = 10;
/// The niceness of threads for background work. Where live payments want a whole processor,
/// such a thread gets a fifteenth of it. It must not get much less: it shares locks of the
/// allocator and the runtime with the threads that serve, and a thread that is interrupted
/// while it holds a lock returns later the nicer it is. With 15, every request waited for
/// more than a second on a busy machine.
pub const BACKGROUND_NICENESS: i32 = 12;

pub struct Threads {
    /// Nothing only while it is dropped.
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
            // New payments before interrupted rules.
            .global_queue_interval(1)
            .on_thread_start(move || {
                // Linux counts it for each thread, others for the whole process. Set and
                // not added to: a thread begins with what the one has that started it.
                // A refusal changes nothing but the order.
                #[cfg(target_os = "linux")]
                let _ = rustix::process::setpriority_process(None, niceness);
                #[cfg(not(target_os = "linux"))]
                let _ = niceness;
            })
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Ends with the caller.
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
            // Waiting is not allowed inside of async code; what runs is given up at its next tick.
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").finish_non_exhaustive()
    }
}
