//! Comparing every lease with its entries and reports.

use std::collections::HashMap;
use std::sync::LazyLock;

use kernel::{BudgetNo, LeaseId, Money};
use ledger::{Budget, Lease};

use super::{Check, Problem, ProblemKind};
use crate::StoreError;
use crate::balance::{exact, exact_sum};
use crate::db::{Row, Sql, args, statements};
use crate::engine::{LEASE_COLUMNS, lease_from_row};
use crate::filter::Filter;
use crate::rows::Rows;
use crate::work::accounts_from_text;

/// How many leases are read at a time.
const CHUNK: i64 = 500;

statements! {
    WITHOUT_LEASE = "SELECT MIN(j.seq) FROM journal AS j WHERE j.lease_id IS NOT NULL \
        AND NOT EXISTS (SELECT 1 FROM leases AS l WHERE l.id = j.lease_id)";
}

/// What the journal says about each of some leases.
static POSTED: LazyLock<Sql> = LazyLock::new(|| {
    let sums = ["leased", "suspense", "spent", "overrun"].map(|part| exact_sum(&format!("j.{part}"))).join(", ");
    let granted = exact_sum("CASE WHEN j.kind = 'grant' THEN j.amount ELSE 0 END");
    Sql::new(&format!(
        "SELECT j.lease_id, CAST(SUM(CASE WHEN j.kind = 'grant' THEN 1 ELSE 0 END) AS BIGINT), \
         MIN(CASE WHEN j.kind = 'grant' THEN j.accounts END), MIN(j.agent_id), MAX(j.agent_id), MAX(j.seq), \
         {granted}, {sums} FROM journal AS j WHERE j.lease_id IN (SELECT {{text 0}} FROM {{rows}}) GROUP BY j.lease_id"
    ))
});

/// What the reports of each of some leases add up to.
static REPORTED: LazyLock<Sql> = LazyLock::new(|| {
    Sql::new(&format!(
        "SELECT p.lease_id, COUNT(*), {} FROM reports AS p \
         WHERE p.lease_id IN (SELECT {{text 0}} FROM {{rows}}) GROUP BY p.lease_id",
        exact_sum("p.cost")
    ))
});

/// For the test of plans.
#[cfg(test)]
pub(crate) fn by_lease_statements() -> Vec<(&'static str, &'static Sql)> {
    vec![("POSTED", &*POSTED), ("REPORTED", &*REPORTED)]
}

impl Check {
    pub(super) async fn compare_leases(&mut self, budgets: &HashMap<BudgetNo, Budget>) -> Result<(), StoreError> {
        let mut last = String::new();
        loop {
            let mut filter = Filter::default();
            filter.and("l.id > ?", [last.as_str().into()]);
            let head = format!("SELECT {LEASE_COLUMNS} FROM leases AS l");
            let (sql, args) = filter.statement(&head, " ORDER BY l.id LIMIT ?", [CHUNK.into()]);
            let rows = self.tx.rows_of(sql, args).await?;
            let Some(newest) = rows.last() else { break };
            last = newest.text(0)?;
            self.compare_chunk(&rows, budgets).await?;
        }
        let row = self.tx.row(&WITHOUT_LEASE, args![]).await?;
        if let Some(seq) = row.map(|row| row.opt_int(0)).transpose()?.flatten() {
            self.found.add(Problem::new(ProblemKind::Lease, "the entry is about a lease that does not exist").at(seq));
        }
        Ok(())
    }

    async fn compare_chunk(&mut self, rows: &[Row], budgets: &HashMap<BudgetNo, Budget>) -> Result<(), StoreError> {
        let mut ids = Rows::new();
        for row in rows {
            ids.row().text(&row.text(0)?);
        }
        let ids = ids.finish();
        let mut posted = by_lease(self.tx.rows(&POSTED, args![ids.clone()]).await?)?;
        let mut reported = by_lease(self.tx.rows(&REPORTED, args![ids]).await?)?;
        for row in rows {
            self.found.leases += 1;
            let id = LeaseId::new(row.text(0)?);
            let (posted, reported) = (posted.remove(&id), reported.remove(&id));
            let wrong = match lease_from_row(row) {
                Ok((lease, _)) => compare(&lease, posted.as_ref(), reported.as_ref(), budgets)?,
                Err(error) => Some(error.to_string()),
            };
            if let Some(text) = wrong {
                let problem = Problem::new(ProblemKind::Lease, text).of_lease(&id);
                let seq = posted.map(|row| row.opt_int(5)).transpose()?.flatten();
                self.found.add(Problem { seq, ..problem });
            }
        }
        Ok(())
    }
}

fn by_lease(rows: Vec<Row>) -> Result<HashMap<LeaseId, Row>, StoreError> {
    rows.into_iter().map(|row| Ok((LeaseId::new(row.text(0)?), row))).collect()
}

/// What is wrong with the lease, if anything is.
fn compare(
    lease: &Lease,
    posted: Option<&Row>,
    reported: Option<&Row>,
    budgets: &HashMap<BudgetNo, Budget>,
) -> Result<Option<String>, StoreError> {
    let (count, cost) = match reported {
        Some(row) => (row.int(1)?, exact(row, 2)?),
        None => (0, 0),
    };
    let Some(row) = posted else {
        return Ok(Some("the journal has no entry about it".to_owned()));
    };
    if row.int(1)? != 1 {
        return Ok(Some(format!("the journal grants it {} times", row.int(1)?)));
    }
    let agent = Some(lease.agent.0);
    if row.opt_int(3)? != agent || row.opt_int(4)? != agent {
        return Ok(Some("its entries are another agent's".to_owned()));
    }
    if let Some(wrong) = wrong_account(lease, &row.opt_text(2)?.unwrap_or_default(), budgets) {
        return Ok(Some(wrong));
    }
    let figures = [
        ("granted", lease.granted, exact(row, 6)?),
        ("leased", lease.leased(), exact(row, 8)?),
        ("suspense", lease.suspense(), exact(row, 10)?),
        ("spent within the grant", lease.covered(), exact(row, 12)?),
        ("overrun", lease.overrun(), exact(row, 14)?),
        ("reported", lease.reported, cost),
    ];
    let differs = |(_, has, says): &(&str, Money, i128)| i128::from(has.nanos()) != *says;
    let mut wrong: Vec<String> = figures
        .into_iter()
        .filter(differs)
        .map(|(name, has, says)| format!("{name} is {} nano-dollars, the records say {says}", has.nanos()))
        .collect();
    if lease.report_count != count {
        wrong.push(format!("it counts {} reports, there are {count}", lease.report_count));
    }
    Ok((!wrong.is_empty()).then(|| wrong.join("; ")))
}

/// The grant was posted on budgets of the scopes that the lease says it was granted in, in the windows of its time.
fn wrong_account(lease: &Lease, accounts: &str, budgets: &HashMap<BudgetNo, Budget>) -> Option<String> {
    let scopes = lease.scopes();
    // Unreadable lists and unknown budgets were named before
    let keys = accounts_from_text(accounts).unwrap_or_default();
    for (key, budget) in keys.into_iter().filter_map(|key| Some((key, budgets.get(&key.budget)?))) {
        if !scopes.contains(&budget.scope) {
            return Some(format!(
                "its grant was posted on a budget of {}, where it was not granted",
                budget.scope.key()
            ));
        }
        if budget.account_at(lease.created_at) != key {
            return Some(format!("its grant was posted in another window of budget {}", key.budget));
        }
    }
    None
}
