//! The directory of journals, shared by processes that know nothing of each other.
//!
//! A journal is locked by the process that writes it (`flock` or its like); the operating system drops the lock when the
//! process dies, however it dies. `.lock` is held for the moments in which a journal is created or looked for, so that
//! nobody finds a file between its creation and its locking.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use kernel::Entropy;
use kernel::entropy::random_uuid;

use super::file::Journal;
use super::record::{Record, Replay};

const EXTENSION: &str = "jsonl";

/// The directory of journals.
#[derive(Clone, Debug)]
pub(crate) struct JournalDir {
    path: PathBuf,
}

/// What lies in the directory.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Journals whose writers are gone, locked for us.
    pub(crate) found: Vec<Found>,
    /// The leases that any journal is about, those of living writers included as far as they can be read.
    pub(crate) leases: BTreeSet<String>,
}

/// A journal whose writer is gone; it is ours now.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) journal: Journal,
    pub(crate) replay: Replay,
}

impl JournalDir {
    /// Opens the directory, creating it if it is missing.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)?;
        Ok(Self { path: path.to_owned() })
    }

    fn lock(&self) -> io::Result<File> {
        let file = private().create(true).truncate(false).write(true).open(self.path.join(".lock"))?;
        file.lock()?;
        Ok(file)
    }

    /// A new journal whose first record is on disk, as is the file's name.
    pub(crate) fn create(&self, entropy: &dyn Entropy, first: &Record) -> io::Result<Journal> {
        let guard = self.lock()?;
        let path = self.path.join(format!("{}.{EXTENSION}", random_uuid(entropy)));
        let mut file = private().create_new(true).append(true).open(&path)?;
        file.try_lock().map_err(io::Error::from)?;
        drop(guard);
        file.write_all(&first.line())?;
        file.sync_all()?;
        #[cfg(unix)]
        File::open(&self.path)?.sync_all()?;
        Journal::start(path, file)
    }

    /// Looks through the directory and takes every journal whose writer is gone. Unreadable ones are left alone and
    /// logged.
    pub(crate) fn scan(&self) -> io::Result<Scan> {
        let _guard = self.lock()?;
        let mut scan = Scan::default();
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&self.path)?.filter_map(|e| Some(e.ok()?.path())).collect();
        paths.retain(|p| p.extension().is_some_and(|e| e == EXTENSION));
        paths.sort();
        for path in paths {
            if let Err(error) = scan.look_at(&path) {
                tracing::warn!(path = %path.display(), %error, "a journal cannot be read");
            }
        }
        Ok(scan)
    }
}

impl Scan {
    fn note(&mut self, replay: &Replay) {
        self.leases.extend(replay.records.iter().filter_map(|record| match record {
            Record::Lease { lease_id, .. } => Some(lease_id.clone()),
            _ => None,
        }));
    }

    fn look_at(&mut self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).append(true).open(path)?;
        let ours = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let replay = Replay::read(&bytes);
        self.note(&replay);
        // A writer may have removed it between our opening and our locking
        if !ours || !path.exists() {
            return Ok(());
        }
        if replay.whole < bytes.len() {
            file.set_len(u64::try_from(replay.whole).map_err(io::Error::other)?)?;
            file.sync_all()?;
        }
        if replay.whole == 0 {
            // Not even the first record: its writer died before anything was sent
            return std::fs::remove_file(path);
        }
        self.found.push(Found { journal: Journal::start(path.to_owned(), file)?, replay });
        Ok(())
    }
}

/// Options for files that only their owner may read: a lease id is a capability.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use kernel::SystemEntropy;

    use super::super::record::Record;
    use super::JournalDir;

    fn open_record() -> Record {
        Record::Open { format: 1, at: 0, base_url: "http://localhost".into(), agent: "a".into(), wish: None }
    }

    #[tokio::test]
    async fn only_journals_of_the_dead_are_found_and_only_once() {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = JournalDir::open(&temp.path().join("journals")).expect("created");
        let alive = dir.create(&SystemEntropy, &open_record()).expect("a journal");
        let lease = Record::Lease { lease_id: "lease_1".into(), granted: 5, provider: "p".into() };
        alive.append(&lease).await.expect("durable");
        let dead = dir.create(&SystemEntropy, &open_record()).expect("a journal");
        let dead_path = dead.path().to_owned();
        dead.release().await;
        let found = dir.scan().expect("readable").found;
        assert_eq!((found.len(), found[0].journal.path()), (1, dead_path.as_path()));
        assert_eq!(found[0].replay.records, [open_record()]);
        assert!(dir.scan().expect("readable").found.is_empty(), "what was found is held by the finder");
        assert!(dir.scan().expect("readable").leases.contains("lease_1"), "leases of the living are seen");
        drop(alive);
    }

    #[tokio::test]
    async fn a_torn_tail_is_cut_off_before_more_is_written() {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = JournalDir::open(temp.path()).expect("created");
        let mut bytes = open_record().line();
        bytes.extend_from_slice(b"0123456789abcdef {\"t\":\"res");
        std::fs::write(temp.path().join("x.jsonl"), bytes).expect("written");
        std::fs::write(temp.path().join("empty.jsonl"), b"torn").expect("written");
        let found = dir.scan().expect("readable").found;
        assert_eq!(found.len(), 1);
        found[0].journal.append(&Record::Cancel { id: "a".into() }).await.expect("durable");
        let replay = super::Replay::read(&std::fs::read(temp.path().join("x.jsonl")).expect("there"));
        assert_eq!((replay.records.len(), replay.damaged), (2, false));
        assert!(!temp.path().join("empty.jsonl").exists());
    }

    #[cfg(unix)]
    #[test]
    fn journals_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().expect("a directory");
        let dir = JournalDir::open(&temp.path().join("j")).expect("created");
        let journal = dir.create(&SystemEntropy, &open_record()).expect("a journal");
        let mode = |p: &std::path::Path| std::fs::metadata(p).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(journal.path()), mode(&temp.path().join("j"))), (0o600, 0o700));
    }
}
