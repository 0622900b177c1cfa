//! A control plane of our own on a free loopback port, for the demo, the benchmark and the tour.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    http::Caller,
    process::{Group, command},
};

/// The first administrator of every server started here.
pub(crate) const ADMIN_EMAIL: &str = "admin@example.com";
/// Their password. It opens nothing but a throwaway server on the loopback interface.
pub(crate) const ADMIN_PASSWORD: &str = "throwaway-password";

/// Longest wait for the server to listen.
const START: Duration = Duration::from_secs(30);

/// What every server started here is told, beside its database. The environment of the caller does not reach it.
pub(crate) fn environment(program: &Path, dir: &Path, database_url: &str) -> Command {
    let mut command = command(program);
    command.current_dir(dir).env_clear();
    for name in ["PATH", "HOME", "TMPDIR", "RUST_LOG", "RUST_BACKTRACE"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
        .env("IRON__SERVER__ADDRESS", "127.0.0.1:0")
        // Setting up many agents at once is one person writing a lot
        .env("IRON__LIMITS__USER_WRITES__MAX", "0")
        .env("IRON__LIMITS__USER_READS__MAX", "0")
        .env("IRON_DATA_DIR", dir)
        .env("DATABASE_URL", database_url)
        .env("ADMIN_EMAIL", ADMIN_EMAIL)
        .env("ADMIN_PASSWORD", ADMIN_PASSWORD);
    command
}

/// The URL of an embedded database in that directory.
pub(crate) fn sqlite_url(dir: &Path) -> String {
    format!("sqlite://{}?mode=rwc", dir.join("control.db").display())
}

/// A running server. Dropping it stops it; its directory is the caller's.
pub(crate) struct Server {
    group: Group,
    address: SocketAddr,
    log: PathBuf,
    pid: u32,
}

impl Server {
    /// Starts the program with its data in `dir` and waits until it says where it listens.
    pub(crate) fn start(program: &Path, dir: &Path, database_url: &str) -> Result<Self> {
        let log = dir.join("server.log");
        let mut command = environment(program, dir, database_url);
        let mut group = Group::spawn(command.stdout(Stdio::piped()).stderr(fs::File::create(&log)?))?;
        let output = group.child().stdout.take().context("no output of the server")?;
        let (sender, receiver) = mpsc::channel();
        // Reads to the end: a server whose output nobody takes would stand still
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let address = line.split_once("listening on http://").map(|(_, rest)| rest.trim().to_owned());
                if let Some(address) = address {
                    let _ = sender.send(address);
                }
            }
        });
        match receiver.recv_timeout(START) {
            Ok(address) => {
                let pid = group.child().id();
                Ok(Self { group, address: address.parse()?, log, pid })
            }
            Err(_) => bail!("the server did not say where it listens:\n{}", fs::read_to_string(&log)?),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Bytes of memory it occupies.
    pub(crate) fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Lets it finish what it has begun; an error if it does not end well.
    pub(crate) fn stop(mut self) -> Result<()> {
        match self.group.stop(Signal::TERM, Duration::from_secs(30)) {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("the server ended with {status}:\n{}", self.log()),
            None => bail!("the server did not stop within 30 s:\n{}", self.log()),
        }
    }
}

/// An agent with money and a token.
pub(crate) struct Agent {
    /// Its id.
    pub(crate) id: i64,
    /// What it shows to borrow money.
    pub(crate) ic_token: String,
}

/// The administrator, logged in.
pub(crate) async fn log_in(address: SocketAddr) -> Result<Caller> {
    let mut admin = Caller::new(address);
    let body = json!({"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD});
    let session = admin.expect("POST", "auth/login", Some(&body)).await?;
    admin.authorize(text(&session, "user_token")?);
    Ok(admin)
}

/// A provider key; returns its id. `secret` is handed to agents as it is.
pub(crate) async fn create_provider_key(admin: &mut Caller, secret: &str) -> Result<i64> {
    let body = json!({"provider": "openai", "api_key": secret, "description": "created by cargo xtask"});
    number(&admin.expect("POST", "providers", Some(&body)).await?, "id")
}

/// An agent with a budget in microdollars, on that key, with an IC token.
pub(crate) async fn create_agent(admin: &mut Caller, name: &str, key: i64, budget: i64) -> Result<Agent> {
    let body = json!({"name": name, "provider_key_id": key, "initial_budget_microdollars": budget});
    let id = number(&admin.expect("POST", "agents", Some(&body)).await?, "id")?;
    let token = admin.expect("POST", &format!("agents/{id}/ic-token"), None).await?;
    Ok(Agent { id, ic_token: text(&token, "ic_token")? })
}

/// A text of an answer.
pub(crate) fn text(answer: &Value, key: &str) -> Result<String> {
    answer[key].as_str().map(str::to_owned).with_context(|| format!("an answer without the text `{key}`: {answer}"))
}

/// A number of an answer.
pub(crate) fn number(answer: &Value, key: &str) -> Result<i64> {
    answer[key].as_i64().with_context(|| format!("an answer without the number `{key}`: {answer}"))
}
