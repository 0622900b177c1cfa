//! What credentials let their holders see, kept up to date for as long as they are used.
//!
//! A connection outlives the moment at which its credential was checked. So each credential in use has one [`Pass`],
//! shared by all its connections. When somebody's rights change, [`Passes::touch`] marks the passes concerned, at once and
//! without waiting; from then on nothing is sent on them until they have been checked again. Besides, all of them are
//! checked now and then, for what nobody told us about and for what ends by itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};

use crate::log::Boxed;
use crate::sight::Sight;

/// How long to wait after a check that could not be made.
const PAUSE: Duration = Duration::from_millis(250);
/// How many checks are made at the same time.
const AT_ONCE: usize = 8;

/// What a credential is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It lets its holder see this.
    Sees(Sight),
    /// It is no longer taken.
    Ended(Refusal),
}

/// Why a credential is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A code, such as `AUTH_TOKEN_REVOKED`.
    pub code: &'static str,
    /// The same for people.
    pub message: String,
    /// Whether the same credential may be taken a moment later: the check could not be made.
    pub transient: bool,
}

/// Looks at one credential.
pub trait Check: Send + Sync + 'static {
    /// What it is worth now; `None` where that cannot be found out at the moment.
    fn check(&self) -> Boxed<'_, Option<Standing>>;
}

/// All passes in use; a handle.
#[derive(Clone, Default)]
pub struct Passes(Arc<Inner>);

#[derive(Default)]
struct Inner {
    entries: Mutex<HashMap<String, Weak<Entry>>>,
    wake: Notify,
}

struct Entry {
    name: String,
    /// What its worth depends on.
    keys: Vec<String>,
    check: Box<dyn Check>,
    standing: watch::Sender<Standing>,
    /// How often a check was asked for, and up to where that was answered.
    wanted: AtomicU64,
    done: AtomicU64,
    passes: Weak<Inner>,
}

/// A credential in use; a handle.
#[derive(Clone)]
pub struct Pass {
    entry: Arc<Entry>,
    standing: watch::Receiver<Standing>,
}

impl Passes {
    /// The pass of a credential, and what it is worth now. Credentials of the same `name` share one; `keys` are what a
    /// [`Passes::touch`] may name. `None` where it cannot be checked at the moment.
    pub async fn issue(&self, name: String, keys: Vec<String>, check: Box<dyn Check>) -> Option<(Pass, Standing)> {
        let entry = self.entry(name, keys, check);
        let pass = Pass { standing: entry.standing.subscribe(), entry };
        // Registered before it is checked, so that no change falls between the two
        if !pass.is_settled() {
            pass.entry.examine().await;
        }
        let standing = pass.standing()?;
        Some((pass, standing))
    }

    fn entry(&self, name: String, keys: Vec<String>, check: Box<dyn Check>) -> Arc<Entry> {
        let mut entries = self.0.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(&name).and_then(Weak::upgrade) {
            return entry;
        }
        let unknown = Standing::Sees(Sight::of([]));
        let entry = Arc::new(Entry {
            name: name.clone(),
            keys,
            check,
            standing: watch::Sender::new(unknown),
            wanted: AtomicU64::new(1),
            done: AtomicU64::new(0),
            passes: Arc::downgrade(&self.0),
        });
        entries.insert(name, Arc::downgrade(&entry));
        entry
    }

    /// Rights have changed: passes with one of these keys must be checked before anything more is sent on them.
    pub fn touch<K: AsRef<str>>(&self, keys: &[K]) {
        let concerned = |entry: &Entry| keys.iter().any(|key| entry.keys.iter().any(|own| own == key.as_ref()));
        self.mark(concerned);
    }

    /// The same for all passes.
    pub fn touch_all(&self) {
        self.mark(|_| true);
    }

    fn mark(&self, concerned: impl Fn(&Entry) -> bool) {
        let mut any = false;
        for entry in self.all() {
            if concerned(&entry) {
                entry.wanted.fetch_add(1, Ordering::SeqCst);
                any = true;
            }
        }
        if any {
            self.0.wake.notify_one();
        }
    }

    fn all(&self) -> Vec<Arc<Entry>> {
        let entries = self.0.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.values().filter_map(Weak::upgrade).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks passes that were touched, at once, and all of them every `interval`; until it is dropped.
    pub async fn keep(&self, interval: Duration) {
        let mut round = Instant::now() + interval;
        loop {
            if timeout_at(round, self.0.wake.notified()).await.is_err() {
                round = Instant::now() + interval;
                // Until they are checked nothing is sent: whoever cannot be checked for long sees nothing
                self.check_all(self.all(), |_| true).await;
            } else {
                self.check_all(self.all(), |entry| !entry.is_settled()).await;
            }
        }
    }

    async fn check_all(&self, entries: Vec<Arc<Entry>>, due: impl Fn(&Entry) -> bool) {
        let mut running = tokio::task::JoinSet::new();
        for entry in entries.into_iter().filter(|entry| due(entry)) {
            if running.len() >= AT_ONCE {
                running.join_next().await;
            }
            let passes = Arc::clone(&self.0);
            running.spawn(async move {
                if !entry.examine().await {
                    // Cannot be checked now: it is held back, and looked at again soon
                    entry.wanted.fetch_add(1, Ordering::SeqCst);
                    sleep(PAUSE).await;
                    passes.wake.notify_one();
                }
            });
        }
        while running.join_next().await.is_some() {}
    }
}

impl Entry {
    fn is_settled(&self) -> bool {
        self.done.load(Ordering::SeqCst) >= self.wanted.load(Ordering::SeqCst)
    }

    /// False where it cannot be checked.
    async fn examine(&self) -> bool {
        let wanted = self.wanted.load(Ordering::SeqCst);
        let Some(standing) = self.check.check().await else { return false };
        // Of two checks the one that began later counts
        let newer = self.done.fetch_max(wanted, Ordering::SeqCst) <= wanted;
        if newer {
            // Waiters are woken even where it is what it was: they wait for the check
            self.standing.send_replace(standing);
        }
        true
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(passes) = self.passes.upgrade() else { return };
        let mut entries = passes.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // Another of the same name may have taken its place
        if entries.get(&self.name).is_some_and(|entry| entry.strong_count() == 0) {
            entries.remove(&self.name);
        }
    }
}

impl Pass {
    /// What it is worth; `None` while it must be checked again.
    pub fn standing(&self) -> Option<Standing> {
        self.is_settled().then(|| self.standing.borrow().clone())
    }

    /// Whether it was checked since it was last touched.
    pub fn is_settled(&self) -> bool {
        self.entry.is_settled()
    }

    /// Waits until it was checked again.
    pub async fn checked(&mut self) {
        // The sender lives in the entry that we hold
        let _ = self.standing.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use kernel::AgentId;
    use tokio::time::{sleep, timeout};

    use super::{Check, Passes, Refusal, Standing};
    use crate::log::Boxed;
    use crate::sight::Sight;

    #[derive(Clone)]
    struct World(Arc<Shared>);

    struct Shared {
        standing: Mutex<Standing>,
        checks: AtomicUsize,
        broken: AtomicBool,
    }

    impl World {
        fn new() -> Self {
            let standing = Mutex::new(Standing::Sees(Sight::All));
            Self(Arc::new(Shared { standing, checks: AtomicUsize::new(0), broken: AtomicBool::new(false) }))
        }

        fn set(&self, standing: Standing) {
            *self.0.standing.lock().expect("not poisoned") = standing;
        }

        fn checks(&self) -> usize {
            self.0.checks.load(Ordering::SeqCst)
        }
    }

    impl Check for World {
        fn check(&self) -> Boxed<'_, Option<Standing>> {
            Box::pin(async {
                let now = self.0.standing.lock().expect("not poisoned").clone();
                sleep(Duration::from_millis(10)).await;
                self.0.checks.fetch_add(1, Ordering::SeqCst);
                (!self.0.broken.load(Ordering::SeqCst)).then_some(now)
            })
        }
    }

    fn ended() -> Standing {
        Standing::Ended(Refusal { code: "AUTH_TOKEN_REVOKED", message: "ended".into(), transient: false })
    }

    async fn started(world: &World) -> (Passes, super::Pass) {
        let passes = Passes::default();
        let keeper = passes.clone();
        tokio::spawn(async move { keeper.keep(Duration::from_secs(8)).await });
        let issued = passes.issue("token".into(), vec!["user_a".into()], Box::new(world.clone())).await;
        (passes, issued.expect("it can be checked").0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_touched_pass_is_worth_nothing_until_it_was_checked() {
        let world = World::new();
        let (passes, mut pass) = started(&world).await;
        assert_eq!(pass.standing(), Some(Standing::Sees(Sight::All)));
        pass.standing.mark_unchanged();
        world.set(Standing::Sees(Sight::of([AgentId(1)])));
        passes.touch(&["user_b"]);
        assert!(pass.is_settled(), "somebody else");
        passes.touch(&["user_b", "user_a"]);
        assert_eq!(pass.standing(), None);
        pass.checked().await;
        assert_eq!(pass.standing(), Some(Standing::Sees(Sight::of([AgentId(1)]))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_during_a_check_calls_for_another() {
        let world = World::new();
        let (passes, mut pass) = started(&world).await;
        pass.standing.mark_unchanged();
        passes.touch(&["user_a"]);
        // The check has read what was, and is under way
        sleep(Duration::from_millis(5)).await;
        world.set(ended());
        passes.touch(&["user_a"]);
        pass.checked().await;
        assert_eq!(pass.standing(), None, "what it saw may be out of date");
        pass.checked().await;
        assert_eq!(pass.standing(), Some(ended()));
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_checked_now_and_then() {
        let world = World::new();
        let (_passes, mut pass) = started(&world).await;
        pass.standing.mark_unchanged();
        world.set(ended());
        timeout(Duration::from_secs(9), pass.checked()).await.expect("within the interval");
        assert_eq!(pass.standing(), Some(ended()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_be_checked_is_held_back_until_they_can() {
        let world = World::new();
        let (_passes, pass) = started(&world).await;
        world.0.broken.store(true, Ordering::SeqCst);
        sleep(Duration::from_secs(9)).await;
        assert_eq!(pass.standing(), None);
        world.0.broken.store(false, Ordering::SeqCst);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(pass.standing(), Some(Standing::Sees(Sight::All)));
    }

    #[tokio::test(start_paused = true)]
    async fn connections_of_one_credential_share_its_checks() {
        let world = World::new();
        let (passes, first) = started(&world).await;
        let again = passes.issue("token".into(), vec![], Box::new(world.clone())).await.expect("checked");
        assert_eq!((passes.len(), world.checks()), (1, 1));
        passes.touch(&["user_a"]);
        sleep(Duration::from_millis(50)).await;
        assert_eq!(world.checks(), 2);
        drop((first, again));
        assert!(passes.is_empty());
    }
}
