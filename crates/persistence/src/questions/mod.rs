//! Questions about facts (§12): what they add up to, along which dimensions, in which stretches of time.
//!
//! [`Store::inquire`] opens an [`Inquiry`]: any number of questions about one and the same state of the database. Ranges are
//! put together from roll-ups by [`analytics::pieces`], so an answer costs as much as it has buckets and groups; only less
//! than a quarter of an hour at each end of a range is read fact by fact.
//!
//! What is asked of providers, models and outcomes alone, of everybody, is answered from sums over all agents
//! (`rollup_overall`), what is asked of agents alone from sums of each agent (`rollup_agents`), and what else does not tell
//! agents apart, as far as hours are folded, from sums by owner, project and key (`rollup_owners`); all are kept beside
//! the roll-ups.
//!
//! Who may not see everything sees the facts of agents they own now; a filter narrows that further and never widens it.

mod failures;
mod list;
mod page;
mod spread;
mod sums;
mod text;

use analytics::{CallStatus, Dimension, Folded, Level};
use kernel::{AgentId, ProjectId, ProviderKeyId, Timestamp, UserId};

use crate::db::{Tx, args, statements};
use crate::listing::Visibility;
use crate::{Store, StoreError};

pub use failures::Failure;
pub use list::ListedFact;
pub use page::{GroupCursor, GroupPage};
pub use spread::{CostSpread, LatencySpread};
pub use sums::{Group, Key};

/// Which facts. What is not given does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuestionFilter {
    /// Whose eyes it is for.
    pub visible_to: Visibility,
    /// Of one of these agents.
    pub agents: Vec<AgentId>,
    /// Of agents that then belonged to one of these.
    pub owners: Vec<UserId>,
    /// Of agents that then were in one of these projects.
    pub projects: Vec<ProjectId>,
    /// Through one of these kinds of provider.
    pub providers: Vec<String>,
    /// Through one of these provider keys.
    pub provider_keys: Vec<ProviderKeyId>,
    /// On one of these models.
    pub models: Vec<String>,
    /// With this outcome.
    pub status: Option<CallStatus>,
}

impl QuestionFilter {
    /// The same with this outcome; nothing where another one was asked for.
    pub fn with_status(&self, status: CallStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }
}

/// Questions about one state of the database.
pub struct Inquiry {
    tx: Tx,
    now: Timestamp,
    folded: Folded,
    /// The last fact that is in the sketches.
    sketched: i64,
    /// Facts before this time are not kept any more.
    facts_from: Timestamp,
}

statements! {
    FOLDED = "SELECT r.hours_until, r.days_until, r.months_until, k.fact, r.facts_from \
        FROM rollup_head AS r CROSS JOIN sketch_head AS k WHERE r.id = 1 AND k.id = 1";
    /// Quarters of an hour are always complete.
    FIRST = "SELECT MIN(bucket_start) FROM rollups WHERE level = 0";
}

impl Store {
    /// Begins to ask at the time `now`; what is committed later is not seen.
    pub async fn inquire(&self, now: Timestamp) -> Result<Inquiry, StoreError> {
        let mut tx = self.db.begin_read().await?;
        let row = tx.row(&FOLDED, args![]).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt("the roll-ups have no head".to_owned()))?;
        let folded = Folded { hours: row.time(0)?, days: row.time(1)?, months: row.time(2)? };
        Ok(Inquiry { tx, now, folded, sketched: row.int(3)?, facts_from: row.time(4)? })
    }
}

impl Inquiry {
    /// The time of the questions.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The beginning of the quarter of an hour that the first fact of all lies in; `None` without facts.
    pub async fn first_fact(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let row = self.tx.row(&FIRST, args![]).await?;
        row.map_or(Ok(None), |row| row.opt_time(0))
    }
}

impl Inquiry {
    /// The range; an end that lies where facts are not kept any more moves on to the end of the cell it lies in, so that a
    /// cell belongs to the range it begins in.
    fn kept(&self, (from, to): (Timestamp, Timestamp), level: Level) -> (Timestamp, Timestamp) {
        let kept = |at: Timestamp| if at < self.facts_from { level.ceil(at) } else { at };
        (kept(from), kept(to))
    }
}

/// The column of a dimension, of `series AS s`.
const fn column(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Agent => "s.agent_id",
        Dimension::Owner => "s.owner_id",
        Dimension::Project => "s.project_id",
        Dimension::Provider => "s.provider",
        Dimension::ProviderKey => "s.provider_key_id",
        Dimension::Model => "s.model",
        Dimension::Status => "s.status",
    }
}

/// For the test of plans: the texts of a question's statements for the embedded database.
#[cfg(test)]
pub(crate) fn questions() -> Vec<(&'static str, std::sync::Arc<str>)> {
    let all = QuestionFilter::default();
    let own = QuestionFilter { visible_to: Visibility::Of(UserId::new("user_1")), ..all.clone() };
    let mut found = Vec::new();
    for filter in [&all, &own] {
        found.extend(sums::questions(filter));
        found.extend(spread::questions(filter));
        found.push(failures::question_for_plans(filter));
        found.extend(list::questions(filter));
    }
    found
}
