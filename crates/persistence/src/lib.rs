//! Storage of the control plane: the only crate that knows SQL.
//!
//! | part | what it is |
//! |---|---|
//! | [`Store`] | the open database, SQLite or PostgreSQL, and every question asked of it |
//! | [`Work`] | one write transaction; collects journal entries, outbox events and audit records and writes them when it commits |
//! | [`Work::run`] | runs ledger commands: loads what they touch under lock, applies them, writes the result set-based |
//! | [`Pipeline`] | the queue in front of it, with group commit |
//!
//! There is one implementation for both databases, not two behind a trait: everything stored is an integer, a text or
//! bytes, so a statement is written once and each driver binds and reads it natively (see `db.rs`); the few that differ
//! stand side by side. No type of the driver appears in the public interface.
//!
//! # Rules
//! * Nothing is acknowledged before `commit` has returned, and `commit` makes it durable (a sync of SQLite's log, see
//!   `durable.rs`, or PostgreSQL's `synchronous_commit`). Nothing is read out that is not.
//! * Locks are taken in one order: agents' books by id, budgets by number, accounts, heads, sums over all agents.
//! * Neither SQL nor this crate decides about money: [`ledger`] does, and CHECK constraints repeat its invariants.
//!
//! # Adding an operation
//! Reads are methods of [`Store`], writes are methods of [`Work`], one module for each kind of thing. Every operation
//! gets a case in the conformance suite, which runs on both databases.

mod agents;
mod api_tokens;
mod audit;
mod audit_log;
mod audit_prune;
mod balance;
mod budget_history;
mod budget_requests;
mod budgets;
mod changes;
mod checkpoint;
mod credential_uses;
mod db;
mod directory;
mod durable;
mod engine;
mod error;
mod facts;
mod filter;
mod freezes;
mod journal;
mod leases;
mod limits;
mod listing;
mod looks;
mod meter;
mod migrations;
mod outbox;
mod payload;
mod pipeline;
#[cfg(test)]
mod plans;
mod projects;
mod provider_keys;
mod questions;
mod requests;
mod rows;
mod sessions;
mod settings;
mod slice;
mod sql;
mod standing;
mod store;
mod sweep;
mod traces;
mod users;
mod verify;
mod work;
mod writer;

pub use agents::{
    Agent, AgentActivity, AgentChange, AgentFilter, AgentKeyRef, AgentSort, AgentStatus, AgentView, AssignedKey,
    IcTokenSet, IcTokenView, MovedAgent, NewAgent, NewAllocation, NewIcTokenRow,
};
pub use api_tokens::{ApiToken, ApiTokenFilter, ApiTokenPrincipal, ApiTokenSort, ApiTokenUsage, NewApiTokenRow};
pub use audit::{AuditActor, AuditEntry, AuditRecord};
pub use audit_log::{AuditCheck, AuditFilter, AuditHead};
pub use audit_prune::AuditPruned;
pub use budget_history::{AllocationChange, AllocationChangeKind, AllocationChangeSummary, NewAllocationChange};
pub use budget_requests::{
    BudgetRequest, BudgetRequestEnd, BudgetRequestFilter, BudgetRequestSort, BudgetRequestStatus, NewBudgetRequest,
};
pub use budgets::{BudgetChange, BudgetFilter, BudgetRefusal, BudgetSource, BudgetView, NewBudget};
pub use changes::{RightsChange, RightsOf};
pub use credential_uses::CredentialUses;
pub use db::Backend;
pub use directory::{AgentPicture, CoveringFreeze, Directory, KeyWish, NoKey, PictureKey};
pub use engine::{
    AgentState, Answer, CallFacts, Done, Extra, FetchedKey, Item, LeaseTerms, LlmFact, Refused, llm_event,
};
pub use error::{DriverError, StoreError};
pub use facts::{
    EventFacts, EventMore, FACTS_KEPT_AT_LEAST_MS, Fold, Folding, RollupCheck, ScopeSums, SketchStep, WrongCell, flag,
    source_of,
};
pub use freezes::{Freeze, FreezeFilter, SetFreeze};
pub use journal::{JournalEntry, JournalFilter, Posting};
pub use leases::{LeaseCursor, LeaseFilter, LeaseView, OpenCounts, OpenLeases};
pub use limits::{Limit, LimitFilter, LimitUse, NewLimit, Quota, QuotaKind, TokenCeiling, limit_scope};
pub use listing::{Listed, Page, Visibility};
pub use outbox::{StoredEvent, StreamHead, StreamPage};
pub use pipeline::{BatchStats, Observer, Pipeline, PipelineOptions};
pub use projects::{NewProject, Project, ProjectChange, ProjectKey};
pub use provider_keys::{
    HeldKey, KeyHolder, KeyUses, NewProviderKey, ProviderKey, ProviderKeyChange, ProviderKeyFilter, SealedProviderKey,
};
pub use questions::{
    CostSpread, Failure, Group, GroupCursor, GroupPage, Inquiry, Key, LatencySpread, ListedFact, QuestionFilter,
};
pub use sessions::{LiveSession, Principal, SessionOrigin, StoredRefreshToken};
pub use settings::{SettingsOf, SettingsStamp};
pub use slice::{BadCursor, Order, SeqCursor, Slice};
pub use standing::{BudgetInfo, Standing};
pub use store::{Store, StoreOptions};
pub use sweep::{GRANT_REQUESTS_KEPT_MS, Sweep};
pub use traces::{Trace, TraceCursor, TraceFilter};
pub use users::{LoginRecord, NewUser, User, UserFilter, UserTaken};
pub use verify::{LedgerCheck, Problem, ProblemKind};
pub use work::{OutboxEvent, Work};
