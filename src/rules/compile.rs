//! Compilation, in a child process only: 33 KB of nested loops take a
//! compiler 40 s and 2 GB. Must never compile in the server, and never hand
//! the child anything but the plugin's bytes.
//!
//! The child is this same binary started anew: it limits itself before it
//! reads its first byte, so nothing unsafe runs between fork and exec. It has
//! no environment, no files but its pipes, and dies with its parent. That
//! protects from what compiling costs, and from a compiler that crashes; what
//! it answers runs as native code, so it has to be this binary's own compiler.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, oneshot};
use wasmtime::Engine;

use super::engine::Code;
use super::limits::Allowance;
use super::settings::Settings;
use crate::domain::plugin::Profile;

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

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CompileError {
    #[error("the component does not compile: {0}")]
    Invalid(String),
    #[error(
        "compiling the plugin took more than {0} s of processor time, which compile_cpu_s sets: make it smaller \
         or its functions simpler"
    )]
    CpuTime(u64),
    #[error(
        "compiling the plugin needed more than {0} MiB of memory: make it smaller or its functions simpler"
    )]
    Memory(u64),
    #[error("the compiled plugin is larger than {0} MiB")]
    TooLarge(u64),
    /// The child ran on its own and came to grief, as it would again.
    #[error("the compiler failed on the plugin ({0}): make it smaller or its functions simpler")]
    Crashed(String),
    /// The machine's fault, not the plugin's.
    #[error("plugins cannot be compiled: {0}")]
    Host(String),
}

/// What the child made. Only this module can make one, since the code is trusted for where
/// it comes from.
#[derive(Debug)]
pub(super) struct Compiled {
    artifact: Vec<u8>,
    elapsed: Duration,
}

impl Compiled {
    pub(super) fn artifact(&self) -> &[u8] {
        &self.artifact
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.elapsed
    }
}

#[derive(Debug)]
pub(super) struct Compiler {
    child: Child,
    cpu_s: u64,
    turns: Arc<Semaphore>,
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
        Self::making(Code::Live, settings, settings.compilations_max)
    }

    /// A compiler for diagnoses, one at a time, so that they hold up no upload.
    pub(super) fn for_diagnosis(settings: &Settings, code: Code) -> Self {
        Self::making(code, settings, 1)
    }

    fn making(code: Code, settings: &Settings, turns: usize) -> Self {
        let niceness = if settings.stands_back { NICENESS } else { 0 };
        let child = Child { exe: settings.compiler_exe.clone(), code, niceness };
        Self { child, cpu_s: settings.compile_cpu_s, turns: Arc::new(Semaphore::new(turns)) }
    }

    pub(super) async fn compile(&self, bytes: Arc<[u8]>, profile: Profile) -> Result<Compiled, CompileError> {
        let host = |error: String| CompileError::Host(error);
        let turn = self.turns.clone().acquire_owned().await.map_err(|error| host(error.to_string()))?;
        let (answer, answered) = oneshot::channel();
        let (child, allowance) = (self.child.clone(), Allowance::of(profile, self.cpu_s));
        // A thread of its own, since the death signal of the child follows the thread that started it.
        std::thread::Builder::new()
            .name("plugin-compiler".to_owned())
            .spawn(move || {
                let compiled = on_this_thread(&child, &bytes, allowance);
                drop(turn);
                // Nobody waits any more when the caller has gone; that is its right.
                let _ = answer.send(compiled);
            })
            .map_err(|error| host(error.to_string()))?;
        answered.await.map_err(|error| host(error.to_string()))?
    }
}

fn on_this_thread(child: &Child, bytes: &[u8], allowance: Allowance) -> Result<Compiled, CompileError> {
    let host = |error: std::io::Error| CompileError::Host(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(host)?;
    let started = Instant::now();
    let talked = runtime.block_on(async {
        tokio::time::timeout(allowance.wall_time(), talk_to_child(child, bytes, allowance)).await
    });
    let answer = match talked {
        Ok(answer) => answer.map_err(host)?,
        Err(_) => {
            let waited_s = allowance.wall_time().as_secs();
            return Err(CompileError::Host(format!("the compiler did not end in {waited_s} s")));
        }
    };
    let artifact = answer.read(allowance)?;
    Ok(Compiled { artifact, elapsed: started.elapsed() })
}

struct ChildAnswer {
    status: ExitStatus,
    output: Vec<u8>,
    message: String,
}

async fn talk_to_child(child: &Child, bytes: &[u8], allowance: Allowance) -> std::io::Result<ChildAnswer> {
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
        return Err(std::io::Error::other("the compiler has no pipes"));
    };
    let give = async move {
        // A child that ends early closes the pipe; its status says why.
        let _ = stdin.write_all(bytes).await;
        drop(stdin);
    };
    let output = async {
        let mut output = Vec::new();
        let bound = allowance.artifact_mib * MIB + 1;
        stdout.take(bound).read_to_end(&mut output).await.map(|_| output)
    };
    let message = async {
        let mut message = Vec::new();
        let read = stderr.take(MESSAGE_BYTES_MAX).read_to_end(&mut message).await;
        read.map(|_| String::from_utf8_lossy(&message).trim().to_owned())
    };
    let ((), output, message) = tokio::join!(give, output, message);
    let output = output?;
    if output.len() as u64 > allowance.artifact_mib * MIB {
        child.start_kill()?;
    }
    Ok(ChildAnswer { status: child.wait().await?, output, message: message? })
}

impl ChildAnswer {
    fn read(self, allowance: Allowance) -> Result<Vec<u8>, CompileError> {
        use std::os::unix::process::ExitStatusExt;
        let signal = self.status.signal();
        let killed_by = |wanted: Signal| signal == Some(wanted.as_raw());
        if self.output.len() as u64 > allowance.artifact_mib * MIB {
            return Err(CompileError::TooLarge(allowance.artifact_mib));
        }
        if self.status.success() && !self.output.is_empty() {
            return Ok(self.output);
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
        Err(CompileError::Host(format!("the compiler ended with {}: {}", self.status, self.message)))
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
        return Err(failed("this command is for the server's own use".to_owned()));
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
