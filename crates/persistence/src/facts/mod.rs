//! Facts: one for each LLM request (§12), and what is added up of them.
//!
//! | table | what it holds |
//! |---|---|
//! | `series` | the dimension of facts and roll-ups: agent, owner, project, provider, provider key, model, status. Few rows, never changed |
//! | `facts` | a narrow row for each request; its number is that of the trace (§15) and never used again |
//! | `fact_ids` | the names a fact goes by, for dedupe and for the meeting of an event with the report of the same call |
//! | `fact_extras` | what few facts have: errors, trace ids, tags, … |
//! | `rollups` | sums over the facts of a series in a quarter of an hour, an hour, a day, a month (of UTC) |
//! | `rollup_overall`, `rollup_agents` | sums of those over several series, for what is asked of all agents or of agents as a whole |
//! | `rollup_owners` | sums over all agents of what is folded, for what else is asked without telling agents apart |
//! | `rollup_sketches` | how cost and latency are distributed, for quantiles |
//! | `rollup_head` | how far the coarser levels are |
//! | `sketch_head`, `sketch_changes` | how far the sketches are, and what changed of facts that may be in them |
//!
//! # How they come about
//! Events ([`Item::event`]) and reports run through the [`Pipeline`](crate::Pipeline). What a fact adds to the quarter of
//! an hour it lies in is written in its own transaction, so sums and counts are right at any time. Coarser levels are
//! *folded* from finer ones when their time is over; a late fact goes to every level that is folded already. So live
//! traffic touches one cell for each series, and a question over a long range still reads few rows. Which rows make up a
//! range is said by [`analytics::pieces`] with [`Store::folded`](crate::Store::folded).
//!
//! The sums over several series have two levels more: a day that is not over as far as its hours are folded, and a month as
//! far as its days are. A range that reaches to the present takes one of each in the place of many. Only `rollup_owners` has
//! neither these nor quarters of hours that are not folded: it has so many rows that live traffic would pay for them. It has
//! sums over half an hour and three, six and twelve hours instead, because a question reads many of its rows for each day
//! of a zone whose days are not those of UTC.
//!
//! # Names that stand for nothing
//! A fact without a project has an empty `project_id` in its series, one without a known provider key the key 0.
//!
//! # What a report says of tokens
//! A report gives one number and not which way the tokens went: they count as input until the event of the same call
//! says more.

mod calls;
mod cells;
mod check;
mod check_sums;
mod fold;
mod load;
mod names;
mod read;
mod record;
mod retention;
mod series;
mod sketches;
mod sums;

use analytics::{CallStatus, Level};
use kernel::{AgentId, LeaseId, ProviderKeyId, Timestamp};
use ledger::{Command, Spending};

use crate::{Extra, Item};

/// There are several of these lookups for each event. Seeded at random, like those of the standard library.
type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
type HashSet<K> = std::collections::HashSet<K, foldhash::fast::RandomState>;

pub(crate) use calls::Calls;
pub use check::{RollupCheck, WrongCell};
pub use fold::{Fold, Folding};
pub(crate) use names::hash_of;
pub use read::ScopeSums;
pub use retention::FACTS_KEPT_AT_LEAST_MS;
pub(crate) use series::{Series, SeriesCache, SeriesKey};
pub use sketches::SketchStep;
pub(crate) use sums::{OverallSums, OwnerSums};

/// The index by time has facts in slots of so many milliseconds (`occurred_at / 10000`), and those of a slot as they came.
/// By the time itself, every fact of a batch would go to a page of its own: calls of many agents are told of in no order.
/// So a question says which slots it is about, and which times.
pub(crate) const SLOT_MS: i64 = 10_000;

/// The slot of an instant.
pub(crate) const fn slot(at: Timestamp) -> i64 {
    at.millis() / SLOT_MS
}

/// For the test of plans.
#[cfg(test)]
pub(crate) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    let parts = [
        read::hot_statements(),
        series::hot_statements(),
        load::hot_statements(),
        record::hot_statements(),
        cells::hot_statements(),
        sums::hot_statements(),
        sketches::hot_statements(),
        fold::hot_statements(),
        check::hot_statements(),
        retention::hot_statements(),
    ];
    parts.concat()
}

/// The level, in the sums over several series, of a day as far as its hours are folded.
pub(crate) const DAY_SO_FAR: i64 = 11;
/// The level there of a month as far as its days are.
pub(crate) const MONTH_SO_FAR: i64 = 12;

/// Where a cell of this level adds to a longer one that is not over: its level, and its beginning.
pub(crate) fn so_far(level: Level, start: Timestamp) -> Option<(i64, Timestamp)> {
    match level {
        Level::Hour => Some((DAY_SO_FAR, Level::Day.floor(start))),
        Level::Day => Some((MONTH_SO_FAR, Level::Month.floor(start))),
        Level::Quarter | Level::Month => None,
    }
}

/// Sums of owners over several cells at once, as far as hours are folded: days of zones that are not whole hours from UTC
/// are made of such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Their level.
    pub(crate) number: i64,
    /// How long they are, milliseconds.
    pub(crate) length: i64,
    /// The cells they are made of.
    pub(crate) of: Level,
}

/// From long to short.
pub(crate) const STRETCHES: [Stretch; 4] = [
    Stretch { number: 24, length: 12 * 3_600_000, of: Level::Hour },
    Stretch { number: 23, length: 6 * 3_600_000, of: Level::Hour },
    Stretch { number: 22, length: 3 * 3_600_000, of: Level::Hour },
    Stretch { number: 21, length: 2 * 900_000, of: Level::Quarter },
];

impl Stretch {
    /// The beginning of the one that `at` lies in.
    pub(crate) fn floor(&self, at: Timestamp) -> Timestamp {
        Timestamp::from_millis(at.millis() - at.millis().rem_euclid(self.length))
    }
}

/// Bits of `facts.flags`.
pub mod flag {
    /// An event told of the call.
    pub const EVENT: i64 = 1;
    /// A report told of it.
    pub const REPORT: i64 = 2;
    /// It failed; what is queried by index says `flags >= 4`.
    pub const FAILED: i64 = 4;
}

/// What told of a call: `event`, `report` or `both`, from `facts.flags`.
pub const fn source_of(flags: i64) -> &'static str {
    match flags & (flag::EVENT | flag::REPORT) {
        flag::EVENT => "event",
        flag::REPORT => "report",
        _ => "both",
    }
}

/// What an event says of a call, beside what its command does: see [`Item::event`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFacts {
    /// How it ended.
    pub status: CallStatus,
    /// The model, 1–200 characters.
    pub model: String,
    /// The provider, a slug.
    pub provider: String,
    /// The provider key, where the event names one that the agent has. Without it, that of the lease is taken.
    pub provider_key: Option<ProviderKeyId>,
    /// Tokens in, 0…10⁹.
    pub input_tokens: i64,
    /// Tokens out, 0…10⁹.
    pub output_tokens: i64,
    /// How long it took, milliseconds.
    pub latency_ms: Option<i64>,
    /// The id under which the same call is reported, where it is another than the event's own.
    pub request_id: Option<String>,
    /// What few events say.
    pub more: Option<Box<EventMore>>,
}

/// What few events say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventMore {
    /// Why it failed, at most 64 characters.
    pub error_code: Option<String>,
    /// Why it failed, for people, at most 1000 characters.
    pub error_message: Option<String>,
    /// W3C trace id, 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// W3C span id, 16 hexadecimal digits.
    pub span_id: Option<String>,
    /// Of the tokens in, those that were read from the provider's cache.
    pub cached_tokens: Option<i64>,
    /// Of the tokens out, those spent on reasoning.
    pub reasoning_tokens: Option<i64>,
    /// A JSON object of texts.
    pub tags: Option<String>,
}

impl Item {
    /// An event of an agent. `spending` has the event's id, what it cost, and the client's own time, whatever that says: a
    /// time that is absurd counts as that of receipt, but does not name a lease.
    ///
    /// Answered with [`ledger::Outcome::Counted`]; `duplicate` where the agent's event of this id was counted before. One
    /// whose sums would leave the range of the books is refused as [`ledger::Rejection::AmountOverflow`]. Neither disturbs
    /// its neighbours.
    pub fn event(agent: AgentId, lease: Option<LeaseId>, spending: Spending, facts: EventFacts) -> Self {
        Self {
            command: Command::Event { agent, lease, item: spending },
            extra: Extra::Event(Box::new(facts)),
            directory_version: None,
            audit: None,
        }
    }
}
