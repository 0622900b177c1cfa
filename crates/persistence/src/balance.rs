//! What the leases of a scope add up to, computed by the database. The same figures as [`ledger::Lease::contribution`],
//! lease by lease; a test compares the two.

use kernel::{Money, MoneyOverflow, Timestamp};
use ledger::{Account, Scope};

use crate::db::{Backend, Row, Tx, Value};
use crate::filter::Filter;
use crate::{Store, StoreError, Work};

/// Expressions over `leases AS l`, in one dialect.
pub(crate) struct Amounts {
    /// The most that any channel says was spent.
    pub(crate) known: String,
    /// What was lent and is not known to be spent.
    pub(crate) rest: String,
    /// What was spent beyond the grant.
    pub(crate) overrun: String,
}

impl Amounts {
    pub(crate) fn new(backend: Backend) -> Self {
        let most = match backend {
            Backend::Sqlite => "max",
            Backend::Postgres => "greatest",
        };
        let known = format!("{most}(l.reported, l.events, COALESCE(l.stated, 0), COALESCE(l.settled_spent, 0))");
        Self {
            rest: format!("{most}(l.granted - {known}, 0)"),
            overrun: format!("{most}({known} - l.granted, 0)"),
            known,
        }
    }
}

/// Two columns that [`exact`] puts together: a sum of lying clients' figures may leave the range of 64 bits.
pub(crate) fn exact_sum(expression: &str) -> String {
    let part = |operator: &str| format!("CAST(COALESCE(SUM(({expression}) {operator} 1000000000), 0) AS BIGINT)");
    format!("{}, {}", part("/"), part("%"))
}

/// Reads the two columns of [`exact_sum`].
pub(crate) fn exact(row: &Row, index: usize) -> Result<i128, StoreError> {
    Ok(i128::from(row.int(index)?) * 1_000_000_000 + i128::from(row.int(index + 1)?))
}

/// The amount, for figures that are shown: drawn to the ends of the range.
pub(crate) fn saturated(nanos: i128) -> Money {
    let end = i128::from(Money::MAX_BALANCE.nanos());
    Money::from_nanos(i64::try_from(nanos.clamp(-end, end)).unwrap_or(0))
}

/// The amount, for the books: an error outside the range.
pub(crate) fn checked(nanos: i128) -> Result<Money, MoneyOverflow> {
    let money = i64::try_from(nanos).map(Money::from_nanos).map_err(|_| MoneyOverflow)?;
    money.plus(Money::ZERO)
}

/// Narrows to leases that were granted in the scope.
pub(crate) fn granted_in(filter: &mut Filter, scope: &Scope) {
    match scope {
        Scope::Organization => {}
        Scope::Project(project) => {
            filter.and("l.project_id = ?", [project.as_str().into()]);
        }
        Scope::Owner(owner) => {
            filter.and("l.owner_id = ?", [owner.as_str().into()]);
        }
        Scope::OwnerProject(owner, project) => {
            filter.and("l.owner_id = ? AND l.project_id = ?", [owner.as_str().into(), project.as_str().into()]);
        }
        Scope::Agent(agent) => {
            filter.and("l.agent_id = ?", [agent.0.into()]);
        }
    }
}

/// The question for what leases granted in the scope in `from..to` have brought in.
pub(crate) fn question(
    backend: Backend,
    scope: &Scope,
    from: Timestamp,
    to: Option<Timestamp>,
) -> (std::sync::Arc<str>, Vec<Value>) {
    let Amounts { known, rest, overrun } = Amounts::new(backend);
    let in_state = |states: &str| exact_sum(&format!("CASE WHEN l.state IN ({states}) THEN {rest} ELSE 0 END"));
    let head = format!(
        "SELECT {}, {}, {}, {} FROM leases AS l",
        exact_sum(&known),
        in_state("'active'"),
        in_state("'expired', 'revoked'"),
        exact_sum(&overrun)
    );
    let mut filter = Filter::default();
    granted_in(&mut filter, scope);
    if let Some(to) = to {
        filter.and("l.created_at >= ? AND l.created_at < ?", [from.into(), to.into()]);
    }
    filter.statement(&head, "", [])
}

fn amounts(row: &Row) -> Result<[i128; 4], StoreError> {
    Ok([exact(row, 0)?, exact(row, 2)?, exact(row, 4)?, exact(row, 6)?])
}

impl Store {
    /// What leases granted in the scope in `window` (all of them, without an end) amount to: the figures of a scope that
    /// has no budget. Drawn to [`Money::MAX_BALANCE`].
    pub async fn scope_balance(
        &self,
        scope: &Scope,
        window: (Timestamp, Option<Timestamp>),
    ) -> Result<Account, StoreError> {
        let (sql, args) = question(self.backend(), scope, window.0, window.1);
        let rows = self.db.rows_of(sql, args).await?;
        let row = rows.first().ok_or_else(|| StoreError::Corrupt("a sum has no row".to_owned()))?;
        let [spent, leased, suspense, overrun] = amounts(row)?.map(saturated);
        Ok(Account { spent, leased, suspense, overrun })
    }
}

/// As [`Store::scope_balance`], inside a transaction and for the books.
pub(crate) async fn scope_balance(
    tx: &mut Tx,
    scope: &Scope,
    window: (Timestamp, Option<Timestamp>),
) -> Result<Result<Account, MoneyOverflow>, StoreError> {
    let (sql, args) = question(tx.backend(), scope, window.0, window.1);
    let rows = tx.rows_of(sql, args).await?;
    let row = rows.first().ok_or_else(|| StoreError::Corrupt("a sum has no row".to_owned()))?;
    let [spent, leased, suspense, overrun] = amounts(row)?.map(checked);
    Ok((|| Ok(Account { spent: spent?, leased: leased?, suspense: suspense?, overrun: overrun? }))())
}

impl Work {
    /// What the leases of the budget's scope have brought into its current window: what a budget that is opened now starts
    /// from. The same as [`ledger::Book::opening_balance`] over all leases. Right only while no lease of the scope can
    /// change, so [`Work::insert_budget`] locks them out first.
    pub async fn opening_balance(
        &mut self,
        budget: &ledger::Budget,
    ) -> Result<Result<Account, MoneyOverflow>, StoreError> {
        let window = budget.window.bounds(&budget.zone, self.now);
        scope_balance(&mut self.tx, &budget.scope, window).await
    }
}
