//! One journal file and the thread that writes it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::oneshot;

use super::record::Record;

/// What is called once a record is durable (`Ok`) or certainly will not be.
type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

enum Job {
    Append {
        line: Vec<u8>,
        durable: Option<Done>,
    },
    /// The last job: nothing is written after it, and the file is unlocked.
    End {
        what: End,
        done: oneshot::Sender<Result<(), String>>,
    },
}

/// What becomes of the file in the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Everything is settled: it is removed.
    Delete,
    /// It stays as evidence, under an extension that recovery does not look for.
    SetAside,
    /// It stays as it is, unlocked, for whoever recovers it.
    Release,
}

/// A journal that is being written. The file stays locked until this is dropped.
///
/// A thread of its own writes and syncs: records that arrive while it waits for the disk share the next sync, and a
/// reservation can be settled from `drop`, where nothing may wait.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    jobs: Sender<Job>,
    /// Bytes handed over since it was opened.
    length: AtomicU64,
}

impl Journal {
    /// Takes over a file that is open for appending and locked.
    pub(crate) fn start(path: PathBuf, file: File) -> std::io::Result<Self> {
        let (jobs, todo) = channel();
        let thread_path = path.clone();
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || run(file, &thread_path, &todo))?;
        Ok(Self { path, jobs, length: AtomicU64::new(0) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes were handed over since it was opened.
    pub(crate) fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    /// Writes a record some time soon; what is lost with it is only exactness.
    pub(crate) fn append_soon(&self, record: &Record) {
        self.send(Job::Append { line: record.line(), durable: None });
    }

    /// Writes a record and calls `durable` from another thread when it is on disk or cannot be.
    pub(crate) fn append_then(&self, record: &Record, durable: impl FnOnce(Result<(), String>) + Send + 'static) {
        self.send(Job::Append { line: record.line(), durable: Some(Box::new(durable)) });
    }

    /// Writes a record and waits until it, and everything before it, is on disk.
    pub(crate) async fn append(&self, record: &Record) -> Result<(), String> {
        let (done, waiting) = oneshot::channel();
        self.append_then(record, |result| {
            // A waiter that is gone does not need to know
            let _ = done.send(result);
        });
        waiting.await.unwrap_or_else(|_| Err(GONE.to_owned()))
    }

    /// Waits until everything appended so far is on disk and every `durable` called.
    pub(crate) async fn sync(&self) -> Result<(), String> {
        let (done, waiting) = oneshot::channel();
        let durable: Done = Box::new(|result| {
            // A waiter that is gone does not need to know
            let _ = done.send(result);
        });
        self.send(Job::Append { line: Vec::new(), durable: Some(durable) });
        waiting.await.unwrap_or_else(|_| Err(GONE.to_owned()))
    }

    /// Everything is settled: removes the file.
    pub(crate) async fn delete(&self) -> Result<(), String> {
        self.end(End::Delete).await
    }

    /// Keeps the file as evidence under another extension, where recovery does not look.
    pub(crate) async fn set_aside(&self) -> Result<(), String> {
        self.end(End::SetAside).await
    }

    /// Leaves the file to be recovered: on return it is unlocked, and nothing more is written to it.
    pub(crate) async fn release(&self) {
        // A thread that is gone has let go already
        let _ = self.end(End::Release).await;
    }

    async fn end(&self, what: End) -> Result<(), String> {
        let (done, waiting) = oneshot::channel();
        self.send(Job::End { what, done });
        waiting.await.unwrap_or_else(|_| Err(GONE.to_owned()))
    }

    fn send(&self, job: Job) {
        if let Job::Append { line, .. } = &job {
            // usize is at most 64 bits on every platform Rust supports
            self.length.fetch_add(line.len() as u64, Ordering::Relaxed);
        }
        // The thread outlives every sender unless it panicked; then `done` is dropped and its waiter told
        if let Err(lost) = self.jobs.send(job)
            && let Job::Append { durable: Some(durable), .. } = lost.0
        {
            durable(Err(GONE.to_owned()));
        }
    }
}

const GONE: &str = "the journal's thread has ended";

/// How many bytes are collected for one write, so that a burst does not delay its first record without bound.
const WRITE_BYTES: usize = 1 << 20;

fn run(mut file: File, path: &Path, todo: &Receiver<Job>) {
    // After a failed write the file may end in half a record; nothing may follow it
    let mut broken: Option<String> = None;
    while let Ok(first) = todo.recv() {
        let (mut bytes, mut waiting, mut end) = (Vec::new(), Vec::new(), None);
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Append { line, durable } => {
                    bytes.extend_from_slice(&line);
                    waiting.extend(durable);
                }
                Job::End { what, done } => {
                    end = Some((what, done));
                    break;
                }
            }
            next = if bytes.len() < WRITE_BYTES { todo.try_recv().ok() } else { None };
        }
        if broken.is_none() && (!bytes.is_empty() || !waiting.is_empty()) {
            let written = file.write_all(&bytes);
            let synced = if waiting.is_empty() { written } else { written.and_then(|()| file.sync_data()) };
            broken = synced.err().map(|e| format!("{}: {e}", path.display()));
        }
        let result = broken.clone().map_or(Ok(()), Err);
        for done in waiting {
            done(result.clone());
        }
        if let Some((what, done)) = end {
            let result = match what {
                End::Delete => std::fs::remove_file(path),
                End::SetAside => std::fs::rename(path, path.with_extension("set-aside")),
                End::Release => Ok(()),
            };
            drop(file);
            // Whoever asked may have gone
            let _ = done.send(result.map_err(|e| format!("{}: {e}", path.display())));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::path::Path;

    use super::super::record::{Record, Replay};
    use super::Journal;

    fn open(path: &Path) -> Journal {
        let file = OpenOptions::new().append(true).create(true).open(path).expect("a file");
        Journal::start(path.to_owned(), file).expect("a thread")
    }

    fn reserve(n: i64) -> Record {
        Record::Reserve { id: n.to_string(), worst: n }
    }

    #[tokio::test]
    async fn what_is_appended_is_on_disk_in_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.jsonl");
        let journal = open(&path);
        for n in 0..50 {
            journal.append_soon(&reserve(n));
        }
        journal.append(&reserve(50)).await.expect("durable");
        let replay = Replay::read(&std::fs::read(&path).expect("the file"));
        assert_eq!(replay.records, (0..=50).map(reserve).collect::<Vec<_>>());
        journal.delete().await.expect("removed");
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn after_a_failed_write_nothing_more_is_durable() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, b"").expect("a file");
        // Opened for reading only: every write fails
        let journal = Journal::start(path.clone(), File::open(&path).expect("the file")).expect("a thread");
        assert!(journal.append(&reserve(1)).await.is_err());
        assert!(journal.append(&reserve(2)).await.is_err());
    }
}
