//! Whether the parts the service leans on work.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use kernel::{Clock, Timestamp};

/// Whether a part works; if not, why, in words fit for anybody: no addresses, no error texts of the driver.
pub type PartStatus = Result<(), &'static str>;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthReport {
    /// The database answers.
    pub database: PartStatus,
    /// Its schema is the one this program was built for.
    pub migrations: PartStatus,
    /// Stored secrets can be opened.
    pub crypto: PartStatus,
}

impl HealthReport {
    /// Everything works.
    pub const HEALTHY: Self = Self { database: Ok(()), migrations: Ok(()), crypto: Ok(()) };
}

/// Looks at the parts. Must give up after a second or two rather than wait.
pub trait Health: Send + Sync {
    /// Looks once.
    fn check(&self) -> Pin<Box<dyn Future<Output = HealthReport> + Send + '_>>;
}

/// A finding that does not change, for tests and for servers without a database.
impl Health for HealthReport {
    fn check(&self) -> Pin<Box<dyn Future<Output = HealthReport> + Send + '_>> {
        Box::pin(std::future::ready(*self))
    }
}

/// How long a finding is good for.
const FRESH_MS: i64 = 1_000;

/// Asks at most once a second however often the question comes, so that probes load nothing.
pub struct CachedHealth {
    health: Arc<dyn Health>,
    clock: Arc<dyn Clock>,
    last: RwLock<Option<(Timestamp, HealthReport)>>,
    asking: AtomicBool,
}

impl CachedHealth {
    /// A cache that knows nothing yet.
    pub fn new(health: Arc<dyn Health>, clock: Arc<dyn Clock>) -> Self {
        Self { health, clock, last: RwLock::new(None), asking: AtomicBool::new(false) }
    }

    /// The last finding if it is fresh; else one that is made now, or being made by somebody else right now.
    pub async fn report(&self) -> HealthReport {
        let now = self.clock.now();
        let last = *self.last.read().unwrap_or_else(PoisonError::into_inner);
        let age = last.map(|(at, report)| (now.since(at), report));
        match age {
            Some((age, report)) if (0..FRESH_MS).contains(&age) => report,
            // One asks, the others make do with what was found a moment ago
            Some((age, report)) if (0..5 * FRESH_MS).contains(&age) => {
                if self.asking.swap(true, Ordering::AcqRel) {
                    report
                } else {
                    self.ask().await
                }
            }
            _ => self.ask().await,
        }
    }

    async fn ask(&self) -> HealthReport {
        // Also when the one who asks is gone before the answer is here
        let _done = Reset(&self.asking);
        let report = self.health.check().await;
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some((self.clock.now(), report));
        report
    }
}

struct Reset<'a>(&'a AtomicBool);

impl Drop for Reset<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use kernel::{ManualClock, Timestamp};

    use super::{CachedHealth, Health, HealthReport};

    #[derive(Default)]
    struct Counting(AtomicU32);

    impl Health for Counting {
        fn check(&self) -> Pin<Box<dyn Future<Output = HealthReport> + Send + '_>> {
            let n = self.0.fetch_add(1, Ordering::SeqCst);
            let database = if n == 0 { Ok(()) } else { Err("gone") };
            Box::pin(async move { HealthReport { database, ..HealthReport::HEALTHY } })
        }
    }

    #[tokio::test]
    async fn the_parts_are_asked_at_most_once_a_second() {
        let (clock, parts) = (Arc::new(ManualClock::new(Timestamp::EPOCH)), Arc::new(Counting::default()));
        let cached = CachedHealth::new(Arc::clone(&parts) as _, Arc::clone(&clock) as _);
        for _ in 0..10 {
            assert_eq!(cached.report().await, HealthReport::HEALTHY);
        }
        assert_eq!(parts.0.load(Ordering::SeqCst), 1);
        clock.advance_millis(1_000);
        assert_eq!(cached.report().await.database, Err("gone"));
    }
}
