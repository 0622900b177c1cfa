//! Bodies of budget control: leases, freezes, figures, the journal.

use budget_protocol::{Scope, wire};
use kernel::validate::{Fields, FromFields, numeric_id};
use kernel::{AgentId, EndedBy, LeaseState, Money, ProjectId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

macro_rules! body {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident : $kind:ty $(=> $with:literal as $shown:ty)?,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub struct $name {
            $(
                $(#[$field_doc])*
                $(#[serde(with = $with)] #[cfg_attr(feature = "openapi", schema(value_type = $shown))])?
                pub $field: $kind,
            )*
        }
    };
}

body! {
    /// How an operator decided about a lease's suspense.
    LeaseSettlement {
        /// `spent` or `unspent`.
        outcome: String,
        /// Charged, micro-dollars.
        spent: Money => "wire::spent" as i64,
        /// Why.
        reason: String,
        /// Who decided.
        by: String,
        /// When, milliseconds.
        at: Timestamp => "wire::millis" as i64,
    }
}

body! {
    /// A lease. Amounts are micro-dollars, times milliseconds.
    LeaseBody {
        /// Its id.
        lease_id: String,
        /// The agent.
        agent_id: i64,
        /// The agent's name now.
        agent_name: String,
        /// The agent's owner at the grant, who pays.
        owner_id: String,
        /// The agent's project at the grant.
        project_id: Option<String>,
        /// `active`, `expired`, `revoked` or `closed`.
        state: LeaseState => "wire::lease_state" as String,
        /// Lent.
        granted: Money => "wire::left" as i64,
        /// Known to be spent.
        spent: Money => "wire::spent" as i64,
        /// Lent and not reported.
        remaining: Money => "wire::left" as i64,
        /// Perhaps spent, perhaps not; not lent again.
        suspense: Money => "wire::spent" as i64,
        /// Given back.
        returned: Money => "wire::left" as i64,
        /// Spent beyond what was lent.
        overrun: Money => "wire::spent" as i64,
        /// A figure stated on return after it was revoked.
        claimed_spent: Option<Money> => "wire::optional_spent" as Option<i64>,
        /// The sum of its reports.
        reports_spent: Money => "wire::spent" as i64,
        /// The highest total its holder stated.
        reports_total_stated: Option<Money> => "wire::optional_spent" as Option<i64>,
        /// The sum of the events attributed to it.
        events_spent: Money => "wire::spent" as i64,
        /// How many distinct reports were booked.
        report_count: i64,
        /// The highest report counter its holder sent.
        highest_seq: Option<i64>,
        /// How many reports are missing, going by that counter.
        missing_reports: i64,
        /// The kind of its provider key.
        provider: String,
        /// Its provider key.
        provider_key_id: i64,
        /// The agent's epoch at the grant.
        epoch: i64,
        /// What the runtime calls itself.
        runtime_id: Option<String>,
        /// The runtime's version.
        runtime_version: Option<String>,
        /// When it was granted.
        created_at: Timestamp => "wire::millis" as i64,
        /// The last sign of life.
        last_seen_at: Timestamp => "wire::millis" as i64,
        /// When it expires without a sign of life.
        expires_at: Timestamp => "wire::millis" as i64,
        /// When it ended.
        ended_at: Option<Timestamp> => "wire::optional_millis" as Option<i64>,
        /// `return`, `refresh`, `settle`, `expiry`, `revoke` or `agent_deleted`.
        ended_by: Option<String>,
        /// Why it was revoked.
        reason: Option<String>,
        /// The lease it replaced.
        supersedes: Option<String>,
        /// The lease that replaced it.
        superseded_by: Option<String>,
        /// How its suspense was settled.
        settlement: Option<LeaseSettlement>,
    }
}

impl LeaseBody {
    /// The word for what ended a lease.
    pub fn ended_by_word(by: Option<EndedBy>) -> Option<String> {
        by.map(|by| by.as_str().to_owned())
    }
}

/// How to decide about a lease's suspense.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SettleLease {
    /// `spent` or `unspent`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub presumed_spent: bool,
    /// An exact figure, micro-dollars.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub spent_microdollars: Option<Money>,
    /// Why, 1–500 characters.
    pub reason: String,
}

impl FromFields for SettleLease {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let outcome = f.optional_word("outcome", &[("spent", true), ("unspent", false)]);
        if !f.has("outcome") {
            f.error("outcome", "is required");
        }
        let spent_microdollars = f.optional_micros("spent_microdollars", 0, Money::MAX_CAP);
        let reason = f.required_str("reason", 1, 500);
        Some(Self { presumed_spent: outcome?, spent_microdollars, reason: reason? })
    }
}

/// Why something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reason {
    /// 1–500 characters.
    pub reason: String,
}

impl FromFields for Reason {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let reason = f.required_str("reason", 1, 500);
        Some(Self { reason: reason? })
    }
}

/// What is to be frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FreezeScope {
    /// One agent.
    Agent(AgentId),
    /// A project.
    Project(ProjectId),
    /// An owner.
    Owner(UserId),
    /// Everything.
    Organization,
}

impl FromFields for FreezeScope {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        #[derive(Clone, Copy, PartialEq)]
        enum Kind {
            Agent,
            Project,
            Owner,
            Organization,
        }
        let kinds = [
            ("agent", Kind::Agent),
            ("project", Kind::Project),
            ("owner", Kind::Owner),
            ("organization", Kind::Organization),
        ];
        if !f.has("kind") {
            f.error("kind", "is required");
            return None;
        }
        let kind = f.optional_word("kind", &kinds)?;
        if kind == Kind::Organization {
            return Some(Self::Organization);
        }
        let Some(id) = f.value("id") else {
            f.error("id", "is required");
            return None;
        };
        if kind == Kind::Agent {
            let prefixed = id.as_str().and_then(AgentId::parse);
            let agent = prefixed.map_or_else(|| numeric_id(id).map(AgentId), Ok);
            return match agent {
                Ok(agent) => Some(Self::Agent(agent)),
                Err(why) => {
                    f.error("id", why);
                    None
                }
            };
        }
        let id = f.required_str("id", 1, 100)?;
        Some(if kind == Kind::Project { Self::Project(ProjectId::new(id)) } else { Self::Owner(UserId::new(id)) })
    }
}

/// A scope and why it is frozen or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreezeRequest {
    /// What is meant.
    pub scope: FreezeScope,
    /// Why, 1–500 characters.
    pub reason: String,
}

impl FromFields for FreezeRequest {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let scope = f.required_object("scope");
        let reason = f.required_str("reason", 1, 500);
        Some(Self { scope: scope?, reason: reason? })
    }
}

/// [`FreezeRequest`] as the API description shows it.
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(as = FreezeRequest)]
#[expect(dead_code, reason = "describes the form, is never built")]
pub struct FreezeRequestSchema {
    scope: Scope,
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

body! {
    /// A freeze: nothing in its scope gets money or keys while it is active.
    FreezeBody {
        /// Its id.
        id: String,
        /// Whom it covers.
        scope: Scope,
        /// Why.
        reason: String,
        /// Whether it is in force.
        active: bool,
        /// Since when, milliseconds.
        frozen_at: Timestamp => "wire::millis" as i64,
        /// Who set it.
        frozen_by: String,
        /// When it was lifted.
        unfrozen_at: Option<Timestamp> => "wire::optional_millis" as Option<i64>,
        /// Who lifted it.
        unfrozen_by: Option<String>,
        /// Why it was lifted.
        unfreeze_reason: Option<String>,
    }
}

/// A freeze that was set, and what it covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FreezeSet {
    /// The freeze.
    #[serde(flatten)]
    pub freeze: FreezeBody,
    /// Whether it is new.
    pub created: bool,
    /// How many agents it covers.
    pub agents_affected: i64,
    /// How many of their leases are active.
    pub open_leases: i64,
    /// What is lent to them or in suspense, micro-dollars.
    #[serde(with = "wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub exposure: Money,
}

body! {
    /// What is out in a scope. Amounts are micro-dollars.
    ExposureBody {
        /// The scope.
        scope: Scope,
        /// The budget with the least available, if there is one.
        budget_id: Option<String>,
        /// `none`, `day`, `week` or `month`.
        window: Option<String>,
        /// First instant of the window, milliseconds.
        window_start: Option<i64>,
        /// First instant after it.
        window_end: Option<i64>,
        /// The most that may be spent in it.
        cap: Option<i64>,
        /// Known to be spent.
        spent: Money => "wire::spent" as i64,
        /// Lent and not reported.
        leased: Money => "wire::spent" as i64,
        /// Perhaps spent; not lent again.
        suspense: Money => "wire::spent" as i64,
        /// Spent beyond what was lent.
        overrun: Money => "wire::spent" as i64,
        /// What may still be lent.
        available: Option<i64>,
        /// Leased and in suspense: the most that can still be lost.
        exposure: Money => "wire::spent" as i64,
        /// How many leases are open.
        open_leases: i64,
        /// When these figures were true, milliseconds.
        as_of: Timestamp => "wire::millis" as i64,
    }
}

body! {
    /// One budget in the answer to why an agent gets money or not.
    ExplainedScope {
        /// Whose money.
        scope: Scope,
        /// Under which budget.
        budget_id: String,
        /// `policy`, `agent_allocation` or `limit`.
        source: String,
        /// The most that may be spent in the window.
        cap: Money => "wire::left" as i64,
        /// `none`, `day`, `week` or `month`.
        window: String,
        /// First instant of the window, milliseconds; `null` without one.
        window_start: Option<i64>,
        /// First instant after it.
        window_end: Option<i64>,
        /// Whose midnight starts it.
        time_zone: String,
        /// Known to be spent.
        spent: Money => "wire::spent" as i64,
        /// Lent and not reported.
        leased: Money => "wire::spent" as i64,
        /// Perhaps spent; not lent again.
        suspense: Money => "wire::spent" as i64,
        /// Spent beyond what was lent.
        overrun: Money => "wire::spent" as i64,
        /// What may still be lent.
        available: Money => "wire::left" as i64,
        /// `ok`, `partial` or `blocked`.
        verdict: String,
    }
}

body! {
    /// Which provider key would be handed out.
    ExplainedKey {
        /// Which key.
        id: Option<i64>,
        /// Its kind.
        provider: Option<String>,
        /// Whether it can be used.
        usable: bool,
        /// Why not: `unassigned` or `disabled`.
        reason: Option<String>,
    }
}

body! {
    /// A quota in the answer to why an agent gets money or not.
    ExplainedQuota {
        /// Which quota.
        quota: String,
        /// Whose.
        scope: Scope,
        /// How much.
        limit: i64,
        /// Used.
        used: i64,
        /// When it starts anew, milliseconds.
        resets_at: Option<i64>,
        /// `ok` or `blocked`.
        verdict: String,
    }
}

body! {
    /// Why an agent would get money or not. Writes nothing.
    ExplainBody {
        /// The agent.
        agent_id: i64,
        /// What would be asked for, micro-dollars.
        amount: Money => "wire::left" as i64,
        /// `grant`, `partial` or `refuse`.
        decision: String,
        /// What would be granted, micro-dollars.
        grantable: Money => "wire::left" as i64,
        /// The scope that binds.
        binding_scope: Option<Scope>,
        /// Every budget that counts, widest scope first.
        scopes: Vec<ExplainedScope>,
        /// The freezes that cover the agent.
        freezes: Vec<FreezeBody>,
        /// The quotas that count.
        quotas: Vec<ExplainedQuota>,
        /// The provider key.
        provider_key: ExplainedKey,
        /// When this was true, milliseconds.
        as_of: Timestamp => "wire::millis" as i64,
    }
}

body! {
    /// One amount of one account.
    PostingBody {
        /// Whose money.
        scope: Scope,
        /// Under which budget.
        budget_id: String,
        /// `available`, `leased`, `suspense`, `spent` or `overrun`.
        account: String,
        /// What was added, nano-dollars as a decimal string.
        delta_nanos: String,
    }
}

body! {
    /// A journal entry.
    JournalBody {
        /// Its place: 1, 2, 3 … without holes.
        seq: i64,
        /// `tx_<uuid>`.
        tx_id: String,
        /// Why money moved.
        kind: String,
        /// When it was recorded, milliseconds.
        recorded_at: Timestamp => "wire::millis" as i64,
        /// When it happened, milliseconds.
        occurred_at: Timestamp => "wire::millis" as i64,
        /// The agent.
        agent_id: Option<i64>,
        /// The lease.
        lease_id: Option<String>,
        /// The id of the report or event, or the idempotency key.
        request_id: Option<String>,
        /// The headline amount, micro-dollars.
        amount_microdollars: i64,
        /// The same in nano-dollars, as a decimal string.
        amount_nanos: String,
        /// What was added to which account.
        postings: Vec<PostingBody>,
        /// Who did it.
        actor: String,
        /// Why, where a person said so.
        reason: Option<String>,
    }
}
