//! The real server in a process of its own.

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;

use super::{Database, http::Base};

/// Longest wait for the server to listen, and to end when told to.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server prints, before its address, once it listens.
const LISTENING: &str = "listening on http://";

/// How to start a server: with which settings and on what data.
#[derive(Clone)]
pub(crate) struct Launch {
    environment: Vec<(String, String)>,
    dir: PathBuf,
}

impl Launch {
    /// On that database, on a loopback port that the kernel chooses, with nothing of the caller's environment.
    ///
    /// Rate limits by user and for unknown tokens are off and password hashes are cheap: a test that is about these
    /// sets them itself.
    pub(crate) fn on(database: &Database) -> Self {
        let launch = Self { environment: Vec::new(), dir: database.dir().to_owned() };
        launch
            .env("IRON__SERVER__ADDRESS", "127.0.0.1:0")
            .env("IRON__LIMITS__USER_READS__MAX", "0")
            .env("IRON__LIMITS__USER_WRITES__MAX", "0")
            .env("IRON__LIMITS__BUDGET_MISSES__MAX", "0")
            .env("IRON__LIMITS__EXPORTS__MAX", "0")
            .env("IRON__LIMITS__TOKEN_VALIDATIONS__MAX", "0")
            .env("IRON__AUTH__BCRYPT_COST", "4")
            .env("IRON_DATA_DIR", &database.dir().display().to_string())
            .env("DATABASE_URL", database.url())
            .env("RUST_BACKTRACE", "1")
    }

    /// The same with one more environment variable, or another value for it.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(n, _)| n != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.current_dir(&self.dir).env_clear().stdin(Stdio::null());
        for name in ["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a subcommand of the server, such as `["ledger", "verify"]`, with the same settings, to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> CommandOutput {
        let mut command = self.command();
        command.args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("the thread lives");
        let output = output.unwrap_or_else(|error| panic!("cannot run {}: {error}", binary().display()));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        CommandOutput { status: output.status, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

/// The server's program: what the test command built, else what the last build left beside this test.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("IRON_TEST_SERVER_BIN").filter(|path| !path.is_empty()) {
        return path.into();
    }
    // target/debug/deps/it-<hash> → target/debug/server
    let this = std::env::current_exe().expect("this program knows where it is");
    let built = this.parent().and_then(|deps| deps.parent()).map(|dir| dir.join("server")).unwrap_or_default();
    assert!(built.exists(), "no server: run `cargo xtask test-integration`, or `cargo build -p server` first");
    built
}

/// How a subcommand ended.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl CommandOutput {
    /// What it printed, if it ended well; panics otherwise.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.status.success(), "{}\n{}{}", self.status, self.stdout, self.stderr);
        self.stdout
    }
}

/// A server that did not come up.
#[derive(Debug)]
pub(crate) struct StartFailure {
    /// How it ended; `None` where it did not end but did not listen either.
    pub(crate) status: Option<ExitStatus>,
    /// What it said.
    pub(crate) log: String,
}

/// Everything a server said, on both outputs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes in an output to its end. Tells the address that the server prints there.
    fn follow(&self, output: impl Read + Send + 'static, address: Option<oneshot::Sender<String>>) {
        let (log, mut address) = (self.clone(), address);
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).into_owned();
                log.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
                if let Some((_, at)) = text.split_once(LISTENING)
                    && let Some(address) = address.take()
                {
                    let _ = address.send(format!("http://{}", at.trim()));
                }
                line.clear();
            }
        });
    }
}

/// A server that a test started. It is killed when the test ends; where that fails, its log is printed.
pub(crate) struct ServerProcess {
    launch: Launch,
    base: Base,
    log: Log,
    child: Mutex<Option<Child>>,
}

impl ServerProcess {
    /// Starts a server and waits until it listens; panics with its log if it does not.
    pub(crate) async fn start(launch: Launch) -> Self {
        Self::try_start(launch).await.unwrap_or_else(|failure| panic!("the server did not start: {failure:?}"))
    }

    /// Starts a server that may refuse to start.
    pub(crate) async fn try_start(launch: Launch) -> Result<Self, StartFailure> {
        let server = Self { launch, base: Base::default(), log: Log::default(), child: Mutex::new(None) };
        server.spawn().await?;
        Ok(server)
    }

    async fn spawn(&self) -> Result<(), StartFailure> {
        let mut command = self.launch.command();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", binary().display()));
        let (sender, receiver) = oneshot::channel();
        self.log.follow(child.stdout.take().expect("piped"), Some(sender));
        self.log.follow(child.stderr.take().expect("piped"), None);
        match tokio::time::timeout(PATIENCE, receiver).await {
            Ok(Ok(url)) => {
                self.base.set(url);
                *self.child() = Some(child);
                Ok(())
            }
            outcome => {
                // Its output ended without an address, so it is ending; or it says nothing at all
                let status = if outcome.is_ok() { wait(child).await } else { kill(child) };
                Err(StartFailure { status, log: self.log.text() })
            }
        }
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it as a power cut would: no warning, no last words (SIGKILL).
    pub(crate) async fn kill(&self) {
        if let Some(child) = self.child().take() {
            kill(child);
        }
    }

    /// Asks it to end (SIGTERM) and waits; panics if it does not.
    pub(crate) async fn stop(&self) -> ExitStatus {
        let child = self.child().take().expect("the server runs");
        let _ = kill_process(Pid::from_child(&child), Signal::TERM);
        wait(child).await.unwrap_or_else(|| panic!("told to stop, the server went on:\n{}", self.log()))
    }

    /// Starts it again on the same data, after [`ServerProcess::kill`] or [`ServerProcess::stop`].
    pub(crate) async fn start_again(&self) {
        assert!(self.child().is_none(), "the server still runs");
        if let Err(failure) = self.spawn().await {
            panic!("the server did not start again: {failure:?}");
        }
    }

    /// Where it listens, such as `http://127.0.0.1:40001`.
    pub(crate) fn url(&self) -> String {
        self.base.get()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child().as_ref().expect("the server runs").id()
    }

    /// How it was started.
    pub(crate) fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Everything it said so far, over all its starts.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    pub(super) fn base(&self) -> Base {
        self.base.clone()
    }
}

/// Waits for the end of a child, but not for ever; one that does not end is killed.
async fn wait(mut child: Child) -> Option<ExitStatus> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    kill(child)
}

/// Kills a child. `None`: it did not end by itself.
fn kill(mut child: Child) -> Option<ExitStatus> {
    let _ = child.kill();
    let _ = child.wait();
    None
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if let Some(child) = self.child().take() {
            kill(child);
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines = log.lines().collect::<Vec<_>>();
            eprintln!("--- the server's last words ---\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}
