//! Compiles plugins in a child process.
//!
//! The server must never compile a plugin itself: 33 KB of nested loops can take a compiler 40 s
//! and 2 GB. The child is the same binary, started with a hidden command. It limits itself before
//! it reads its first byte, so no unsafe code runs between fork and exec. It has no environment and
//! no files other than its pipes, and it dies with its parent.
//!
//! This protects the server from the cost of compiling and from a crash of the compiler. Its output
//! runs as native code and is trusted, so it must come from the compiler in this binary.

pub(super) mod artifact;
mod output;

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

pub(super) use self::output::CompiledCode;
use self::output::CompilerOutput;
use super::engine::CompileMode;
use super::limits::CompileLimits;
use super::settings::EngineSettings;
use crate::domain::plugin::{Digest, Profile};
use crate::rules::compile::artifact::ArtifactCache;

/// The hidden command that runs [`child_main`].
pub const COMMAND: &str = "compile-plugin";

/// The most that is read from the child's standard error.
const MESSAGE_BYTES_MAX: u64 = 2000;
/// The child's exit code for bytes that do not compile.
const EXIT_REFUSED: u8 = 3;
/// The niceness of the child: payments come first.
const NICENESS: i32 = 19;
/// The exit code of a Rust program after a panic.
const EXIT_PANICKED: i32 = 101;
const MIB: u64 = 1 << 20;
/// The child's output is read in parts of this size.
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
    /// The child crashed, and would crash on the same bytes again.
    #[error("the compiler failed on the plugin ({0}): make the plugin smaller or its functions simpler")]
    Crashed(String),
    /// The machine's fault, not the plugin's.
    #[error("plugins cannot be compiled: {0}")]
    Host(String),
}

#[derive(Debug)]
pub(super) struct Compilation {
    pub(super) kept: CompiledCode,
    pub(super) elapsed: Duration,
}

#[derive(Debug)]
pub(super) struct Compiler {
    child: ChildCommand,
    cpu_s: u64,
    turns: ChildSlots,
}

/// How many children may run at once. Only this bounds the memory and processor time of all
/// children together.
#[derive(Debug, Clone)]
struct ChildSlots {
    /// One slot, shared by all compilers of an engine. The child of a large plugin takes gigabytes
    /// and minutes.
    large: Arc<Semaphore>,
    /// The slots for compilations of uploads, and of all large plugins.
    all: Arc<Semaphore>,
    /// The slots for small plugins of this compiler.
    small: Arc<Semaphore>,
}

impl ChildSlots {
    fn new(most: usize) -> Self {
        let all = Arc::new(Semaphore::new(most));
        Self { large: Arc::new(Semaphore::new(1)), all: all.clone(), small: all }
    }

    async fn take(&self, profile: Profile) -> Result<Vec<OwnedSemaphorePermit>, AcquireError> {
        let in_order = match profile {
            Profile::Small => vec![&self.small],
            // In this order, a large plugin that waits for another takes no slot from small ones.
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
struct ChildCommand {
    exe: PathBuf,
    code: CompileMode,
    niceness: i32,
}

impl Compiler {
    pub(super) fn new(settings: &EngineSettings) -> Self {
        let niceness = if settings.stands_back { NICENESS } else { 0 };
        let child = ChildCommand { exe: settings.compiler_exe.clone(), code: CompileMode::Live, niceness };
        Self { child, cpu_s: settings.compile_cpu_s, turns: ChildSlots::new(settings.compilations_max) }
    }

    /// A compiler for diagnoses. It compiles one small plugin at a time, in a slot of its own;
    /// large plugins share the slot of large uploads.
    pub(super) fn for_diagnosis(&self, code: CompileMode) -> Self {
        let turns = ChildSlots { small: Arc::new(Semaphore::new(1)), ..self.turns.clone() };
        Self { child: ChildCommand { code, ..self.child.clone() }, cpu_s: self.cpu_s, turns }
    }

    /// Stores the code in `cache`, or returns it in memory if that fails.
    pub(super) async fn compile(
        &self,
        plugin: Digest,
        bytes: Arc<[u8]>,
        profile: Profile,
        cache: Arc<ArtifactCache>,
    ) -> Result<Compilation, CompileError> {
        let host = |error: String| CompileError::Host(error);
        let turn = self.turns.take(profile).await.map_err(|error| host(error.to_string()))?;
        let (sender, receiver) = oneshot::channel();
        let (child, allowance) = (self.child.clone(), CompileLimits::of(profile, self.cpu_s));
        // A separate thread, since the child gets its death signal when the thread that started it
        // ends.
        std::thread::Builder::new()
            .name("plugin-compiler".to_owned())
            .spawn(move || {
                let answer = CompilerOutput::begin(&cache, plugin, profile);
                let compiled = on_this_thread(&child, &bytes, allowance, answer);
                drop(turn);
                // An error means that the caller no longer waits.
                let _ = sender.send(compiled);
            })
            .map_err(|error| host(error.to_string()))?;
        receiver.await.map_err(|error| host(error.to_string()))?
    }
}

fn on_this_thread(
    child: &ChildCommand,
    bytes: &[u8],
    allowance: CompileLimits,
    mut answer: CompilerOutput,
) -> Result<Compilation, CompileError> {
    let host = |error: std::io::Error| CompileError::Host(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(host)?;
    let started = Instant::now();
    let ended = runtime.block_on(async {
        tokio::time::timeout(allowance.wall_time(), run_child(child, bytes, allowance, &mut answer)).await
    });
    let end = match ended {
        Ok(end) => end.map_err(host)?,
        Err(_) => {
            let waited_s = allowance.wall_time().as_secs();
            return Err(CompileError::Host(format!("the compiler did not finish within {waited_s} s")));
        }
    };
    end.judge(answer.size_bytes(), allowance)?;
    let elapsed = started.elapsed();
    Ok(Compilation { kept: answer.keep().map_err(host)?, elapsed })
}

struct ChildExit {
    status: ExitStatus,
    message: String,
}

async fn run_child(
    child: &ChildCommand,
    bytes: &[u8],
    allowance: CompileLimits,
    answer: &mut CompilerOutput,
) -> std::io::Result<ChildExit> {
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
        // A child that ends early closes the pipe. Its exit status says why.
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
    Ok(ChildExit { status: child.wait().await?, message: message? })
}

impl ChildExit {
    fn judge(self, answer_bytes: u64, allowance: CompileLimits) -> Result<(), CompileError> {
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
        // `KILL` if the machine runs out of memory before the child reaches its limit.
        let crashes = [Signal::SEGV, Signal::BUS, Signal::ILL, Signal::ABORT, Signal::TRAP, Signal::KILL];
        if self.status.code() == Some(EXIT_PANICKED) || crashes.into_iter().any(killed_by) {
            tracing::error!(status = %self.status, message = self.message, "the compiler crashed");
            return Err(CompileError::Crashed(self.status.to_string()));
        }
        Err(CompileError::Host(format!("the compiler exited with {}: {}", self.status, self.message)))
    }
}

/// The main function of the child: it limits itself, reads a component and writes the compiled
/// code.
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
    let code =
        CompileMode::ALL.into_iter().find(|code| arguments.get(2).is_some_and(|name| name == code.name()));
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
    // The child writes no files. Pipes do not count.
    limit(Resource::Fsize, 0, 0)?;
    limit(Resource::Nofile, 16, 16)?;
    // If this is refused, the child still runs, only with a higher priority.
    let _ = rustix::process::nice(i32::try_from(niceness).unwrap_or(NICENESS));
    Ok(())
}
