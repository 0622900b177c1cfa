//! Child processes that never outlive this one: each runs in a process group of its own, and the groups are stopped
//! when their guard is dropped, on Ctrl-C, and on a polite request to end.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// The groups to stop when this process is told to end.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn groups() -> std::sync::MutexGuard<'static, Vec<Pid>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether Ctrl-C (or SIGTERM, or SIGHUP) has arrived.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Turns the signals that would end this process at once into an orderly end: the children stop, the waiting calls
/// return an error, and the guards on the way out clean up.
pub(crate) fn catch_signals() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _guard = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            let [Ok(interrupt), Ok(terminate), Ok(hangup)] = &mut signals else { return };
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv() => {} }
            INTERRUPTED.store(true, Ordering::SeqCst);
            eprintln!("\nxtask: interrupted, stopping what was started");
            for (signal, patience) in [(Signal::TERM, Duration::from_secs(5)), (Signal::KILL, Duration::ZERO)] {
                for group in groups().iter() {
                    let _ = kill_process_group(*group, signal);
                }
                tokio::time::sleep(patience).await;
            }
        });
    });
    Ok(())
}

/// A running child and everything it starts, as long as that stays in its process group.
pub(crate) struct Group {
    child: Child,
    pid: Pid,
}

impl Group {
    /// Starts a command in a process group of its own. It gets no standard input.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        if interrupted() {
            bail!("interrupted");
        }
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let pid = Pid::from_child(&child);
        groups().push(pid);
        Ok(Self { child, pid })
    }

    /// The child, for its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its status, if it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> Result<ExitStatus> {
        let status = self.child.wait()?;
        if interrupted() {
            bail!("interrupted");
        }
        Ok(status)
    }

    /// Sends a signal to the child alone and waits for its end; `None` where it did not end in time.
    pub(crate) fn stop(&mut self, signal: Signal, patience: Duration) -> Option<ExitStatus> {
        let _ = kill_process(self.pid, signal);
        let deadline = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        groups().retain(|pid| *pid != self.pid);
        // Also when the child itself has ended: it may have left children of its own behind
        let _ = kill_process_group(self.pid, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// A command that runs in the root of the workspace.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What `cargo run` told this program about itself is not true for what it starts
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(name);
        }
    }
    cargo
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let arguments = command.get_args().map(|a| a.to_string_lossy().into_owned());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Runs a command with its output on the terminal; an error if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", describe(command));
    let status = Group::spawn(command)?.wait()?;
    if !status.success() {
        bail!("`{}` failed ({status})", describe(command));
    }
    Ok(())
}

/// Runs a command and returns what it printed; an error with its messages if it fails.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if !output.status.success() {
        let messages = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({})\n{}", describe(command), output.status, messages.trim_end());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A program that cargo built.
pub(crate) struct Program {
    /// `bin` or `example`.
    pub(crate) kind: String,
    /// The name of the target.
    pub(crate) name: String,
    /// Where it lies.
    pub(crate) path: PathBuf,
}

/// Runs `cargo build` with these arguments and returns the programs among what it built, test binaries left out.
pub(crate) fn build(arguments: &[&str]) -> Result<Vec<Program>> {
    let mut cargo = cargo();
    cargo.arg("build").args(arguments);
    eprintln!("$ {}", describe(&cargo));
    cargo.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let mut group = Group::spawn(&mut cargo)?;
    let output = std::io::read_to_string(group.child().stdout.take().context("no output of cargo")?)?;
    if !group.wait()?.success() {
        bail!("`{}` failed", describe(&cargo));
    }
    let messages = output.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let programs = messages.filter_map(|message| {
        let target = &message["target"];
        (message["profile"]["test"] == false).then_some(())?;
        Some(Program {
            kind: target["kind"][0].as_str()?.to_owned(),
            name: target["name"].as_str()?.to_owned(),
            path: message["executable"].as_str()?.into(),
        })
    });
    Ok(programs.collect())
}

/// The program of that kind and name among those built.
pub(crate) fn program<'a>(programs: &'a [Program], kind: &str, name: &str) -> Result<&'a Path> {
    let found = programs.iter().find(|p| p.kind == kind && p.name == name);
    found.map(|p| p.path.as_path()).with_context(|| format!("the workspace builds no {kind} `{name}`"))
}

/// Builds an example program with optimisation and returns its path.
pub(crate) fn build_example(package: &str, name: &str) -> Result<PathBuf> {
    let built = build(&["--release", "--package", package, "--example", name])?;
    Ok(program(&built, "example", name)?.to_owned())
}

/// Builds the server and returns its path.
pub(crate) fn build_server(release: bool) -> Result<PathBuf> {
    let mut arguments = vec!["--package", "server", "--bin", "server"];
    if release {
        arguments.push("--release");
    }
    Ok(program(&build(&arguments)?, "bin", "server")?.to_owned())
}
