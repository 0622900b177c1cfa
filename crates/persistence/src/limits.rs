//! Limits of owners, and the token ceiling of the whole installation: what may be used in a while.
//!
//! The money column of a limit is a budget like any other, so it is kept and decided by the ledger; a limit only names it.
//! Counted quotas are checked before money is lent, against what has been used: see [`Quota`]. They belong to what an
//! agent's picture shows, so every change of one is a change of the directory.
//!
//! A limit is locked after users and projects and before agents' books: its budget is opened and ended with it.

use std::collections::{BTreeSet, HashMap};

use analytics::Dimension;
use kernel::{BudgetId, LimitId, Money, ProjectId, Timestamp, UserId, Window, Zone};
use ledger::Scope;

use crate::balance::{Amounts, exact, exact_sum, saturated};
use crate::db::{Row, args, statements};
use crate::filter::Filter;
use crate::listing::{Listed, Page, Visibility};
use crate::rows::Rows;
use crate::{QuestionFilter, Store, StoreError, Work};

/// What an owner, or an owner within a project, may use. At least one of the three columns is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its id, never reused.
    pub id: LimitId,
    /// The owner.
    pub user: UserId,
    /// The project; `None`: whatever the project.
    pub project: Option<ProjectId>,
    /// Tokens in a day.
    pub tokens_per_day: Option<i64>,
    /// Calls in 60 seconds.
    pub requests_per_minute: Option<i64>,
    /// The budget that is its money column.
    pub budget: Option<BudgetId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Limit {
    /// Whose it is.
    pub fn scope(&self) -> Scope {
        limit_scope(&self.user, self.project.as_ref())
    }
}

/// A limit to be made. Its user and project must be held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLimit {
    /// The owner.
    pub user: UserId,
    /// The project, if it is for one only.
    pub project: Option<ProjectId>,
    /// Tokens in a day, above zero.
    pub tokens_per_day: Option<i64>,
    /// Calls in 60 seconds, above zero.
    pub requests_per_minute: Option<i64>,
    /// The budget that is its money column; the caller opens it.
    pub budget: Option<BudgetId>,
}

/// Which limits. What is not given does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitFilter {
    /// Whose eyes it is for: a user sees their own.
    pub visible_to: Visibility,
    /// Only this one.
    pub id: Option<LimitId>,
    /// Of this owner.
    pub user: Option<UserId>,
    /// For this project.
    pub project: Option<ProjectId>,
}

/// What has been used of what a limit may limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitUse {
    /// Tokens today.
    pub tokens_today: i64,
    /// Calls in the last 60 seconds.
    pub requests_last_minute: i64,
    /// Money in the month; zero where a budget has that figure.
    pub spent: Money,
}

/// How many tokens the whole installation may use in a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenCeiling {
    /// `None`: as many as one likes.
    pub tokens_per_day: Option<i64>,
    /// When it was last set.
    pub updated_at: Option<Timestamp>,
    /// By whom.
    pub updated_by: Option<UserId>,
}

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuotaKind {
    /// Tokens in a day (UTC).
    TokensPerDay,
    /// Calls in 60 seconds.
    RequestsPerMinute,
}

impl QuotaKind {
    /// The name in the HTTP contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokensPerDay => "max_tokens_per_day",
            Self::RequestsPerMinute => "max_requests_per_minute",
        }
    }

    /// The time that counts at `now`: from, and up to but without.
    pub fn window(self, now: Timestamp) -> (Timestamp, Timestamp) {
        match self {
            Self::TokensPerDay => {
                let (start, end) = Window::Day.bounds(&Zone::UTC, now);
                (start, end.unwrap_or(Timestamp::MAX))
            }
            Self::RequestsPerMinute => (now.plus_millis(1 - MINUTE_MS), now.plus_millis(1)),
        }
    }

    /// When what is used now does not count any more.
    pub fn resets_at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::TokensPerDay => self.window(now).1,
            Self::RequestsPerMinute => now.plus_millis(MINUTE_MS),
        }
    }
}

const MINUTE_MS: i64 = 60_000;

/// How much may be used of something before nothing more is lent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// What is counted.
    pub kind: QuotaKind,
    /// By whom.
    pub scope: Scope,
    /// How much is allowed, above zero.
    pub limit: i64,
    /// The limit it comes from; `None` for the ceiling of the whole installation.
    pub limit_id: Option<LimitId>,
}

statements! {
    INSERT = "INSERT INTO limits (scope_key, user_id, project_id, tokens_per_day, requests_per_minute, budget_id, \
        created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (scope_key) DO NOTHING RETURNING id";
    FOR_UPDATE = "SELECT id, user_id, project_id, tokens_per_day, requests_per_minute, budget_id, created_at, updated_at \
        FROM limits WHERE id = $1 {for_update}";
    OF_PROJECT = "SELECT id, user_id, project_id, tokens_per_day, requests_per_minute, budget_id, created_at, updated_at \
        FROM limits WHERE project_id = $1 ORDER BY id {for_update}";
    OF_SCOPE = "SELECT id FROM limits WHERE scope_key = $1";
    REQUESTS_OF_OWNERS = "SELECT s.owner_id, s.project_id, CAST(COUNT(*) AS BIGINT) FROM {rows} CROSS JOIN series AS s \
        CROSS JOIN facts AS f WHERE s.owner_id = {text 0} AND f.series_no = s.no AND f.occurred_at >= {int 1} \
        AND f.occurred_at < {int 2} GROUP BY s.owner_id, s.project_id";
    UPDATE = "UPDATE limits SET tokens_per_day = $2, requests_per_minute = $3, budget_id = $4, updated_at = $5 \
        WHERE id = $1";
    DELETE = "DELETE FROM limits WHERE id = $1";
    CEILING = "SELECT tokens_per_day, updated_at, updated_by FROM token_ceiling WHERE id = 1";
    CEILING_FOR_UPDATE = "SELECT tokens_per_day, updated_at, updated_by FROM token_ceiling WHERE id = 1 {for_update}";
    SET_CEILING = "UPDATE token_ceiling SET tokens_per_day = $1, updated_at = $2, updated_by = $3 WHERE id = 1";
}

/// For the test of plans.
#[cfg(test)]
pub(crate) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![("REQUESTS_OF_OWNERS", &*REQUESTS_OF_OWNERS)]
}

const COLUMNS: &str = "id, user_id, project_id, tokens_per_day, requests_per_minute, budget_id, created_at, updated_at";

impl Store {
    /// Limits, youngest first.
    pub async fn limits(&self, filter: &LimitFilter, page: Page) -> Result<Listed<Limit>, StoreError> {
        let (text, args) = filter.conditions().statement("SELECT COUNT(*) FROM limits", "", []);
        let total = self.db.rows_of(text, args).await?.first().map_or(Ok(0), |row| row.int(0))?;
        let head = format!("SELECT {COLUMNS} FROM limits");
        let tail = " ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?";
        let (text, args) = filter.conditions().statement(&head, tail, page.bounds().map(Into::into));
        let rows = self.db.rows_of(text, args).await?;
        Ok(Listed::new(rows.iter().map(limit_from_row).collect::<Result<_, _>>()?, total))
    }

    /// A limit, if there is one and somebody may see it.
    pub async fn limit(&self, id: LimitId, visible_to: &Visibility) -> Result<Option<Limit>, StoreError> {
        let filter = LimitFilter { visible_to: visible_to.clone(), id: Some(id), ..LimitFilter::default() };
        Ok(self.limits(&filter, Page::first(1)).await?.rows.pop())
    }

    /// The limit of this owner, or owner within a project.
    pub async fn limit_of(&self, scope: &Scope) -> Result<Option<LimitId>, StoreError> {
        let row = self.db.row(&OF_SCOPE, args![scope.key()]).await?;
        row.map(|row| row.int(0).map(LimitId)).transpose()
    }

    /// How much the scope has used of what a quota counts.
    pub async fn quota_used(&self, kind: QuotaKind, scope: &Scope, now: Timestamp) -> Result<i64, StoreError> {
        let (from, to) = kind.window(now);
        match kind {
            // To the end of time: what a client's clock dates a little ahead is used
            QuotaKind::TokensPerDay => self.tokens_between(scope, from, Timestamp::MAX).await,
            QuotaKind::RequestsPerMinute => self.requests_between(scope, from, to).await,
        }
    }

    /// What has been used of each of the limits, in their order, where `month` is the time that money counts in. Costs a
    /// few questions however many limits there are; the same figures as [`Store::quota_used`] and
    /// [`Store::scope_balance`], limit by limit.
    pub async fn limits_used(
        &self,
        limits: &[Limit],
        month: (Timestamp, Option<Timestamp>),
        now: Timestamp,
    ) -> Result<Vec<LimitUse>, StoreError> {
        let owners = |of: fn(&Limit) -> bool| -> BTreeSet<&UserId> {
            limits.iter().filter(|limit| of(limit)).map(|limit| &limit.user).collect()
        };
        let (all, without_budget) = (owners(|_| true), owners(|limit| limit.budget.is_none()));
        let tokens = self.tokens_of_owners(&all, now).await?;
        let requests = self.requests_of_owners(&all, now).await?;
        let spent = self.spent_of_owners(&without_budget, month).await?;
        let count = |of: &PerScope, key: &str| i64::try_from(of.get(key)).unwrap_or(i64::MAX);
        let used = limits.iter().map(|limit| {
            let key = limit.scope().key();
            LimitUse {
                tokens_today: count(&tokens, &key),
                requests_last_minute: count(&requests, &key),
                spent: if limit.budget.is_none() { saturated(spent.get(&key)) } else { Money::ZERO },
            }
        });
        Ok(used.collect())
    }

    async fn tokens_of_owners(&self, owners: &BTreeSet<&UserId>, now: Timestamp) -> Result<PerScope, StoreError> {
        let mut tokens = PerScope::default();
        if owners.is_empty() {
            return Ok(tokens);
        }
        let owners = owners.iter().copied().cloned().collect();
        let filter = QuestionFilter { owners, ..QuestionFilter::default() };
        let (by, today) = ([Dimension::Owner, Dimension::Project], QuotaKind::TokensPerDay.window(now).0);
        for group in self.inquire(now).await?.sums(&filter, &by, &[(today, Timestamp::MAX)]).await? {
            if let [owner, project] = group.key.as_slice() {
                tokens.add(owner.text().unwrap_or_default(), project.text(), group.measures.total_tokens().into());
            }
        }
        Ok(tokens)
    }

    async fn requests_of_owners(&self, owners: &BTreeSet<&UserId>, now: Timestamp) -> Result<PerScope, StoreError> {
        let (mut requests, (from, to)) = (PerScope::default(), QuotaKind::RequestsPerMinute.window(now));
        let mut rows = Rows::new();
        for owner in owners {
            rows.row().text(owner.as_str()).int(from.millis()).int(to.millis());
        }
        for row in self.db.rows(&REQUESTS_OF_OWNERS, args![rows.finish()]).await? {
            let project = Some(row.text(1)?).filter(|project| !project.is_empty());
            requests.add(&row.text(0)?, project.as_deref(), row.int(2)?.into());
        }
        Ok(requests)
    }

    async fn spent_of_owners(
        &self,
        owners: &BTreeSet<&UserId>,
        (from, to): (Timestamp, Option<Timestamp>),
    ) -> Result<PerScope, StoreError> {
        let mut spent = PerScope::default();
        if owners.is_empty() {
            return Ok(spent);
        }
        let known = exact_sum(&Amounts::new(self.backend()).known);
        let mut filter = Filter::default();
        filter.and("l.created_at >= ?", [from.into()]).and_if("l.created_at < ?", to);
        filter.and_one_of("l.owner_id", owners.iter().map(|owner| owner.as_str()));
        let head = format!("SELECT l.owner_id, l.project_id, {known} FROM leases AS l");
        let (sql, args) = filter.statement(&head, " GROUP BY l.owner_id, l.project_id", []);
        for row in self.db.rows_of(sql, args).await? {
            spent.add(&row.text(0)?, row.opt_text(1)?.as_deref(), exact(&row, 2)?);
        }
        Ok(spent)
    }

    /// The token ceiling of the whole installation.
    pub async fn token_ceiling(&self) -> Result<TokenCeiling, StoreError> {
        ceiling_from_row(self.db.row(&CEILING, args![]).await?)
    }
}

/// Sums by the keys of owners and of owners within projects.
#[derive(Default)]
struct PerScope(HashMap<String, i128>);

impl PerScope {
    /// What an owner has used in a project, or in none, counts for them whatever the project too.
    fn add(&mut self, owner: &str, project: Option<&str>, amount: i128) {
        let owner = UserId::new(owner);
        let within = project.map(|project| limit_scope(&owner, Some(&ProjectId::new(project))));
        for scope in within.into_iter().chain([limit_scope(&owner, None)]) {
            *self.0.entry(scope.key()).or_default() += amount;
        }
    }

    fn get(&self, key: &str) -> i128 {
        self.0.get(key).copied().unwrap_or(0)
    }
}

impl LimitFilter {
    fn conditions(&self) -> Filter {
        let mut filter = Filter::default();
        filter.and_if("user_id = ?", self.visible_to.user());
        filter.and_if("id = ?", self.id.map(|id| id.0));
        filter.and_if("user_id = ?", self.user.as_ref().map(UserId::as_str));
        filter.and_if("project_id = ?", self.project.as_ref().map(ProjectId::as_str));
        filter
    }
}

impl Work {
    /// Makes a limit; `None` if the owner, or the owner within the project, has one.
    pub async fn create_limit(&mut self, new: &NewLimit) -> Result<Option<Limit>, StoreError> {
        let values = args![
            limit_scope(&new.user, new.project.as_ref()).key(),
            new.user.as_str(),
            new.project.as_ref().map(ProjectId::as_str),
            new.tokens_per_day,
            new.requests_per_minute,
            new.budget.as_ref().map(BudgetId::as_str),
            self.now,
        ];
        let Some(row) = self.tx.row(&INSERT, values).await? else { return Ok(None) };
        self.directory_changes();
        Ok(Some(Limit {
            id: LimitId(row.int(0)?),
            user: new.user.clone(),
            project: new.project.clone(),
            tokens_per_day: new.tokens_per_day,
            requests_per_minute: new.requests_per_minute,
            budget: new.budget.clone(),
            created_at: self.now,
            updated_at: self.now,
        }))
    }

    /// As [`Store::limit_of`].
    pub async fn limit_of(&mut self, scope: &Scope) -> Result<Option<LimitId>, StoreError> {
        let row = self.tx.row(&OF_SCOPE, args![scope.key()]).await?;
        row.map(|row| row.int(0).map(LimitId)).transpose()
    }

    /// A limit, which nobody else changes until this work ends.
    pub async fn limit_for_update(&mut self, id: LimitId) -> Result<Option<Limit>, StoreError> {
        self.tx.row(&FOR_UPDATE, args![id.0]).await?.as_ref().map(limit_from_row).transpose()
    }

    /// The limits for a project, which nobody else changes until this work ends.
    pub async fn limits_for_update(&mut self, project: &ProjectId) -> Result<Vec<Limit>, StoreError> {
        self.tx.rows(&OF_PROJECT, args![project.as_str()]).await?.iter().map(limit_from_row).collect()
    }

    /// Gives a limit the columns it has here; returns it as it is then. It is locked.
    pub async fn update_limit(&mut self, limit: &Limit) -> Result<Limit, StoreError> {
        let budget = limit.budget.as_ref().map(BudgetId::as_str);
        let values = args![limit.id.0, limit.tokens_per_day, limit.requests_per_minute, budget, self.now];
        self.tx.run(&UPDATE, values).await?;
        self.directory_changes();
        Ok(Limit { updated_at: self.now, ..limit.clone() })
    }

    /// Removes a limit; false if there is none. Its budget is for the caller to end.
    pub async fn delete_limit(&mut self, id: LimitId) -> Result<bool, StoreError> {
        self.directory_changes();
        Ok(self.tx.run(&DELETE, args![id.0]).await? == 1)
    }

    /// Sets the token ceiling of the whole installation, or takes it away; returns it as it was and as it is.
    pub async fn set_token_ceiling(
        &mut self,
        tokens_per_day: Option<i64>,
        by: &UserId,
    ) -> Result<(TokenCeiling, TokenCeiling), StoreError> {
        let before = ceiling_from_row(self.tx.row(&CEILING_FOR_UPDATE, args![]).await?)?;
        self.tx.run(&SET_CEILING, args![tokens_per_day, self.now, by.as_str()]).await?;
        self.directory_changes();
        let after = TokenCeiling { tokens_per_day, updated_at: Some(self.now), updated_by: Some(by.clone()) };
        Ok((before, after))
    }
}

/// Whose a limit of this owner, or of this owner within a project, is.
pub fn limit_scope(user: &UserId, project: Option<&ProjectId>) -> Scope {
    match project {
        Some(project) => Scope::OwnerProject(user.clone(), project.clone()),
        None => Scope::Owner(user.clone()),
    }
}

fn limit_from_row(row: &Row) -> Result<Limit, StoreError> {
    Ok(Limit {
        id: LimitId(row.int(0)?),
        user: UserId::new(row.text(1)?),
        project: row.opt_text(2)?.map(ProjectId::new),
        tokens_per_day: row.opt_int(3)?,
        requests_per_minute: row.opt_int(4)?,
        budget: row.opt_text(5)?.map(BudgetId::new),
        created_at: row.time(6)?,
        updated_at: row.time(7)?,
    })
}

fn ceiling_from_row(row: Option<Row>) -> Result<TokenCeiling, StoreError> {
    let row = row.ok_or_else(|| StoreError::Corrupt("the token ceiling has no row".to_owned()))?;
    Ok(TokenCeiling {
        tokens_per_day: row.opt_int(0)?,
        updated_at: row.opt_time(1)?,
        updated_by: row.opt_text(2)?.map(UserId::new),
    })
}

/// The quotas that the columns of [`crate::directory`] name from `at` on: the ceiling, then id, tokens and requests of the
/// owner's limit and of that within the project.
pub(crate) fn quotas_from_row(
    row: &Row,
    at: usize,
    owner: &UserId,
    project: Option<&ProjectId>,
) -> Result<Vec<Quota>, StoreError> {
    let mut quotas = Vec::new();
    let mut add = |kind, scope: &Scope, limit: Option<i64>, limit_id| {
        quotas.extend(limit.map(|limit| Quota { kind, scope: scope.clone(), limit, limit_id }));
    };
    add(QuotaKind::TokensPerDay, &Scope::Organization, row.opt_int(at)?, None);
    for (at, scope) in [(at + 1, limit_scope(owner, None)), (at + 4, limit_scope(owner, project))] {
        if let Some(id) = row.opt_int(at)?.map(LimitId) {
            add(QuotaKind::TokensPerDay, &scope, row.opt_int(at + 1)?, Some(id));
            add(QuotaKind::RequestsPerMinute, &scope, row.opt_int(at + 2)?, Some(id));
        }
    }
    Ok(quotas)
}

#[cfg(test)]
mod tests {
    use kernel::Timestamp;

    use super::QuotaKind;

    #[test]
    fn a_day_ends_at_midnight_and_a_minute_slides() {
        let now = Timestamp::from_rfc3339("2026-01-15T23:59:59.999Z").expect("a time");
        let (from, to) = QuotaKind::TokensPerDay.window(now);
        assert_eq!(
            (from.to_rfc3339().as_str(), to.to_rfc3339().as_str()),
            ("2026-01-15T00:00:00Z", "2026-01-16T00:00:00Z")
        );
        assert_eq!(QuotaKind::TokensPerDay.resets_at(now), to);
        let (from, to) = QuotaKind::RequestsPerMinute.window(now);
        assert!(from <= now && now < to, "a call of this instant counts");
        assert_eq!(to.millis() - from.millis(), 60_000);
        let later = QuotaKind::RequestsPerMinute.resets_at(now);
        assert!(QuotaKind::RequestsPerMinute.window(later).0 > now, "by then it does not count any more");
    }
}
