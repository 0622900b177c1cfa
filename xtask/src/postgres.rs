//! A PostgreSQL server of our own for the length of one command, from the installed binaries and without any set-up.

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Group, interrupted, read};

/// How to get the server on Debian and its relatives.
pub(crate) const INSTALL: &str = "apt-get install postgresql";

/// The superuser of the throwaway server. It has no password: the server listens on the loopback interface only, lives
/// for minutes and holds nothing but test data.
const USER: &str = "iron";

/// Longest wait for the server to accept connections.
const START: Duration = Duration::from_secs(60);

/// The directory that holds `initdb` and `postgres`, if they are installed: on the path, where `pg_config` says, or
/// where the packages of Linux distributions and Homebrew put them (newest version first).
pub(crate) fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).collect::<Vec<_>>();
    let configured = read(Command::new("pg_config").arg("--bindir")).ok().map(|dir| PathBuf::from(dir.trim()));
    let mut packaged = ["/usr/lib/postgresql", "/usr/local/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"]
        .iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect::<Vec<_>>();
    packaged.sort_by_key(|dir| std::cmp::Reverse(version_of(dir)));
    on_path
        .into_iter()
        .chain(configured)
        .chain(packaged)
        .find(|dir| ["initdb", "postgres"].iter().all(|program| dir.join(program).is_file()))
        // Links on the path would hide the libraries and shared files, which are found from the program's real place
        .and_then(|dir| Some(fs::canonicalize(dir.join("postgres")).ok()?.parent()?.to_owned()))
}

/// The number in a directory like `.../15/bin` or `.../postgresql@15/bin`, for sorting.
fn version_of(bin: &Path) -> u32 {
    let name = bin.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    name.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Who runs the server: it refuses to run as root.
#[derive(Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// `None` where the present user will do.
    fn needed() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let id = |flag: &str, name: &str| read(Command::new("id").args([flag, name])).ok()?.trim().parse().ok();
        let found =
            ["postgres", "nobody"].iter().find_map(|name| Some(Self { uid: id("-u", name)?, gid: id("-g", name)? }));
        found.map(Some).context("PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`")
    }
}

/// A running throwaway server. Dropping it stops it and removes its data.
pub(crate) struct Postgres {
    // Order matters: the server stops before its directory is removed
    server: Group,
    port: u16,
    version: String,
    _dir: TempDir,
}

impl Postgres {
    /// Creates and starts a server from the binaries in `bin`. Commits are durable as in production unless
    /// `fsync` is false, which is faster and enough for everything but tests of durability and measurements.
    pub(crate) fn start(bin: &Path, fsync: bool) -> Result<Self> {
        let account = Account::needed()?;
        let version = read(Command::new(bin.join("postgres")).arg("--version"))?;
        let version = version.split_whitespace().nth(2).unwrap_or("of unknown version").to_owned();
        let dir = tempfile::Builder::new().prefix("iron-postgres-").tempdir_in(temporary_directory(account))?;
        let (data, log) = (dir.path().join("data"), dir.path().join("log"));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700))?;
        if let Some(account) = account {
            chown(dir.path(), Some(account.uid), Some(account.gid))?;
        }

        let mut initdb = as_account(Command::new(bin.join("initdb")), account, dir.path());
        initdb.args(["--username", USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"]);
        read(initdb.arg(&data)).context("cannot create a PostgreSQL data directory")?;

        // The kernel names a free port, but another program may take it before the server does
        for _ in 0..5 {
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            let mut command = as_account(supervised(&bin.join("postgres")), account, dir.path());
            command.arg("-D").arg(&data);
            let port_setting = format!("port={port}");
            let fixed =
                ["listen_addresses=127.0.0.1", &port_setting, "unix_socket_directories=", "max_connections=200"];
            let hasty: &[&str] =
                if fsync { &[] } else { &["fsync=off", "synchronous_commit=off", "full_page_writes=off"] };
            command.args(fixed.iter().chain(hasty).flat_map(|setting| ["-c", setting]));
            let output = fs::File::create(&log)?;
            command.stdout(output.try_clone()?).stderr(output);
            let mut server = Group::spawn(&mut command)?;
            if wait_until_ready(&mut server, &log)? {
                return Ok(Self { server, port, version, _dir: dir });
            }
        }
        bail!("PostgreSQL found no port to listen on")
    }

    /// Where it listens, as a connection URL for the database `postgres`.
    pub(crate) fn url(&self) -> String {
        self.database_url("postgres")
    }

    /// The URL of a database on it.
    pub(crate) fn database_url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Its version, as it says it.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // First cut off the sessions and write a checkpoint; then without; the group's own drop kills
        for (signal, seconds) in [(Signal::INT, 10), (Signal::QUIT, 5)] {
            if self.server.stop(signal, Duration::from_secs(seconds)).is_some() {
                return;
            }
        }
    }
}

/// True once the server accepts connections, false if it could not take its port; an error with its log otherwise.
fn wait_until_ready(server: &mut Group, log: &Path) -> Result<bool> {
    let deadline = Instant::now() + START;
    loop {
        let ended = server.ended()?;
        let said = fs::read_to_string(log).unwrap_or_default();
        if said.contains("database system is ready to accept connections") {
            return Ok(true);
        }
        match ended {
            Some(_) if said.contains("could not bind") || said.contains("could not create any TCP/IP sockets") => {
                return Ok(false);
            }
            Some(status) => bail!("PostgreSQL ended at start ({status}):\n{said}"),
            None if interrupted() => bail!("interrupted"),
            None if Instant::now() > deadline => bail!("PostgreSQL was not ready after {START:?}:\n{said}"),
            None => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn as_account(mut command: Command, account: Option<Account>, dir: &Path) -> Command {
    // A user without rights to the present directory could not even start
    command.current_dir(dir);
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

/// The command itself; where `setpriv` is installed, told to end with this process even if that is killed outright.
fn supervised(program: &Path) -> Command {
    let available = Command::new("setpriv").arg("--version").output().is_ok_and(|output| output.status.success());
    if !available {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT", "--"]).arg(program);
    command
}

/// The directory for temporary files, or a common one where the account could not reach that.
fn temporary_directory(account: Option<Account>) -> PathBuf {
    let usual = std::env::temp_dir();
    let reachable = |dir: &Path| {
        let dir = fs::canonicalize(dir).unwrap_or_default();
        dir.ancestors().all(|d| fs::metadata(d).is_ok_and(|m| m.permissions().mode() & 0o001 != 0))
    };
    if account.is_none() || reachable(&usual) { usual } else { PathBuf::from("/tmp") }
}

#[cfg(test)]
mod tests {
    use super::{Postgres, binaries, version_of};
    use std::{net::TcpStream, path::Path};

    #[test]
    fn a_throwaway_server_listens_and_leaves_nothing_behind() {
        let Some(bin) = binaries() else { return eprintln!("no PostgreSQL here: nothing to throw away") };
        let server = Postgres::start(&bin, true).unwrap();
        let (address, dir) = (format!("127.0.0.1:{}", server.port), server._dir.path().to_owned());
        TcpStream::connect(&address).unwrap();
        drop(server);
        assert!(TcpStream::connect(&address).is_err());
        assert!(!dir.exists());
    }

    #[test]
    fn newer_versions_sort_above_older_ones() {
        let of = |path: &str| version_of(Path::new(path));
        assert!(of("/usr/lib/postgresql/15/bin") > of("/usr/lib/postgresql/9/bin"));
        assert_eq!(of("/opt/homebrew/opt/postgresql@17/bin"), 17);
        assert_eq!(of("/usr/local/opt/openssl/bin"), 0);
    }
}
