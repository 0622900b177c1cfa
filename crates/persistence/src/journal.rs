//! Reading the journal. Entries are written by the commit of a [`Work`](crate::Work) and never change.

use std::collections::HashMap;
use std::sync::Arc;

use kernel::{AgentId, BudgetId, BudgetNo, LeaseId, Money, Timestamp, UserId};
use ledger::{AccountKey, Actor, Delta, Entry, EntryKind, Scope};

use crate::db::{Row, Value, args, statements};
use crate::filter::Filter;
use crate::listing::Visibility;
use crate::rows::Rows;
use crate::slice::{Order, SeqCursor, Slice};
use crate::work::{SYSTEM_CHAIN, accounts_from_text, accounts_to_text};
use crate::{Store, StoreError};

/// An entry of the journal as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Its place: 1, 2, 3 … without holes, in the order of the commits.
    pub seq: i64,
    /// The entry.
    pub entry: Entry,
    /// SHA-256 over the entry and the one before it in the chain of its agent.
    pub hash: [u8; 32],
    /// What it added to which amount of which account, account by account; amounts it left alone are not mentioned.
    pub postings: Vec<Posting>,
}

impl JournalEntry {
    /// `tx_<uuid>`: a name that follows from the entry's contents and place, as a UUID of version 8 (RFC 9562).
    pub fn tx_id(&self) -> String {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.hash[..16]);
        format!("tx_{}", uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

/// One amount of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Whose money.
    pub scope: Scope,
    /// Under which budget, which may have been deleted since.
    pub budget: BudgetId,
    /// The first instant of its window.
    pub window_start: Timestamp,
    /// `available`, `leased`, `suspense`, `spent` or `overrun`. What was spent beyond a grant stands under `overrun` and
    /// not under `spent`.
    pub account: &'static str,
    /// What was added; never zero.
    pub delta: Money,
}

/// The amounts of an account, in the order of [`Delta::parts`].
pub(crate) const PARTS: [&str; 5] = ["available", "leased", "suspense", "spent", "overrun"];

/// Which entries. Conditions that are not given do not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalFilter {
    /// Whose eyes it is for: entries of agents that they own now.
    pub visible_to: Visibility,
    /// Of this agent.
    pub agent: Option<AgentId>,
    /// About this lease.
    pub lease: Option<LeaseId>,
    /// Of one of these kinds.
    pub kinds: Vec<EntryKind>,
    /// Recorded at or after this.
    pub from: Option<Timestamp>,
    /// Recorded before this.
    pub to: Option<Timestamp>,
    /// Which end first.
    pub order: Order,
}

/// What [`entry_from_row`] reads, from `journal AS j`.
pub(crate) const ENTRY_COLUMNS: &str = "j.seq, j.kind, j.agent_id, j.lease_id, j.request_id, j.amount, j.accounts, \
    j.available, j.leased, j.suspense, j.spent, j.overrun, j.occurred_at, j.recorded_at, j.actor, j.reason, j.hash";

statements! {
    NAMES = "SELECT no, id, scope_key FROM budgets WHERE no IN (SELECT {int 0} FROM {rows})";
}

impl Store {
    /// The entries by their place, at most `limit` after the cursor.
    pub async fn journal(
        &self,
        wanted: &JournalFilter,
        after: Option<SeqCursor>,
        limit: u32,
    ) -> Result<Slice<JournalEntry, SeqCursor>, StoreError> {
        let (sql, args) = list_question(wanted, after, limit);
        let rows = self.db.rows_of(sql, args).await?;
        let entries = rows.iter().map(entry_from_row).collect::<Result<Vec<Recorded>, StoreError>>()?;
        let slice = Slice::cut(entries, limit, |recorded| SeqCursor(recorded.seq));
        Ok(Slice { rows: self.with_postings(slice.rows).await?, next: slice.next })
    }

    async fn with_postings(&self, entries: Vec<Recorded>) -> Result<Vec<JournalEntry>, StoreError> {
        let mut numbers: Vec<BudgetNo> = entries.iter().flat_map(|e| &e.entry.accounts).map(|key| key.budget).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut rows = Rows::new();
        for no in &numbers {
            rows.row().int(no.0);
        }
        let mut names: HashMap<BudgetNo, (BudgetId, Scope)> = HashMap::with_capacity(numbers.len());
        for row in self.db.rows(&NAMES, args![rows.finish()]).await? {
            let scope = Scope::from_key(&row.text(2)?);
            let scope = scope.ok_or_else(|| StoreError::Corrupt("a budget has an unreadable scope".to_owned()))?;
            names.insert(BudgetNo(row.int(0)?), (BudgetId::new(row.text(1)?), scope));
        }
        let expand = |recorded: Recorded| {
            let mut postings = Vec::new();
            for key in &recorded.entry.accounts {
                let name = names.get(&key.budget);
                let (budget, scope) =
                    name.ok_or_else(|| StoreError::Corrupt(format!("entry {} names no budget", recorded.seq)))?;
                postings.extend(postings_on(key, budget, scope, &recorded.entry.delta));
            }
            Ok(JournalEntry { seq: recorded.seq, entry: recorded.entry, hash: recorded.hash, postings })
        };
        entries.into_iter().map(expand).collect()
    }
}

/// The question for a stretch of the journal, and one entry more.
pub(crate) fn list_question(wanted: &JournalFilter, after: Option<SeqCursor>, limit: u32) -> (Arc<str>, Vec<Value>) {
    let mut filter = Filter::default();
    filter.and_if("j.agent_id IN (SELECT own.id FROM agents AS own WHERE own.owner_id = ?)", wanted.visible_to.user());
    filter.and_if("j.agent_id = ?", wanted.agent.map(|agent| agent.0));
    filter.and_if("j.lease_id = ?", wanted.lease.as_ref().map(LeaseId::as_str));
    filter.and_one_of("j.kind", wanted.kinds.iter().map(|kind| kind.as_str()));
    filter.and_if("j.recorded_at >= ?", wanted.from).and_if("j.recorded_at < ?", wanted.to);
    let (beyond, tail) = match wanted.order {
        Order::Ascending => ("j.seq > ?", " ORDER BY j.seq LIMIT ?"),
        Order::Descending => ("j.seq < ?", " ORDER BY j.seq DESC LIMIT ?"),
    };
    filter.and_if(beyond, after.map(|cursor| cursor.0));
    let head = format!("SELECT {ENTRY_COLUMNS} FROM journal AS j");
    filter.statement(&head, tail, [(i64::from(limit) + 1).into()])
}

fn postings_on<'a>(
    key: &'a AccountKey,
    budget: &'a BudgetId,
    scope: &'a Scope,
    delta: &Delta,
) -> impl Iterator<Item = Posting> + use<'a> {
    let parts = PARTS.into_iter().zip(delta.parts()).filter(|(_, delta)| !delta.is_zero());
    parts.map(|(account, delta)| Posting {
        scope: scope.clone(),
        budget: budget.clone(),
        window_start: key.window_start,
        account,
        delta,
    })
}

/// An entry and its place, without the names of its budgets.
pub(crate) struct Recorded {
    pub(crate) seq: i64,
    pub(crate) entry: Entry,
    pub(crate) hash: [u8; 32],
}

/// Reads [`ENTRY_COLUMNS`]. What it accepts it also writes the same way, so that a text that merely *means* the same as
/// the one that was hashed counts as unreadable.
pub(crate) fn entry_from_row(row: &Row) -> Result<Recorded, StoreError> {
    let seq = row.int(0)?;
    let corrupt = |what: &str| StoreError::Corrupt(format!("entry {seq} of the journal has an unreadable {what}"));
    let accounts = row.text(6)?;
    let keys = accounts_from_text(&accounts).ok().filter(|keys| accounts_to_text(keys) == accounts);
    let agent = row.opt_int(2)?.map(AgentId);
    if agent == Some(SYSTEM_CHAIN) {
        // Hashed like no agent at all, and never written
        return Err(corrupt("agent"));
    }
    let entry = Entry {
        kind: EntryKind::parse(&row.text(1)?).ok_or_else(|| corrupt("kind"))?,
        agent,
        lease: row.opt_text(3)?.map(LeaseId::new),
        request_id: row.opt_text(4)?,
        amount: row.money(5)?,
        accounts: keys.ok_or_else(|| corrupt("list of accounts"))?,
        delta: Delta {
            available: row.money(7)?,
            leased: row.money(8)?,
            suspense: row.money(9)?,
            spent: row.money(10)?,
            overrun: row.money(11)?,
        },
        occurred_at: row.time(12)?,
        recorded_at: row.time(13)?,
        actor: actor_from_text(row.text(14)?),
        reason: row.opt_text(15)?,
    };
    Ok(Recorded { seq, entry, hash: row.hash(16)? })
}

/// Reads what [`Actor::to_text`] wrote.
fn actor_from_text(text: String) -> Actor {
    let agent = text.strip_prefix("agent_").and_then(|_| AgentId::parse(&text));
    match agent {
        _ if text == "system" => Actor::System,
        Some(agent) if agent.prefixed() == text => Actor::Agent(agent),
        _ => Actor::User(UserId::new(text)),
    }
}

#[cfg(test)]
mod tests {
    use kernel::{AgentId, UserId};
    use ledger::Actor;

    use super::actor_from_text;

    #[test]
    fn actors_are_read_as_they_were_written() {
        for actor in [Actor::System, Actor::Agent(AgentId(7)), Actor::User(UserId::new("user_1"))] {
            assert_eq!(actor_from_text(actor.to_text()), actor);
        }
        assert_eq!(actor_from_text("agent_007".to_owned()).to_text(), "agent_007", "an imported user of that name");
    }
}
