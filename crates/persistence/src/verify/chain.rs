//! Reading the journal from its first entry to its last.

use std::collections::{BTreeMap, HashMap};

use kernel::{AgentId, BudgetNo};
use ledger::{AccountKey, ChainHead, Entry, EntryKind};

use super::{Check, Problem, ProblemKind};
use crate::StoreError;
use crate::db::{Row, args, statements};
use crate::filter::Filter;
use crate::journal::{ENTRY_COLUMNS, Recorded, entry_from_row};
use crate::work::SYSTEM_CHAIN;

/// How many entries are read at a time.
const CHUNK: i64 = 2_000;

statements! {
    HEAD = "SELECT journal_seq FROM heads WHERE id = 1";
}

/// What the entries add up to. Sums are wider than the books, so that a forged amount cannot make the check itself fail.
#[derive(Default)]
pub(super) struct Sums {
    /// Where each chain ends.
    pub(super) chains: HashMap<AgentId, ChainHead>,
    /// Spent, leased, suspense and overrun of each account.
    pub(super) accounts: BTreeMap<AccountKey, [i128; 4]>,
    /// The cap of each budget.
    pub(super) caps: BTreeMap<BudgetNo, i128>,
}

impl Check {
    pub(super) async fn read_journal(&mut self) -> Result<Sums, StoreError> {
        let row = self.tx.row(&HEAD, args![]).await?;
        let end = row.map(|row| row.int(0)).transpose()?.unwrap_or(0);
        let mut sums = Sums::default();
        let (mut expected, mut last) = (1, i64::MIN);
        loop {
            let mut filter = Filter::default();
            filter.and("j.seq > ?", [last.into()]);
            let head = format!("SELECT {ENTRY_COLUMNS} FROM journal AS j");
            let (sql, args) = filter.statement(&head, " ORDER BY j.seq LIMIT ?", [CHUNK.into()]);
            let rows = self.tx.rows_of(sql, args).await?;
            let Some(newest) = rows.last() else { break };
            last = newest.int(0)?;
            for row in &rows {
                let seq = row.int(0)?;
                self.found.entries += 1;
                self.check_place(seq, expected, end);
                expected = expected.max(seq.saturating_add(1));
                self.check_entry(row, seq, &mut sums)?;
            }
        }
        if expected <= end {
            let text = format!("the journal ends at {}, its head says {end}", expected - 1);
            self.found.add(Problem::new(ProblemKind::Sequence, text).at(expected));
        }
        Ok(sums)
    }

    fn check_place(&mut self, seq: i64, expected: i64, end: i64) {
        let problem = if seq < expected {
            Problem::new(ProblemKind::Sequence, "the entry stands before the first").at(seq)
        } else if seq > end {
            Problem::new(ProblemKind::Sequence, format!("the entry stands beyond the head, {end}")).at(seq)
        } else if seq > expected {
            Problem::new(ProblemKind::Sequence, format!("missing: the next entry is {seq}")).at(expected)
        } else {
            return;
        };
        self.found.add(problem);
    }

    fn check_entry(&mut self, row: &Row, seq: i64, sums: &mut Sums) -> Result<(), StoreError> {
        let agent = row.opt_int(2)?.map_or(SYSTEM_CHAIN, AgentId);
        let chain = sums.chains.entry(agent).or_insert(ChainHead::EMPTY);
        let recorded = match entry_from_row(row) {
            Ok(recorded) => recorded,
            Err(error) => {
                // The chain goes on from what the entry claims, so that only this one is called bad
                let hash = row.hash(16).unwrap_or(chain.hash);
                *chain = ChainHead { length: chain.length + 1, hash };
                let problem = Problem::new(ProblemKind::Unreadable, error.to_string());
                self.found.add(problem.at(seq).of_agent(agent));
                return Ok(());
            }
        };
        let Recorded { entry, hash, .. } = recorded;
        let right = chain.extended_by(&entry, seq);
        if right.hash != hash {
            let text = "the hash is not that of the contents and the entry before it in the agent's chain";
            self.found.add(Problem::new(ProblemKind::Hash, text).at(seq).of_agent(agent));
        }
        *chain = ChainHead { hash, ..right };
        self.add_up(&entry, seq, sums);
        Ok(())
    }

    fn add_up(&mut self, entry: &Entry, seq: i64, sums: &mut Sums) {
        let [available, leased, suspense, spent, overrun] = entry.delta.parts().map(|part| i128::from(part.nanos()));
        let total = available + leased + suspense + spent + overrun;
        let changes_cap = matches!(entry.kind, EntryKind::Allocate | EntryKind::Adjust);
        let right = if changes_cap { i128::from(entry.amount.nanos()) } else { 0 };
        if total != right {
            let text = format!("the parts add up to {total} nano-dollars instead of {right}");
            self.found.add(Problem::new(ProblemKind::Sum, text).at(seq));
        }
        for key in &entry.accounts {
            let account = sums.accounts.entry(*key).or_default();
            for (slot, part) in account.iter_mut().zip([spent + overrun, leased, suspense, overrun]) {
                *slot += part;
            }
            if changes_cap {
                *sums.caps.entry(key.budget).or_default() += total;
            }
        }
    }
}
