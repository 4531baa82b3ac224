//! Compilation, in a child process only: 33 KB of nested loops take a
//! compiler 40 s and 2 GB. Must never compile in the server, and never hand
//! the child anything but the plugin's bytes.
//!
//! The child is this same binary started anew: it limits itself before it
//! reads its first byte, so nothing unsafe runs between fork and exec. It has
//! no environment, no files but its pipes, and dies with its parent. That
//! protects from what compiling costs, and from a compiler that crashes; what
//! it answers runs as native code, so it has to be this binary's own compiler.

mod answer;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, oneshot};
use wasmtime::Engine;

use self::answer::Answer;
pub(super) use self::answer::{CodeInMemory, Kept};
use super::artifact::ArtifactCache;
use super::engine::Code;
use super::limits::Allowance;
use super::settings::Settings;
use crate::domain::plugin::{Digest, Profile};

/// The hidden command that [`child_main`] serves.
pub const COMMAND: &str = "compile-plugin";

/// What the child has to say in words goes to its standard error, up to here.
const MESSAGE_BYTES_MAX: u64 = 2000;
/// The child's answer to bytes that do not compile.
const EXIT_REFUSED: u8 = 3;
/// The niceness of the child: payments come first.
const NICENESS: i32 = 19;
/// How Rust ends after a panic.
const EXIT_PANICKED: i32 = 101;
const MIB: u64 = 1 << 20;
/// How much of its answer is in memory at a time.
const PART_BYTES: usize = 64 << 10;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CompileError {
    #[error("the component does not compile: {0}")]
    Invalid(String),
    #[error(
        "compiling the plugin took more than {0} s of processor time (the limit is set by compile_cpu_s): \
         make the plugin smaller or its functions simpler"
    )]
    CpuTime(u64),
    #[error(
        "compiling the plugin took more than {0} MiB of memory: make the plugin smaller or its functions \
         simpler"
    )]
    Memory(u64),
    #[error("the compiled plugin is larger than {0} MiB")]
    TooLarge(u64),
    /// The child ran on its own and came to grief, as it would again.
    #[error("the compiler failed on the plugin ({0}): make the plugin smaller or its functions simpler")]
    Crashed(String),
    /// The machine's fault, not the plugin's.
    #[error("plugins cannot be compiled: {0}")]
    Host(String),
}

#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) kept: Kept,
    pub(super) elapsed: Duration,
}

#[derive(Debug)]
pub(super) struct Compiler {
    child: Child,
    cpu_s: u64,
    turns: Turns,
}

/// How many children there may be at once: what they take of the machine has no other bound.
#[derive(Debug, Clone)]
struct Turns {
    /// One for all compilers of an engine: the child of a large plugin takes gigabytes, and minutes.
    large: Arc<Semaphore>,
    /// Whatever is taken in, and all that is large.
    all: Arc<Semaphore>,
    /// What small plugins of this compiler wait for.
    small: Arc<Semaphore>,
}

impl Turns {
    fn new(most: usize) -> Self {
        let all = Arc::new(Semaphore::new(most));
        Self { large: Arc::new(Semaphore::new(1)), all: all.clone(), small: all }
    }

    async fn take(&self, profile: Profile) -> Result<Vec<OwnedSemaphorePermit>, AcquireError> {
        let in_order = match profile {
            Profile::Small => vec![&self.small],
            // The rare one first: whoever waits for it leaves the others to small plugins.
            Profile::Large => vec![&self.large, &self.all],
        };
        let mut turn = Vec::with_capacity(in_order.len());
        for semaphore in in_order {
            turn.push(semaphore.clone().acquire_owned().await?);
        }
        Ok(turn)
    }
}

/// How the child is started.
#[derive(Debug, Clone)]
struct Child {
    exe: PathBuf,
    code: Code,
    niceness: i32,
}

impl Compiler {
    pub(super) fn new(settings: &Settings) -> Self {
        let niceness = if settings.stands_back { NICENESS } else { 0 };
        let child = Child { exe: settings.compiler_exe.clone(), code: Code::Live, niceness };
        Self { child, cpu_s: settings.compile_cpu_s, turns: Turns::new(settings.compilations_max) }
    }

    /// A compiler for diagnoses. Small plugins are one more at a time, which hold up no upload;
    /// large ones wait with the uploads.
    pub(super) fn for_diagnosis(&self, code: Code) -> Self {
        let turns = Turns { small: Arc::new(Semaphore::new(1)), ..self.turns.clone() };
        Self { child: Child { code, ..self.child.clone() }, cpu_s: self.cpu_s, turns }
    }

    /// Leaves the code in `cache`, as far as that can be used.
    pub(super) async fn compile(
        &self,
        plugin: Digest,
        bytes: Arc<[u8]>,
        profile: Profile,
        cache: Arc<ArtifactCache>,
    ) -> Result<Compiled, CompileError> {
        let host = |error: String| CompileError::Host(error);
        let turn = self.turns.take(profile).await.map_err(|error| host(error.to_string()))?;
        let (tell, told) = oneshot::channel();
        let (child, allowance) = (self.child.clone(), Allowance::of(profile, self.cpu_s));
        // A thread of its own, since the death signal of the child follows the thread that started it.
        std::thread::Builder::new()
            .name("plugin-compiler".to_owned())
            .spawn(move || {
                let answer = Answer::begin(&cache, plugin, profile);
                let compiled = on_this_thread(&child, &bytes, allowance, answer);
                drop(turn);
                // Nobody waits any more when the caller has gone; that is its right.
                let _ = tell.send(compiled);
            })
            .map_err(|error| host(error.to_string()))?;
        told.await.map_err(|error| host(error.to_string()))?
    }
}

fn on_this_thread(
    child: &Child,
    bytes: &[u8],
    allowance: Allowance,
    mut answer: Answer,
) -> Result<Compiled, CompileError> {
    let host = |error: std::io::Error| CompileError::Host(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(host)?;
    let started = Instant::now();
    let talked = runtime.block_on(async {
        tokio::time::timeout(allowance.wall_time(), talk_to_child(child, bytes, allowance, &mut answer)).await
    });
    let end = match talked {
        Ok(end) => end.map_err(host)?,
        Err(_) => {
            let waited_s = allowance.wall_time().as_secs();
            return Err(CompileError::Host(format!("the compiler did not finish within {waited_s} s")));
        }
    };
    end.judge(answer.size_bytes(), allowance)?;
    let elapsed = started.elapsed();
    Ok(Compiled { kept: answer.keep().map_err(host)?, elapsed })
}

struct ChildEnd {
    status: ExitStatus,
    message: String,
}

async fn talk_to_child(
    child: &Child,
    bytes: &[u8],
    allowance: Allowance,
    answer: &mut Answer,
) -> std::io::Result<ChildEnd> {
    let mut child = tokio::process::Command::new(&child.exe)
        .arg(COMMAND)
        .args([allowance.cpu_s.to_string(), allowance.memory_mib.to_string()])
        .args([child.code.name(), &child.niceness.to_string()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(std::io::Error::other("the compiler's input and output are not connected"));
    };
    let give = async move {
        // A child that ends early closes the pipe; its status says why.
        let _ = stdin.write_all(bytes).await;
        drop(stdin);
    };
    let output = async {
        let mut stdout = stdout.take(allowance.artifact_mib * MIB + 1);
        let mut part = vec![0; PART_BYTES];
        loop {
            match stdout.read(&mut part).await? {
                0 => return Ok::<(), std::io::Error>(()),
                read => answer.take(&part[..read])?,
            }
        }
    };
    let message = async {
        let mut message = Vec::new();
        let read = stderr.take(MESSAGE_BYTES_MAX).read_to_end(&mut message).await;
        read.map(|_| String::from_utf8_lossy(&message).trim().to_owned())
    };
    let ((), output, message) = tokio::join!(give, output, message);
    output?;
    if answer.size_bytes() > allowance.artifact_mib * MIB {
        child.start_kill()?;
    }
    Ok(ChildEnd { status: child.wait().await?, message: message? })
}

impl ChildEnd {
    fn judge(self, answer_bytes: u64, allowance: Allowance) -> Result<(), CompileError> {
        use std::os::unix::process::ExitStatusExt;
        let signal = self.status.signal();
        let killed_by = |wanted: Signal| signal == Some(wanted.as_raw());
        if answer_bytes > allowance.artifact_mib * MIB {
            return Err(CompileError::TooLarge(allowance.artifact_mib));
        }
        if self.status.success() && answer_bytes > 0 {
            return Ok(());
        }
        if killed_by(Signal::XCPU) {
            return Err(CompileError::CpuTime(allowance.cpu_s));
        }
        // Rust's allocator aborts when it is refused memory.
        if killed_by(Signal::ABORT) && self.message.contains("memory allocation") {
            return Err(CompileError::Memory(allowance.memory_mib));
        }
        if self.status.code() == Some(EXIT_REFUSED.into()) {
            return Err(CompileError::Invalid(self.message));
        }
        // Killed it is where the machine runs out of memory before the limits are reached.
        let crashes = [Signal::SEGV, Signal::BUS, Signal::ILL, Signal::ABORT, Signal::TRAP, Signal::KILL];
        if self.status.code() == Some(EXIT_PANICKED) || crashes.into_iter().any(killed_by) {
            tracing::error!(status = %self.status, message = self.message, "the compiler crashed");
            return Err(CompileError::Crashed(self.status.to_string()));
        }
        Err(CompileError::Host(format!("the compiler exited with {}: {}", self.status, self.message)))
    }
}

/// The child's whole life: limit itself, read a component, write its code.
pub fn child_main() -> ExitCode {
    match child() {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            let _ = std::io::stderr().write_all(message.as_bytes());
            ExitCode::from(code)
        }
    }
}

fn child() -> Result<(), (u8, String)> {
    let failed = |error: String| (1, error);
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let number = |place: usize| arguments.get(place).and_then(|argument| argument.parse::<u64>().ok());
    let code = Code::ALL.into_iter().find(|code| arguments.get(2).is_some_and(|name| name == code.name()));
    let (Some(cpu_s), Some(memory_mib), Some(code), Some(niceness)) = (number(0), number(1), code, number(3))
    else {
        return Err(failed("this command is only for internal use by the server".to_owned()));
    };
    confine(cpu_s, memory_mib * MIB, niceness).map_err(|error| failed(error.to_string()))?;
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    let engine = Engine::new(&code.config()).map_err(|error| failed(format!("{error:#}")))?;
    let artifact =
        engine.precompile_component(&bytes).map_err(|error| (EXIT_REFUSED, format!("{error:#}")))?;
    std::io::stdout().write_all(&artifact).map_err(|error| failed(error.to_string()))
}

fn confine(cpu_s: u64, memory_bytes: u64, niceness: u64) -> rustix::io::Result<()> {
    let limit = |resource, current, maximum| {
        rustix::process::setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })
    };
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Cpu, cpu_s, cpu_s + 1)?;
    limit(Resource::As, memory_bytes, memory_bytes)?;
    // Its pipes are no files; it has none to write.
    limit(Resource::Fsize, 0, 0)?;
    limit(Resource::Nofile, 16, 16)?;
    // Payments come first. A refusal changes nothing but the order.
    let _ = rustix::process::nice(i32::try_from(niceness).unwrap_or(NICENESS));
    Ok(())
}
