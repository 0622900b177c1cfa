//! Journals: one append-only file per lease, and the directory they lie in.

mod dir;
mod file;
mod record;

pub(crate) use dir::{Found, JournalDir};
pub(crate) use file::Journal;
pub(crate) use record::{FORMAT, Record, Replay, Wish};
