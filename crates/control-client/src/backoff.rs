//! Growing waits between repetitions.

use std::time::Duration;

use kernel::Entropy;

use crate::RetryPolicy;

/// The waits of one series of repetitions.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: RetryPolicy,
    step: u32,
}

impl Backoff {
    pub(crate) const fn new(policy: RetryPolicy) -> Self {
        Self { policy, step: 0 }
    }

    /// The next wait: between half and all of the doubled one, but at least what the server asked for.
    pub(crate) fn next(&mut self, entropy: &dyn Entropy, asked: Option<Duration>) -> Duration {
        let full = self.policy.first.saturating_mul(1 << self.step.min(20)).min(self.policy.longest);
        self.step = self.step.saturating_add(1);
        let half = full / 2;
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        let span = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        let wait = half.saturating_add(Duration::from_micros(u64::from_le_bytes(bytes) % span));
        // A server that asks for hours would stall a runtime; a minute is patience enough
        wait.max(asked.unwrap_or_default().min(Duration::from_secs(60)))
    }

    pub(crate) const fn reset(&mut self) {
        self.step = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kernel::entropy::SeededEntropy;

    use super::Backoff;
    use crate::RetryPolicy;

    #[test]
    fn waits_double_within_their_jitter_and_stop_growing() {
        let policy = RetryPolicy {
            first: Duration::from_millis(100),
            longest: Duration::from_millis(1_000),
            give_up_after: Duration::from_secs(1),
        };
        let (mut backoff, entropy) = (Backoff::new(policy), SeededEntropy::new(1));
        for full in [100, 200, 400, 800, 1_000, 1_000] {
            let wait = backoff.next(&entropy, None);
            assert!(
                wait >= Duration::from_millis(full / 2) && wait <= Duration::from_millis(full),
                "{wait:?} of {full}"
            );
        }
        backoff.reset();
        assert!(backoff.next(&entropy, None) <= Duration::from_millis(100));
        assert_eq!(backoff.next(&entropy, Some(Duration::from_secs(3))), Duration::from_secs(3));
        assert_eq!(backoff.next(&entropy, Some(Duration::from_secs(9_000))), Duration::from_secs(60));
    }
}
