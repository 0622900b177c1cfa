//! Makes commits to the embedded database durable, beside the writer.
//!
//! SQLite would sync its log within each commit, and the writer would stand still for as long as the disk takes. Here a
//! commit only writes to the log (`synchronous = NORMAL`), and a thread of its own syncs the file, once for all commits
//! that are in it by then, while the writer goes on with the next batch.
//!
//! What is in the log and not yet durable is seen by SQLite's readers, and must not be told: neither to whoever made it nor
//! to anybody who read it. So whoever commits waits for its commit ([`Durability::wait`]), and whoever reads waits for
//! all that began before its first answer came ([`Durability::seen`]). Commits are in the log in their order, and the log
//! is valid up to its first damage: what is durable is all commits up to one.
//!
//! A disk that fails to sync may have lost what it was given, and says so only once; to sync again proves nothing. From
//! then on everything is refused, and the log is not copied into the database, until the server is started anew, which reads
//! the log as far as it is whole.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tokio::sync::watch;

use crate::StoreError;

/// Counts commits, from 1 on.
pub(crate) type Commit = u64;

/// How far the log is durable; cheap to clone. Its thread ends with the last handle.
#[derive(Clone)]
pub(crate) struct Durability(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    /// The last commit that has begun: it may be seen from then on.
    begun: AtomicU64,
    /// The last commit that is in the log.
    log: Mutex<Log>,
    grown: Condvar,
    /// How far it is durable; an error where it never will be.
    durable: watch::Sender<Result<Commit, Failed>>,
}

#[derive(Clone, Copy, Default)]
struct Log {
    written: Commit,
    closed: bool,
}

/// The disk has failed to sync.
#[derive(Clone, Copy, Debug)]
struct Failed;

impl From<Failed> for StoreError {
    fn from(Failed: Failed) -> Self {
        Self::Unavailable("the disk failed to make the log durable; the server must be started anew".into())
    }
}

impl Durability {
    /// Of a log that has nothing in it that is not durable.
    pub(crate) fn of(log: File) -> io::Result<Self> {
        Self::by(move || log.sync_data())
    }

    /// Of a log that is synced like this.
    pub(crate) fn by(sync: impl FnMut() -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            begun: AtomicU64::new(0),
            log: Mutex::default(),
            grown: Condvar::new(),
            durable: watch::Sender::new(Ok(0)),
        });
        let thread = std::thread::Builder::new().name("log-sync".to_owned());
        let its = Arc::clone(&shared);
        thread.spawn(move || its.keep_durable(sync))?;
        Ok(Self(Arc::new(Handle { shared })))
    }

    /// Says that a commit begins. Of those there is one at a time.
    pub(crate) fn begin(&self) -> Commit {
        self.0.shared.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Says that it is in the log, or came to nothing.
    pub(crate) fn written(&self, commit: Commit) {
        self.0.shared.lock().written = commit;
        self.0.shared.grown.notify_one();
    }

    /// Waits until the commit is durable, and with it all before.
    pub(crate) async fn wait(&self, commit: Commit) -> Result<(), StoreError> {
        let mut durable = self.0.shared.durable.subscribe();
        let reached = durable.wait_for(|durable| durable.map_or(true, |last| last >= commit)).await;
        match reached.as_deref() {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(failed)) => Err((*failed).into()),
            Err(_) => Err(StoreError::Closing),
        }
    }

    /// An error where nothing more will be durable.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.0.shared.durable.borrow().map(drop).map_err(StoreError::from)
    }

    /// Waits until all that may have been seen by now is durable.
    pub(crate) async fn seen(&self) -> Result<(), StoreError> {
        self.wait(self.0.shared.begun.load(Ordering::SeqCst)).await
    }
}

/// A commit that is durable, or will be.
#[must_use]
pub(crate) struct Durable(Option<(Durability, Commit)>);

impl Durable {
    /// One that is.
    pub(crate) const IS: Self = Self(None);

    /// One that is written.
    pub(crate) fn after(durability: Option<Durability>, commit: Option<Commit>) -> Self {
        Self(durability.zip(commit))
    }

    /// Waits until it is.
    pub(crate) async fn reached(self) -> Result<(), StoreError> {
        match self.0 {
            Some((durability, commit)) => durability.wait(commit).await,
            None => Ok(()),
        }
    }
}

/// Waits until all that may have been seen by now is durable.
pub(crate) async fn seen_is_durable(durability: Option<&Durability>) -> Result<(), StoreError> {
    match durability {
        Some(durability) => durability.seen().await,
        None => Ok(()),
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.grown.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_durable(&self, mut sync: impl FnMut() -> io::Result<()>) {
        let mut last = 0;
        loop {
            let log = self.grown.wait_while(self.lock(), |log| log.written == last && !log.closed);
            let Log { written, closed } = *log.unwrap_or_else(PoisonError::into_inner);
            if written > last {
                if let Err(error) = sync() {
                    tracing::error!(%error, "the disk failed to make the log durable: everything is refused from here on");
                    let _before = self.durable.send_replace(Err(Failed));
                    return;
                }
                last = written;
                let _before = self.durable.send_replace(Ok(last));
            }
            if closed {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::Durability;
    use crate::StoreError;

    /// A disk that syncs when it is told to, and how.
    fn disk() -> (Durability, mpsc::Sender<io::Result<()>>) {
        let (tell, told) = mpsc::channel();
        let durability = Durability::by(move || told.recv().unwrap_or(Ok(()))).expect("a thread");
        (durability, tell)
    }

    async fn still_waits(durability: &Durability, commit: u64) {
        let waited = tokio::time::timeout(Duration::from_millis(30), durability.wait(commit)).await;
        waited.expect_err("it is not durable");
    }

    #[tokio::test]
    async fn nobody_is_told_of_a_commit_before_it_is_durable() {
        let (durability, disk) = disk();
        durability.seen().await.expect("there is nothing to be seen");
        let first = durability.begin();
        still_waits(&durability, first).await;
        durability.written(first);
        still_waits(&durability, first).await;
        // It came while the disk was busy with the first, and is not in what is synced then
        let second = durability.begin();
        durability.written(second);
        disk.send(Ok(())).expect("the thread lives");
        durability.wait(first).await.expect("durable");
        still_waits(&durability, second).await;
        tokio::time::timeout(Duration::from_millis(30), durability.seen()).await.expect_err("the second may be seen");
        disk.send(Ok(())).expect("the thread lives");
        durability.seen().await.expect("all is durable");
    }

    #[tokio::test]
    async fn one_sync_is_enough_for_all_commits_before_it() {
        let (durability, disk) = disk();
        for _ in 0..3 {
            let commit = durability.begin();
            durability.written(commit);
        }
        // The first may have been taken alone
        disk.send(Ok(())).expect("the thread lives");
        disk.send(Ok(())).expect("the thread lives");
        durability.wait(3).await.expect("durable");
    }

    #[tokio::test]
    async fn after_a_sync_that_failed_nothing_is_acknowledged() {
        let (durability, disk) = disk();
        let first = durability.begin();
        durability.written(first);
        disk.send(Err(io::Error::other("broken"))).expect("the thread lives");
        let refused = durability.wait(first).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        // A disk that has lost something syncs the rest without complaint
        let _ = disk.send(Ok(()));
        let second = durability.begin();
        durability.written(second);
        for refused in [durability.wait(second).await, durability.seen().await, durability.wait(first).await] {
            assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        }
    }
}
