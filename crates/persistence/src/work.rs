//! A unit of work: one write transaction and everything it must append when it commits.
//!
//! Journal entries, outbox events and audit records are collected while the work goes on and written at its end, because
//! the row that hands out their gapless numbers is locked last and for as short a time as possible. Either all of it
//! becomes durable with the change that caused it, or none of it happened.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kernel::{AgentId, AuditId, Entropy, Timestamp};
use ledger::{AccountKey, AgentBook, ChainHead, Entry};

use crate::StoreError;
use crate::audit::{AuditEntry, AuditRecord};
use crate::changes::{Changes, RightsOf, notification};
use crate::db::{Tx, args, statements};
use crate::durable::Durable;
use crate::engine::{StateRow, States, Warm};
use crate::facts::{OverallSums, OwnerSums, Series, SeriesCache, SeriesKey};
use crate::rows::Rows;

/// The pseudo-agent whose chain holds the entries of budgets above agents.
pub(crate) const SYSTEM_CHAIN: AgentId = AgentId(0);

statements! {
    ADVANCE_HEADS = "UPDATE heads SET journal_seq = journal_seq + $1, outbox_seq = outbox_seq + $2, \
        audit_seq = audit_seq + $3, directory_version = directory_version + $4 WHERE id = 1 \
        RETURNING journal_seq, outbox_seq, audit_seq, audit_hash";
    HOLD_HEADS = "SELECT id FROM heads WHERE id = 1 {for_update}";
    SET_AUDIT_HEAD = "UPDATE heads SET audit_hash = $1 WHERE id = 1";
    UPDATE_BOOKS = "UPDATE agent_books SET epoch = v.epoch, alive_since = v.alive_since, alive_until = v.alive_until, \
        chain_length = v.chain_length, chain_hash = v.chain_hash, state = v.state, open_leases = v.open_leases, \
        fact_at = v.fact_at FROM (SELECT {int 0} AS agent_id, {int 1} AS epoch, {int 2} AS alive_since, \
        {int 3} AS alive_until, {int 4} AS chain_length, {blob 5} AS chain_hash, {text 6} AS state, \
        {int 7} AS open_leases, {int 8} AS fact_at FROM {rows}) AS v \
        WHERE agent_books.agent_id = v.agent_id";
    INSERT_JOURNAL = "INSERT INTO journal (seq, kind, agent_id, lease_id, request_id, amount, accounts, available, \
        leased, suspense, spent, overrun, occurred_at, recorded_at, actor, reason, hash) \
        SELECT {int 0}, {text 1}, {int 2}, {text 3}, {text 4}, {int 5}, {text 6}, {int 7}, {int 8}, {int 9}, {int 10}, \
        {int 11}, {int 12}, {int 13}, {text 14}, {text 15}, {blob 16} FROM {rows}";
    INSERT_AUDIT = "INSERT INTO audit (seq, id, recorded_at, operation, resource_type, resource_id, user_id, user_role, \
        agent_id, ip_address, user_agent, request_id, before_state, after_state, metadata, prev_hash, hash) \
        SELECT {int 0}, {text 1}, {int 2}, {text 3}, {text 4}, {text 5}, {text 6}, {text 7}, {int 8}, {text 9}, {text 10}, \
        {text 11}, {text 12}, {text 13}, {text 14}, {blob 15}, {blob 16} FROM {rows}";
    NOTIFY_RIGHTS = "SELECT $1" | "SELECT pg_notify('iron_rights', $1)";
}

/// For the test of plans.
#[cfg(test)]
pub(crate) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![
        ("ADVANCE_HEADS", &*ADVANCE_HEADS),
        ("SET_AUDIT_HEAD", &*SET_AUDIT_HEAD),
        ("UPDATE_BOOKS", &*UPDATE_BOOKS),
        ("INSERT_JOURNAL", &*INSERT_JOURNAL),
        ("INSERT_AUDIT", &*INSERT_AUDIT),
    ]
}

/// An event for the live stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEvent {
    /// The agent it concerns, `None` for wider scopes.
    pub agent: Option<AgentId>,
    /// What happened, such as `lease_granted`.
    pub kind: &'static str,
    /// A JSON object.
    pub payload: String,
}

/// The ledger's row of an agent, its journal chain and its state, as loaded under lock.
#[derive(Clone, Debug)]
pub(crate) struct BookRow {
    pub(crate) book: AgentBook,
    pub(crate) chain: ChainHead,
    pub(crate) state: StateRow,
}

/// One write transaction. Dropped without [`Work::commit`], nothing of it happened.
pub struct Work {
    pub(crate) tx: Tx,
    pub(crate) now: Timestamp,
    /// The agents' books this work has locked.
    pub(crate) books: HashMap<AgentId, BookRow>,
    dirty: BTreeMap<AgentId, ()>,
    entries: Vec<Entry>,
    events: Vec<OutboxEvent>,
    audit: Vec<AuditRecord>,
    /// What is added to the sums over all agents.
    pub(crate) overall: OverallSums,
    /// What is added to those that tell owners apart.
    pub(crate) owners: OwnerSums,
    directory_changed: bool,
    /// Whose rights change.
    rights: BTreeSet<String>,
    /// Who is told when it is done.
    changes: Arc<Changes>,
    /// What becomes of the states of agents.
    pub(crate) states: States,
    /// Whose states are to be looked at afterwards.
    pub(crate) looks: BTreeSet<String>,
    /// What the commands of this work, or of the pipeline's batches before it, have touched.
    pub(crate) warm: Option<Warm>,
    /// Whether it is a batch of the pipeline on the embedded database; any other work loads what it touches each time,
    /// because its own statements change rows between its commands.
    pub(crate) keeps_warm: bool,
    /// The series of facts that are known without asking.
    pub(crate) series: Arc<SeriesCache>,
    /// Those that this work has found or made; known to all when it is committed.
    pub(crate) learned_series: Vec<(SeriesKey, Series)>,
}

/// Work that is committed and of which nobody may be told yet.
#[must_use]
pub(crate) struct Untold {
    durable: Durable,
    changes: Arc<Changes>,
    grown: bool,
    rights: BTreeSet<String>,
}

impl Untold {
    /// Waits until it is durable, and tells those who are told of commits.
    pub(crate) async fn tell(self) -> Result<(), StoreError> {
        self.durable.reached().await?;
        self.changes.committed(self.grown, self.rights);
        Ok(())
    }
}

impl Work {
    pub(crate) fn new(tx: Tx, now: Timestamp, series: Arc<SeriesCache>, changes: Arc<Changes>) -> Self {
        Self {
            tx,
            now,
            books: HashMap::new(),
            dirty: BTreeMap::new(),
            entries: Vec::new(),
            events: Vec::new(),
            audit: Vec::new(),
            overall: OverallSums::new(),
            owners: OwnerSums::new(),
            directory_changed: false,
            rights: BTreeSet::new(),
            changes,
            states: States::default(),
            looks: BTreeSet::new(),
            warm: None,
            keeps_warm: false,
            series,
            learned_series: Vec::new(),
        }
    }

    /// The instant this work counts as happening at.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Adds an audit record, written by the commit.
    pub fn audit(&mut self, record: AuditRecord) {
        self.audit.push(record);
    }

    /// Adds an event for the live stream, written by the commit.
    pub fn emit(&mut self, event: OutboxEvent) {
        self.events.push(event);
    }

    /// Says that agents, tokens, keys, assignments or freezes change: cached pictures of them end with the commit.
    pub fn directory_changes(&mut self) {
        self.directory_changed = true;
    }

    /// From here until this work ends nobody changes agents, tokens, keys, assignments or freezes. Everything else that the
    /// work locks it must have locked before: the heads come last.
    pub async fn hold_directory(&mut self) -> Result<(), StoreError> {
        self.tx.rows(&HOLD_HEADS, args![]).await.map(drop)
    }

    /// Says whose rights or credentials change: connections that live on them are looked at again with the commit.
    pub fn rights_change(&mut self, of: RightsOf<'_>) {
        self.rights.insert(of.key());
    }

    pub(crate) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.entries.extend(entries);
    }

    pub(crate) fn put_book(&mut self, book: AgentBook) {
        let id = book.id;
        if let Some(row) = self.books.get_mut(&id)
            && row.book != book
        {
            row.book = book;
            self.dirty.insert(id, ());
        }
    }

    /// Says that the state in a book that this work has locked is to be written.
    pub(crate) fn soil_book(&mut self, id: AgentId) {
        self.dirty.insert(id, ());
    }

    /// Writes what was collected and makes everything durable. When this returns, it is.
    pub async fn commit(self, entropy: &dyn Entropy) -> Result<(), StoreError> {
        self.commit_soon(entropy).await?.0.tell().await
    }

    /// As [`Work::commit`], but that it need not be durable yet; returns what was touched, as it is now.
    pub(crate) async fn commit_soon(mut self, entropy: &dyn Entropy) -> Result<(Untold, Option<Warm>), StoreError> {
        let grown = self.flush(entropy).await?;
        let warm = self.warm.take().map(|warm| warm.with_books(std::mem::take(&mut self.books)));
        let durable = self.tx.commit_soon().await?;
        self.series.learn(self.learned_series);
        Ok((Untold { durable, changes: self.changes, grown, rights: self.rights }, warm))
    }

    /// Returns whether the outbox grows.
    async fn flush(&mut self, entropy: &dyn Entropy) -> Result<bool, StoreError> {
        self.tell_states().await?;
        self.note_looks().await?;
        let grows = !self.events.is_empty();
        // Rights first: other servers are told of both in the order they are said here
        if !self.rights.is_empty() && self.tx.backend() == crate::Backend::Postgres {
            self.tx.rows(&NOTIFY_RIGHTS, args![notification(&self.rights)]).await?;
        }
        self.append_all(entropy).await?;
        Ok(grows)
    }

    async fn append_all(&mut self, entropy: &dyn Entropy) -> Result<(), StoreError> {
        let counts = [self.entries.len(), self.events.len(), self.audit.len(), usize::from(self.directory_changed)];
        if counts.iter().all(|n| *n == 0) {
            self.write_books().await?;
            return self.write_overall().await;
        }
        let [journal, outbox, audit, directory] = counts.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let head = self.tx.row(&ADVANCE_HEADS, args![journal, outbox, audit, directory]).await?;
        let head = head.ok_or_else(|| StoreError::Corrupt("the table of heads is empty".to_owned()))?;
        let (journal_end, outbox_end, audit_end) = (head.int(0)?, head.int(1)?, head.int(2)?);
        let audit_hash = head.hash(3)?;
        self.write_journal(journal_end - journal).await?;
        self.write_books().await?;
        let events = std::mem::take(&mut self.events);
        self.write_outbox(&events, outbox_end - outbox).await?;
        self.write_audit(audit_end - audit, audit_hash, entropy).await?;
        self.write_overall().await
    }

    async fn write_books(&mut self) -> Result<(), StoreError> {
        if self.dirty.is_empty() {
            return Ok(());
        }
        let mut rows = Rows::new();
        for id in std::mem::take(&mut self.dirty).into_keys() {
            let Some(BookRow { book, chain, state }) = self.books.get(&id) else { continue };
            let [since, until] = [book.alive_since, book.alive_until].map(Timestamp::millis);
            rows.row().int(id.0).int(book.epoch).int(since).int(until).int(chain.length).blob(&chain.hash);
            state.cells(&mut rows);
        }
        self.tx.run(&UPDATE_BOOKS, args![rows.finish()]).await.map(drop)
    }

    async fn write_journal(&mut self, mut seq: i64) -> Result<(), StoreError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let mut rows = Rows::new();
        for entry in std::mem::take(&mut self.entries) {
            seq += 1;
            let id = entry.agent.unwrap_or(SYSTEM_CHAIN);
            let book = self.books.get_mut(&id);
            let book = book.ok_or_else(|| StoreError::Corrupt(format!("the chain of agent {id} is not locked")))?;
            book.chain = book.chain.extended_by(&entry, seq);
            self.dirty.insert(id, ());
            let [available, leased, suspense, spent, overrun] = entry.delta.parts().map(kernel::Money::nanos);
            rows.row()
                .int(seq)
                .text(entry.kind.as_str())
                .opt_int(entry.agent.map(|a| a.0))
                .opt_text(entry.lease.as_ref().map(kernel::LeaseId::as_str))
                .opt_text(entry.request_id.as_deref())
                .int(entry.amount.nanos())
                .text(&accounts_to_text(&entry.accounts))
                .int(available)
                .int(leased)
                .int(suspense)
                .int(spent)
                .int(overrun)
                .int(entry.occurred_at.millis())
                .int(entry.recorded_at.millis())
                .text(&entry.actor.to_text())
                .opt_text(entry.reason.as_deref())
                .blob(&book.chain.hash);
        }
        self.tx.run(&INSERT_JOURNAL, args![rows.finish()]).await.map(drop)
    }

    async fn write_audit(&mut self, mut seq: i64, mut head: [u8; 32], entropy: &dyn Entropy) -> Result<(), StoreError> {
        if self.audit.is_empty() {
            return Ok(());
        }
        let mut rows = Rows::new();
        for record in std::mem::take(&mut self.audit) {
            seq += 1;
            let entry = AuditEntry::seal(record, seq, AuditId::random(entropy), self.now, head);
            head = entry.hash;
            rows.row()
                .int(seq)
                .text(entry.id.as_str())
                .int(entry.recorded_at.millis())
                .text(&entry.operation)
                .text(&entry.resource_type)
                .opt_text(entry.resource_id.as_deref())
                .opt_text(entry.actor.user.as_ref().map(kernel::UserId::as_str))
                .opt_text(entry.actor.role.as_deref())
                .opt_int(entry.actor.agent.map(|a| a.0))
                .opt_text(entry.actor.ip_address.as_deref())
                .opt_text(entry.actor.user_agent.as_deref())
                .opt_text(entry.actor.request_id.as_deref())
                .opt_text(entry.before.as_deref())
                .opt_text(entry.after.as_deref())
                .text(&entry.metadata)
                .blob(&entry.prev_hash)
                .blob(&entry.hash);
        }
        self.tx.run(&INSERT_AUDIT, args![rows.finish()]).await?;
        self.tx.run(&SET_AUDIT_HEAD, args![head.to_vec()]).await.map(drop)
    }
}

/// `<budget no>@<window start>`, comma-separated.
pub(crate) fn accounts_to_text(accounts: &[AccountKey]) -> String {
    let parts: Vec<String> = accounts.iter().map(|k| format!("{}@{}", k.budget, k.window_start.millis())).collect();
    parts.join(",")
}

/// Reads what [`accounts_to_text`] wrote.
pub(crate) fn accounts_from_text(text: &str) -> Result<Vec<AccountKey>, StoreError> {
    let read = |part: &str| {
        let (budget, start) = part.split_once('@')?;
        Some(AccountKey {
            budget: kernel::BudgetNo(budget.parse().ok()?),
            window_start: Timestamp::from_millis(start.parse().ok()?),
        })
    };
    let parts = text.split(',').filter(|part| !part.is_empty());
    let keys: Option<Vec<AccountKey>> = parts.map(read).collect();
    keys.ok_or_else(|| StoreError::Corrupt(format!("not a list of accounts: {text}")))
}
