//! Remembering settings for a moment.
//!
//! What is changed through this server is seen at once, what is changed through another one a moment later. Where the store
//! does not answer nothing is made up: what was set may be stricter than what is built in.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ::settings::{Overrides, Settings};
use kernel::{ProjectId, Timestamp};
use persistence::{SettingsOf, StoreError};

use super::or_master;
use crate::ApiState;

/// Milliseconds for which an answer is remembered.
const REMEMBERED_MS: i64 = 2_000;
/// How many answers are remembered; more are asked for again.
const MOST: usize = 1_000;

/// The answers.
#[derive(Default)]
pub(crate) struct SettingsCache(Mutex<Answers>);

#[derive(Default)]
struct Answers {
    /// Rises with every change: an answer that was asked for before it is not remembered.
    generation: u64,
    known: HashMap<SettingsOf, (Timestamp, Overrides)>,
}

impl SettingsCache {
    /// Forgets everything, after a change.
    pub(crate) fn forget(&self) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.generation += 1;
        answers.known.clear();
    }

    /// A young answer, or what to remember a new one under.
    fn look(&self, whose: &SettingsOf, now: Timestamp) -> Result<Overrides, u64> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let young = |at: Timestamp| (0..REMEMBERED_MS).contains(&(now.millis() - at.millis()));
        match answers.known.get(whose) {
            Some((at, overrides)) if young(*at) => Ok(overrides.clone()),
            _ => Err(answers.generation),
        }
    }

    fn remember(&self, generation: u64, whose: SettingsOf, at: Timestamp, overrides: Overrides) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.generation != generation {
            return;
        }
        if answers.known.len() >= MOST {
            answers.known.clear();
        }
        answers.known.insert(whose, (at, overrides));
    }
}

impl ApiState {
    /// The settings of a project, or where there is none (those of the project for the whole installation), at most two
    /// seconds old; those that were changed through this server are never old.
    ///
    /// # Errors
    /// If the store cannot be asked.
    pub async fn settings_of(&self, project: Option<&ProjectId>) -> Result<Settings, StoreError> {
        let system = self.overrides_of(SettingsOf::System).await?;
        let project = self.overrides_of(SettingsOf::Project(or_master(project))).await?;
        Ok(Settings::of_project(system, project))
    }

    async fn overrides_of(&self, whose: SettingsOf) -> Result<Overrides, StoreError> {
        let now = self.clock.now();
        let generation = match self.settings_cache().look(&whose, now) {
            Ok(known) => return Ok(known),
            Err(generation) => generation,
        };
        let overrides = self.store.settings_of(&whose).await?;
        self.settings_cache().remember(generation, whose, now, overrides.clone());
        Ok(overrides)
    }
}

#[cfg(test)]
mod tests {
    use ::settings::Overrides;
    use kernel::Timestamp;
    use persistence::SettingsOf;

    use super::{REMEMBERED_MS, SettingsCache};

    #[test]
    fn an_answer_is_remembered_for_a_moment_and_not_past_a_change() {
        let (cache, whose) = (SettingsCache::default(), SettingsOf::System);
        let at = |ms| Timestamp::from_millis(1_000_000 + ms);
        let generation = cache.look(&whose, at(0)).expect_err("nothing is known");
        cache.remember(generation, whose.clone(), at(0), Overrides::default());
        assert!(cache.look(&whose, at(REMEMBERED_MS - 1)).is_ok());
        assert!(cache.look(&whose, at(REMEMBERED_MS)).is_err());
        assert!(cache.look(&whose, at(-1)).is_err(), "a clock that was set back makes nothing young");
        cache.forget();
        cache.remember(generation, whose.clone(), at(0), Overrides::default());
        assert!(cache.look(&whose, at(0)).is_err(), "it was asked for before the change");
    }
}
