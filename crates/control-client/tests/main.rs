//! The client against a control plane in memory: every verb, every fault, every way to die.

mod budget;
mod crash;
mod faults;
mod plane;
mod race;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use control_client::{ClientConfig, RetryPolicy, Usage};
use kernel::{Money, Secret};

use crate::plane::{IC_TOKEN, Plane};

pub(crate) fn micros(n: i64) -> Money {
    Money::from_micros(n).expect("in range")
}

/// A quick client with a tranche of 1000 µ$ that looks for more below 200 µ$.
pub(crate) fn config(plane: &Plane, dir: &Path) -> ClientConfig {
    config_for(&plane.url, dir)
}

pub(crate) fn config_for(url: &str, dir: &Path) -> ClientConfig {
    let retry = RetryPolicy {
        first: Duration::from_millis(2),
        longest: Duration::from_millis(20),
        give_up_after: Duration::from_millis(400),
    };
    ClientConfig {
        tranche: micros(1_000),
        report_interval: Duration::from_millis(10),
        request_timeout: Duration::from_secs(5),
        denial_pause: Duration::from_millis(1),
        drain_timeout: Duration::from_millis(50),
        close_timeout: Duration::from_secs(5),
        retry,
        ..ClientConfig::new(url, Secret::new(IC_TOKEN.to_owned()), dir)
    }
}

pub(crate) fn usage(cost: Money) -> Usage {
    Usage::new("gpt-5", "openai", 10, cost)
}

/// How many journals are there.
pub(crate) fn journals(dir: &Path) -> usize {
    with_extension(dir, "jsonl")
}

pub(crate) fn with_extension(dir: &Path, extension: &str) -> usize {
    let entries = std::fs::read_dir(dir).expect("the directory");
    entries.filter(|e| e.as_ref().is_ok_and(|e| e.path().extension().is_some_and(|x| x == extension))).count()
}

/// A directory and a plane with this budget in micro-dollars.
pub(crate) async fn setting(budget: i64) -> (tempfile::TempDir, Arc<Plane>) {
    (tempfile::tempdir().expect("a directory"), Arc::new(Plane::with_budget(budget).await))
}
