//! Writing what a batch changed, with one statement for each kind of change.

use std::collections::{BTreeMap, HashMap};

use kernel::{BudgetNo, LeaseId, LeaseState, Money, Timestamp};
use ledger::{Account, AccountKey, Applied, Budget, Command, Lease, Outcome};

use super::{Checkout, Extra, Item, LeaseTerms};
use crate::db::{args, statements};
use crate::rows::Rows;
use crate::{StoreError, Work};

statements! {
    INSERT_LEASES = "INSERT INTO leases (id, agent_id, owner_id, project_id, epoch, granted, state, reported, stated, \
        events, report_count, created_at, seen_at, expires_at, sweep_at, supersedes, provider, provider_key_id, \
        runtime_id, runtime_version) SELECT {text 0}, {int 1}, {text 2}, {text 3}, {int 4}, {int 5}, 'active', 0, NULL, \
        0, 0, {int 6}, {int 6}, {int 7}, {int 7}, {text 8}, {text 9}, {int 10}, {text 11}, {text 12} FROM {rows}";
    /// Leases that stay active: no indexed column is touched.
    UPDATE_ACTIVE_LEASES = "UPDATE leases SET reported = v.reported, stated = v.stated, events = v.events, \
        report_count = v.report_count, highest_seq = v.highest_seq, seen_at = v.seen_at, expires_at = v.expires_at \
        FROM (SELECT {text 0} AS id, {int 1} AS reported, {int 2} AS stated, {int 3} AS events, {int 4} AS report_count, \
        {int 5} AS highest_seq, {int 6} AS seen_at, {int 7} AS expires_at FROM {rows}) AS v WHERE leases.id = v.id";
    UPDATE_ENDED_LEASES = "UPDATE leases SET state = v.state, reported = v.reported, stated = v.stated, \
        events = v.events, claimed = v.claimed, report_count = v.report_count, highest_seq = v.highest_seq, \
        seen_at = v.seen_at, expires_at = v.expires_at, ended_at = v.ended_at, ended_by = v.ended_by, reason = v.reason, \
        superseded_by = v.superseded_by, settled_presumed_spent = v.settled_presumed_spent, \
        settled_spent = v.settled_spent, settled_reason = v.settled_reason, settled_by = v.settled_by, \
        settled_at = v.settled_at FROM (SELECT {text 0} AS id, {text 1} AS state, {int 2} AS reported, {int 3} AS stated, \
        {int 4} AS events, {int 5} AS claimed, {int 6} AS report_count, {int 7} AS highest_seq, {int 8} AS seen_at, \
        {int 9} AS expires_at, {int 10} AS ended_at, {text 11} AS ended_by, {text 12} AS reason, \
        {text 13} AS superseded_by, {int 14} AS settled_presumed_spent, {int 15} AS settled_spent, \
        {text 16} AS settled_reason, {text 17} AS settled_by, {int 18} AS settled_at FROM {rows}) AS v \
        WHERE leases.id = v.id";
    UPDATE_ACCOUNTS = "UPDATE accounts SET spent = v.spent, leased = v.leased, suspense = v.suspense, \
        overrun = v.overrun FROM (SELECT {int 0} AS budget_no, {int 1} AS window_start, {int 2} AS spent, \
        {int 3} AS leased, {int 4} AS suspense, {int 5} AS overrun FROM {rows}) AS v \
        WHERE accounts.budget_no = v.budget_no AND accounts.window_start = v.window_start";
    UPDATE_BUDGETS = "UPDATE budgets SET cap = v.cap, enabled = v.enabled, opened_window = v.opened_window, \
        updated_at = v.updated_at FROM (SELECT {int 0} AS no, {int 1} AS cap, {int 2} AS enabled, \
        {int 3} AS opened_window, {int 4} AS updated_at FROM {rows}) AS v WHERE budgets.no = v.no";
    INSERT_REPORTS = "INSERT INTO reports (lease_id, request_id, cost, tokens, model, provider, occurred_at, received_at) \
        SELECT {text 0}, {text 1}, {int 2}, {int 3}, {text 4}, {text 5}, {int 6}, {int 7} FROM {rows}";
    INSERT_REQUESTS = "INSERT INTO grant_requests (agent_id, request_key, body_hash, lease_id, created_at) \
        SELECT {int 0}, {text 1}, {blob 2}, {text 3}, {int 4} FROM {rows}";
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn write_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![
        ("INSERT_LEASES", &*INSERT_LEASES),
        ("UPDATE_ACTIVE_LEASES", &*UPDATE_ACTIVE_LEASES),
        ("UPDATE_ENDED_LEASES", &*UPDATE_ENDED_LEASES),
        ("UPDATE_ACCOUNTS", &*UPDATE_ACCOUNTS),
        ("UPDATE_BUDGETS", &*UPDATE_BUDGETS),
        ("INSERT_REPORTS", &*INSERT_REPORTS),
        ("INSERT_REQUESTS", &*INSERT_REQUESTS),
    ]
}

impl Work {
    pub(super) async fn write(
        &mut self,
        items: &[Item],
        results: Vec<(usize, Applied)>,
        checkout: &Checkout,
        news: &[bool],
    ) -> Result<(), StoreError> {
        let mut accounts: BTreeMap<AccountKey, Account> = BTreeMap::new();
        let mut leases: BTreeMap<LeaseId, Lease> = BTreeMap::new();
        let mut opened: HashMap<LeaseId, ()> = HashMap::new();
        // By number: of several changes to one budget the last counts
        let mut budgets: BTreeMap<BudgetNo, Budget> = BTreeMap::new();
        let (mut reports, mut requests) = (Rows::new(), Rows::new());
        for (index, applied) in results {
            let item = &items[index];
            self.emit_for(item, &applied, checkout, news[index]);
            accounts.extend(applied.accounts);
            if let Outcome::Granted { lease, duplicate: false, .. } = &applied.outcome {
                opened.insert(lease.id.clone(), ());
            }
            leases.extend(applied.leases.into_iter().map(|lease| (lease.id.clone(), lease)));
            budgets.extend(applied.budget.iter().map(|budget| (budget.no, budget.clone())));
            if let Some(((lease, id), cost)) = &applied.report {
                report_row(&mut reports, item, lease, id, *cost, self.now)?;
            }
            if let Some(((agent, key), record)) = &applied.request {
                requests.row().int(agent.0).text(key).blob(&record.body_hash).text(record.lease.as_str());
                requests.int(self.now.millis());
            }
            // A repeated command is answered like the first but is not another deed
            if let Some(record) = item.audit.clone().filter(|_| has_effect(&applied.outcome)) {
                self.audit(record);
            }
            self.append(applied.entries);
            if let Some(book) = applied.agent {
                self.put_book(book);
            }
        }
        self.write_leases(leases, &opened, &checkout.terms).await?;
        self.write_accounts(accounts).await?;
        let mut changed = Rows::new();
        for budget in budgets.values() {
            let [cap, opened] = [budget.cap.nanos(), budget.opened_window.millis()];
            changed.row().int(budget.no.0).int(cap).int(i64::from(budget.enabled)).int(opened);
            changed.int(self.now.millis());
        }
        for (sql, rows) in [(&UPDATE_BUDGETS, changed), (&INSERT_REPORTS, reports), (&INSERT_REQUESTS, requests)] {
            if !rows.is_empty() {
                self.tx.run(sql, args![rows.finish()]).await?;
            }
        }
        Ok(())
    }

    async fn write_leases(
        &mut self,
        leases: BTreeMap<LeaseId, Lease>,
        opened: &HashMap<LeaseId, ()>,
        terms: &HashMap<LeaseId, LeaseTerms>,
    ) -> Result<(), StoreError> {
        let (mut fresh, mut active, mut ended) = (Rows::new(), Rows::new(), Rows::new());
        for lease in leases.values() {
            let is_new = opened.contains_key(&lease.id);
            if is_new {
                let terms = terms.get(&lease.id);
                let terms = terms.ok_or_else(|| StoreError::Corrupt("a lease was granted without terms".to_owned()))?;
                fresh_row(&mut fresh, lease, terms);
            }
            if lease.state != LeaseState::Active {
                ended_row(&mut ended, lease);
            } else if !is_new || has_history(lease) {
                active_row(&mut active, lease);
            }
        }
        for (sql, rows) in [(&INSERT_LEASES, fresh), (&UPDATE_ACTIVE_LEASES, active), (&UPDATE_ENDED_LEASES, ended)] {
            if !rows.is_empty() {
                self.tx.run(sql, args![rows.finish()]).await?;
            }
        }
        Ok(())
    }

    async fn write_accounts(&mut self, accounts: BTreeMap<AccountKey, Account>) -> Result<(), StoreError> {
        if accounts.is_empty() {
            return Ok(());
        }
        let mut rows = Rows::new();
        for (key, account) in &accounts {
            let [spent, leased, suspense, overrun] =
                [account.spent, account.leased, account.suspense, account.overrun].map(Money::nanos);
            rows.row().int(key.budget.0).int(key.window_start.millis());
            rows.int(spent).int(leased).int(suspense).int(overrun);
        }
        let expected = rows.len() as u64;
        if self.tx.run(&UPDATE_ACCOUNTS, args![rows.finish()]).await? == expected {
            Ok(())
        } else {
            Err(StoreError::Corrupt("an account to be posted on does not exist".to_owned()))
        }
    }
}

/// Whether the command did what it says, now and not when it came before.
const fn has_effect(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Granted { duplicate, .. }
        | Outcome::Reported { duplicate, .. }
        | Outcome::Counted { duplicate, .. }
        | Outcome::Ended { duplicate, .. } => !*duplicate,
        Outcome::Denied { .. } => false,
        Outcome::ClaimNoted { .. } | Outcome::Budgeted { .. } | Outcome::Touched => true,
    }
}

/// Whether something has happened to a lease since it was granted; the row of a new one says that nothing has.
fn has_history(lease: &Lease) -> bool {
    lease.report_count > 0 || lease.stated.is_some() || lease.highest_seq.is_some() || !lease.events.is_zero()
}

fn report_row(
    rows: &mut Rows,
    item: &Item,
    lease: &LeaseId,
    id: &str,
    cost: Money,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (Extra::Call(call), Command::Report { item: Some(spending), .. }) = (&item.extra, &item.command) else {
        return Err(StoreError::Corrupt("a report came without its call".to_owned()));
    };
    rows.row().text(lease.as_str()).text(id).int(cost.nanos()).int(call.tokens).text(&call.model);
    rows.text(&call.provider).int(spending.occurred_at.millis()).int(now.millis());
    Ok(())
}

fn fresh_row(rows: &mut Rows, lease: &Lease, terms: &LeaseTerms) {
    rows.row()
        .text(lease.id.as_str())
        .int(lease.agent.0)
        .text(lease.owner.as_str())
        .opt_text(lease.project.as_ref().map(kernel::ProjectId::as_str))
        .int(lease.epoch)
        .int(lease.granted.nanos())
        .int(lease.created_at.millis())
        .int(lease.expires_at.millis())
        .opt_text(lease.supersedes.as_ref().map(LeaseId::as_str))
        .text(&terms.provider)
        .int(terms.provider_key.0)
        .opt_text(terms.runtime_id.as_deref())
        .opt_text(terms.runtime_version.as_deref());
}

fn active_row(rows: &mut Rows, lease: &Lease) {
    rows.row()
        .text(lease.id.as_str())
        .int(lease.reported.nanos())
        .opt_int(lease.stated.map(Money::nanos))
        .int(lease.events.nanos())
        .int(lease.report_count)
        .opt_int(lease.highest_seq)
        .int(lease.seen_at.millis())
        .int(lease.expires_at.millis());
}

fn ended_row(rows: &mut Rows, lease: &Lease) {
    let settlement = lease.settlement.as_ref();
    rows.row()
        .text(lease.id.as_str())
        .text(lease.state.as_str())
        .int(lease.reported.nanos())
        .opt_int(lease.stated.map(Money::nanos))
        .int(lease.events.nanos())
        .opt_int(lease.claimed.map(Money::nanos))
        .int(lease.report_count)
        .opt_int(lease.highest_seq)
        .int(lease.seen_at.millis())
        .int(lease.expires_at.millis())
        .opt_int(lease.ended_at.map(Timestamp::millis))
        .opt_text(lease.ended_by.map(kernel::EndedBy::as_str))
        .opt_text(lease.reason.as_deref())
        .opt_text(lease.superseded_by.as_ref().map(LeaseId::as_str))
        .opt_int(settlement.map(|s| i64::from(s.presumed_spent)))
        .opt_int(settlement.map(|s| s.spent.nanos()))
        .opt_text(settlement.map(|s| s.reason.as_str()))
        .opt_text(settlement.map(|s| s.by.as_str()))
        .opt_int(settlement.map(|s| s.at.millis()));
}
