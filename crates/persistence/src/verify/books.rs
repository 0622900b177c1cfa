//! Comparing chains, caps and accounts with what the journal adds up to.

use std::collections::{BTreeMap, HashMap};

use kernel::{AgentId, BudgetNo, Money};
use ledger::{AccountKey, Budget, ChainHead};

use super::{Check, Problem, ProblemKind};
use crate::StoreError;
use crate::budgets::account_from_row;
use crate::db::{args, statements};
use crate::engine::budget_from_row;

/// How many rows are read at a time.
const CHUNK: i64 = 2_000;

statements! {
    BOOKS = "SELECT agent_id, chain_length, chain_hash FROM agent_books WHERE agent_id > $1 ORDER BY agent_id LIMIT $2";
    BUDGETS = "SELECT no, scope_key, cap, budget_window, time_zone, enabled, opened_window FROM budgets WHERE no > $1 \
        ORDER BY no LIMIT $2";
    ACCOUNTS = "SELECT budget_no, window_start, spent, leased, suspense, overrun FROM accounts \
        WHERE (budget_no, window_start) > ($1, $2) ORDER BY budget_no, window_start LIMIT $3";
}

/// For the test of plans.
#[cfg(test)]
pub(crate) fn stretch_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![("BOOKS", &*BOOKS), ("BUDGETS", &*BUDGETS), ("ACCOUNTS", &*ACCOUNTS)]
}

impl Check {
    pub(super) async fn compare_chains(&mut self, mut chains: HashMap<AgentId, ChainHead>) -> Result<(), StoreError> {
        let mut last = i64::MIN;
        loop {
            let rows = self.tx.rows(&BOOKS, args![last, CHUNK]).await?;
            let Some(newest) = rows.last() else { break };
            last = newest.int(0)?;
            for row in &rows {
                self.found.agents += 1;
                let agent = AgentId(row.int(0)?);
                let stored = ChainHead { length: row.int(1)?, hash: row.hash(2)? };
                let read = chains.remove(&agent).unwrap_or(ChainHead::EMPTY);
                if stored != read {
                    let what = if stored.length == read.length { "another hash" } else { "another length" };
                    let text = format!(
                        "the chain has {} entries; the agent's book says {} and has {what} at its end",
                        read.length, stored.length
                    );
                    self.found.add(Problem::new(ProblemKind::Head, text).of_agent(agent));
                }
            }
        }
        let mut left: Vec<AgentId> = chains.into_keys().collect();
        left.sort_unstable();
        for agent in left {
            let problem = Problem::new(ProblemKind::Head, "there are entries of an agent that has no book");
            self.found.add(problem.of_agent(agent));
        }
        Ok(())
    }

    /// Returns the budgets, ended ones included.
    pub(super) async fn compare_budgets(
        &mut self,
        mut caps: BTreeMap<BudgetNo, i128>,
    ) -> Result<HashMap<BudgetNo, Budget>, StoreError> {
        let mut budgets = HashMap::new();
        let mut last = i64::MIN;
        loop {
            let rows = self.tx.rows(&BUDGETS, args![last, CHUNK]).await?;
            let Some(newest) = rows.last() else { break };
            last = newest.int(0)?;
            for row in &rows {
                self.found.budgets += 1;
                let no = BudgetNo(row.int(0)?);
                let recorded = caps.remove(&no).unwrap_or(0);
                let stored = row.int(2)?;
                if i128::from(stored) != recorded {
                    let text = format!("the cap is {stored} nano-dollars; its changes add up to {recorded}");
                    self.found.add(Problem::new(ProblemKind::Budget, text).of_budget(no));
                }
                match budget_from_row(row) {
                    Ok(budget) => {
                        budgets.insert(no, budget);
                    }
                    Err(error) => {
                        self.found.add(Problem::new(ProblemKind::Budget, error.to_string()).of_budget(no));
                    }
                }
            }
        }
        for no in caps.into_keys() {
            let problem = Problem::new(ProblemKind::Budget, "there are entries of a budget that does not exist");
            self.found.add(problem.of_budget(no));
        }
        Ok(budgets)
    }

    pub(super) async fn compare_accounts(
        &mut self,
        mut accounts: BTreeMap<AccountKey, [i128; 4]>,
    ) -> Result<(), StoreError> {
        let (mut budget, mut start) = (i64::MIN, i64::MIN);
        loop {
            let rows = self.tx.rows(&ACCOUNTS, args![budget, start, CHUNK]).await?;
            let Some(newest) = rows.last() else { break };
            (budget, start) = (newest.int(0)?, newest.int(1)?);
            for row in &rows {
                self.found.accounts += 1;
                let (key, account) = account_from_row(row)?;
                let posted = accounts.remove(&key).unwrap_or_default();
                let stored = [account.spent, account.leased, account.suspense, account.overrun];
                self.compare_account(key, stored, posted);
            }
        }
        for (key, posted) in accounts {
            if posted != [0; 4] {
                let problem =
                    Problem::new(ProblemKind::Account, "there are postings on an account that does not exist");
                self.found.add(problem.of_account(key));
            }
        }
        Ok(())
    }

    fn compare_account(&mut self, key: AccountKey, stored: [Money; 4], posted: [i128; 4]) {
        let parts = ["spent", "leased", "suspense", "overrun"].into_iter().zip(stored).zip(posted);
        let wrong: Vec<String> = parts
            .filter(|((_, stored), posted)| i128::from(stored.nanos()) != *posted)
            .map(|((name, stored), posted)| format!("{name} is {}, its postings add up to {posted}", stored.nanos()))
            .collect();
        if !wrong.is_empty() {
            let text = format!("in nano-dollars: {}", wrong.join("; "));
            self.found.add(Problem::new(ProblemKind::Account, text).of_account(key));
        }
    }
}
