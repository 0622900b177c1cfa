//! Alerts: a budget's spending has reached a threshold, gone beyond what was lent, or used the budget up.
//!
//! A threshold is percent of the cap, compared with what is *spent* in the window, to the nano-dollar. What is lent and not
//! yet spent does not count: a handshake that takes the whole budget is no alarm. A budget is exhausted when nothing is left
//! of it to spend, neither to be lent nor lent already; suspense, which is not lent again, counts as gone.
//!
//! Each alert is raised once for its budget and window. Whether one is due is seen in the figures of the batch: they stood
//! below before it and do not after. A row in `alerts`, written in the same transaction, sees to it that a lowered cap, a
//! batch that is tried again or a second server does not raise it again; it is looked for only when an alert is due. A raised
//! cap gives the thresholds that were not reached yet another measure; those that were stay raised. Only its exhaustion can
//! be told again, because it is another cap's.

use std::collections::HashMap;

use kernel::{BudgetId, BudgetNo, Money, ProjectId, Timestamp};
use ledger::{Account, AccountKey, Budget, Scope};

use super::events::{event, own_agent};
use super::watch::Watch;
use super::{BudgetTerms, Checkout};
use crate::budgets::BudgetView;
use crate::db::{args, statements};
use crate::payload::Payload;
use crate::rows::Rows;
use crate::{StoreError, Work};

statements! {
    RAISE = "INSERT INTO alerts (budget_no, window_start, kind, mark, spent, cap, raised_at) \
        SELECT {int 0}, {int 1}, {text 2}, {int 3}, {int 4}, {int 5}, {int 6} FROM {rows} WHERE true \
        ON CONFLICT DO NOTHING RETURNING budget_no, window_start, kind, mark";
    CRITICAL = "SELECT level, subject, value FROM settings WHERE name = 'operational.auto_pause_threshold' AND \
        ((level = 'system' AND subject = '') OR (level = 'project' AND subject IN (SELECT {text 0} FROM {rows})))";
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn alert_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![("RAISE", &*RAISE)]
}

/// Percent from which on a threshold is critical, where no setting says otherwise.
const CRITICAL_FROM: i64 = 95;

/// What an alert says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Alarm {
    /// So many percent of the cap are spent.
    Threshold(i64),
    /// Somebody spent beyond what was lent.
    Overrun,
    /// Nothing is left under this cap.
    Exhausted(Money),
}

impl Alarm {
    const fn kind(self) -> &'static str {
        match self {
            Self::Threshold(_) => "threshold",
            Self::Overrun => "overrun",
            Self::Exhausted(_) => "exhausted",
        }
    }

    /// What tells it from others of its kind.
    const fn mark(self) -> i64 {
        match self {
            Self::Threshold(percent) => percent,
            Self::Overrun => 0,
            Self::Exhausted(cap) => cap.nanos(),
        }
    }

    const fn is_critical(self, critical_from: i64) -> bool {
        match self {
            Self::Threshold(percent) => percent >= critical_from,
            Self::Overrun | Self::Exhausted(_) => true,
        }
    }
}

/// What holds of an account under a cap. Nothing of it is taken back by spending more.
fn holds(alarm: Alarm, account: &Account, cap: Money) -> bool {
    match alarm {
        Alarm::Threshold(percent) => {
            cap > Money::ZERO
                && i128::from(account.spent.nanos()) * 100 >= i128::from(cap.nanos()) * i128::from(percent)
        }
        Alarm::Overrun => account.overrun > Money::ZERO,
        Alarm::Exhausted(_) => {
            let gone = account.spent.plus(account.suspense).unwrap_or(Money::MAX_BALANCE);
            cap.minus_or_zero(gone).micros_floor() <= 0
        }
    }
}

/// The alarms that hold after and did not before; without a picture from before, all that hold.
fn due(before: Option<&Account>, after: &Account, cap: Money, thresholds: &[i64]) -> Vec<Alarm> {
    if before == Some(after) {
        return Vec::new();
    }
    let others = [Alarm::Overrun, Alarm::Exhausted(cap)];
    let all = thresholds.iter().map(|percent| Alarm::Threshold(*percent)).chain(others);
    let is_new = |alarm: &Alarm| holds(*alarm, after, cap) && !before.is_some_and(|before| holds(*alarm, before, cap));
    all.filter(is_new).collect()
}

/// Whole percent of the cap that are spent, rounded down.
fn percentage(spent: Money, cap: Money) -> i64 {
    let percent = i128::from(spent.nanos()) * 100 / i128::from(cap.nanos().max(1));
    if cap > Money::ZERO { i64::try_from(percent).unwrap_or(i64::MAX) } else { 100 }
}

/// An account in which alarms are due.
struct Due<'a> {
    key: AccountKey,
    budget: &'a Budget,
    id: &'a BudgetId,
    account: Account,
    alarms: Vec<Alarm>,
}

impl Work {
    /// Raises the alerts that the commands of a batch have led to.
    pub(super) async fn raise_alerts(&mut self, watch: &Watch, checkout: &Checkout) -> Result<(), StoreError> {
        let Checkout { book, budget_terms, .. } = checkout;
        let mut all: Vec<Due<'_>> = Vec::new();
        for (key, before) in &watch.accounts {
            // Under another cap everything is looked at anew
            let before = Some(before).filter(|_| !watch.budgets.contains(&key.budget));
            all.extend(due_in(book.budgets.get(&key.budget), budget_terms, *key, before, book.account(*key)));
        }
        for budget in watch.budgets.iter().filter_map(|no| book.budgets.get(no)) {
            let key = budget.account_at(self.now);
            if !watch.accounts.contains_key(&key) {
                all.extend(due_in(Some(budget), budget_terms, key, None, book.account(key)));
            }
        }
        self.raise(&all).await
    }

    /// Raises the alerts of a budget that hold now and were not raised before: its thresholds are others.
    pub(crate) async fn raise_alerts_of(&mut self, view: &BudgetView) -> Result<(), StoreError> {
        let budget = &view.budget;
        if !budget.enabled {
            return Ok(());
        }
        let key = AccountKey { budget: budget.no, window_start: view.window_start };
        let alarms = due(None, &view.account, budget.cap, &view.thresholds);
        self.raise(&[Due { key, budget, id: &view.id, account: view.account, alarms }]).await
    }

    async fn raise(&mut self, all: &[Due<'_>]) -> Result<(), StoreError> {
        let mut rows = Rows::new();
        for due in all {
            for alarm in &due.alarms {
                rows.row().int(due.key.budget.0).int(due.key.window_start.millis()).text(alarm.kind());
                rows.int(alarm.mark()).int(due.account.spent.nanos()).int(due.budget.cap.nanos());
                rows.int(self.now.millis());
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let mut raised = Vec::new();
        for row in self.tx.rows(&RAISE, args![rows.finish()]).await? {
            let key = AccountKey { budget: BudgetNo(row.int(0)?), window_start: row.time(1)? };
            raised.push((key, row.text(2)?, row.int(3)?));
        }
        let critical = self.critical_levels(all).await?;
        for due in all {
            let critical_from = critical.of(self.project_of(&due.budget.scope));
            for alarm in &due.alarms {
                let is_it = |(key, kind, mark): &(AccountKey, String, i64)| {
                    *key == due.key && kind == alarm.kind() && *mark == alarm.mark()
                };
                if raised.iter().any(is_it) {
                    self.tell_alert(due, *alarm, critical_from);
                }
            }
        }
        Ok(())
    }

    /// The project whose settings count for a scope. An agent's is the one it is in now.
    fn project_of(&self, scope: &Scope) -> Option<ProjectId> {
        match scope {
            Scope::Project(project) | Scope::OwnerProject(_, project) => Some(project.clone()),
            Scope::Agent(agent) => self.books.get(agent).and_then(|row| row.book.project.clone()),
            Scope::Organization | Scope::Owner(_) => None,
        }
    }

    async fn critical_levels(&mut self, all: &[Due<'_>]) -> Result<CriticalLevels, StoreError> {
        let mut rows = Rows::new();
        for project in all.iter().filter_map(|due| self.project_of(&due.budget.scope)) {
            rows.row().text(project.as_str());
        }
        let mut levels = CriticalLevels { general: CRITICAL_FROM, projects: HashMap::new() };
        for row in self.tx.rows(&CRITICAL, args![rows.finish()]).await? {
            // What cannot be read is not set
            let Ok(percent) = row.text(2)?.parse::<i64>() else { continue };
            if row.text(0)? == "system" {
                levels.general = percent;
            } else {
                levels.projects.insert(ProjectId::new(row.text(1)?), percent);
            }
        }
        Ok(levels)
    }

    fn tell_alert(&mut self, due: &Due<'_>, alarm: Alarm, critical_from: i64) {
        let (spent, cap) = (due.account.spent, due.budget.cap);
        let (start, end) = due.budget.window.bounds(&due.budget.zone, due.key.window_start);
        let threshold = if let Alarm::Threshold(percent) = alarm { Some(percent) } else { None };
        let data = Payload::new()
            .text("kind", alarm.kind())
            .scope("scope", &due.budget.scope)
            .text("budget_id", due.id.as_str())
            .opt_int("threshold", threshold)
            .spent_usd("budget_spent", spent)
            .left_usd("budget_limit", cap)
            .int("percentage", percentage(spent, cap))
            .spent("budget_spent_microdollars", spent)
            .left("budget_limit_microdollars", cap)
            .opt_int("window_start", end.map(|_| start.millis()))
            .opt_int("window_end", end.map(Timestamp::millis));
        let severity = if alarm.is_critical(critical_from) { "critical" } else { "warning" };
        let payload = Payload::new().text("severity", severity).object("data", data);
        self.emit(event(own_agent(&due.budget.scope), "COST_ALERT", payload));
    }
}

/// From how many percent on thresholds are critical.
struct CriticalLevels {
    general: i64,
    projects: HashMap<ProjectId, i64>,
}

impl CriticalLevels {
    fn of(&self, project: Option<ProjectId>) -> i64 {
        project.and_then(|project| self.projects.get(&project).copied()).unwrap_or(self.general)
    }
}

fn due_in<'a>(
    budget: Option<&'a Budget>,
    terms: &'a HashMap<BudgetNo, BudgetTerms>,
    key: AccountKey,
    before: Option<&Account>,
    account: Account,
) -> Option<Due<'a>> {
    let budget = budget.filter(|budget| budget.enabled)?;
    let BudgetTerms { id, thresholds } = terms.get(&budget.no)?;
    let alarms = due(before, &account, budget.cap, thresholds);
    (!alarms.is_empty()).then_some(Due { key, budget, id, account, alarms })
}

#[cfg(test)]
mod tests {
    use kernel::Money;
    use ledger::Account;

    use super::{Alarm, due, percentage};

    fn spent(nanos: i64) -> Account {
        Account { spent: Money::from_nanos(nanos), ..Account::default() }
    }

    const CAP: Money = Money::from_nanos(3_000_000_001);

    #[test]
    fn a_threshold_is_reached_at_the_nano_dollar_and_not_before() {
        // 50 % of 3.000000001 are 1.5000000005: reached at 1.500000001
        let told = |before: i64, after: i64| due(Some(&spent(before)), &spent(after), CAP, &[50]);
        assert_eq!(told(0, 1_500_000_000), []);
        assert_eq!(told(0, 1_500_000_001), [Alarm::Threshold(50)]);
        assert_eq!(told(1_500_000_000, 1_500_000_001), [Alarm::Threshold(50)]);
        assert_eq!(told(1_500_000_001, 1_500_000_002), []);
        let hundred = |before: i64, after: i64| {
            due(Some(&spent(before)), &spent(after), Money::from_nanos(1_000_000_000_000), &[95])
        };
        assert_eq!(hundred(0, 949_999_999_999), []);
        assert_eq!(hundred(949_999_999_999, 950_000_000_000), [Alarm::Threshold(95)]);
        assert_eq!(hundred(950_000_000_000, 950_000_000_001), []);
    }

    #[test]
    fn one_step_may_reach_several_thresholds() {
        let all = due(Some(&spent(0)), &spent(CAP.nanos() * 2), CAP, &[50, 80, 150, 200, 201]);
        let thresholds = [50, 80, 150, 200].map(Alarm::Threshold);
        assert_eq!(all, [&thresholds[..], &[Alarm::Exhausted(CAP)]].concat());
    }

    #[test]
    fn what_is_lent_is_not_spent() {
        let all = Account { leased: CAP, ..Account::default() };
        assert_eq!(due(Some(&spent(0)), &all, CAP, &[1, 50]), []);
    }

    #[test]
    fn a_budget_is_exhausted_when_less_than_a_micro_dollar_is_left_of_it() {
        let cap = Money::from_nanos(5_000_000);
        assert_eq!(due(Some(&spent(0)), &spent(4_999_000), cap, &[]), []);
        assert_eq!(due(Some(&spent(0)), &spent(4_999_001), cap, &[]), [Alarm::Exhausted(cap)]);
        let aside = Account { suspense: Money::from_nanos(1_000_000), ..spent(4_000_000) };
        assert_eq!(due(Some(&spent(4_000_000)), &aside, cap, &[]), [Alarm::Exhausted(cap)]);
        assert_eq!(due(Some(&aside), &spent(5_000_000), cap, &[]), [], "it was before");
    }

    #[test]
    fn the_first_overrun_is_an_alarm_and_the_second_is_not() {
        let over = |nanos| Account { overrun: Money::from_nanos(nanos), ..spent(1_000 + nanos) };
        assert_eq!(due(Some(&spent(1_000)), &over(1), CAP, &[]), [Alarm::Overrun]);
        assert_eq!(due(Some(&over(1)), &over(2), CAP, &[]), []);
    }

    #[test]
    fn without_a_picture_from_before_everything_that_holds_is_due() {
        assert_eq!(due(None, &spent(CAP.nanos()), CAP, &[50, 101]), [Alarm::Threshold(50), Alarm::Exhausted(CAP)]);
        assert_eq!(due(None, &spent(0), Money::ZERO, &[50]), [Alarm::Exhausted(Money::ZERO)]);
    }

    #[test]
    fn the_largest_amounts_are_compared_exactly() {
        let cap = Money::MAX_CAP;
        let just_below = spent(cap.nanos() * 9 - 1);
        let at = spent(cap.nanos() * 9);
        assert_eq!(due(Some(&just_below), &at, cap, &[900]), [Alarm::Threshold(900)]);
    }

    #[test]
    fn percent_are_rounded_down() {
        assert_eq!(percentage(Money::from_nanos(999), Money::from_nanos(1_000)), 99);
        assert_eq!(percentage(Money::from_nanos(2_500), Money::from_nanos(1_000)), 250);
        assert_eq!(percentage(Money::ZERO, Money::ZERO), 100);
    }
}
