//! `server ledger verify` and `audit verify`: recomputing what the database claims, beside a server that runs or without one.
//! `analytics verify` and `analytics rebuild`: the sums over LLM requests; an embedded database is opened by exactly one.

use clap::Subcommand;
use persistence::{LedgerCheck, RollupCheck, Store, WrongCell};

use super::{Failure, print};
use crate::config::Loaded;
use crate::wiring::{open_existing_store, open_store_to_read};

/// What to do with the ledger.
#[derive(Subcommand)]
pub(super) enum Ledger {
    /// Recompute every balance and every hash chain from the journal. Changes nothing; fails if anything differs.
    Verify,
}

/// What to do with the audit log.
#[derive(Subcommand)]
pub(super) enum Audit {
    /// Recompute the hash chain. Changes nothing; names the first entry that does not fit.
    Verify,
}

/// What to do with the sums over LLM requests.
#[derive(Subcommand)]
pub(super) enum Analytics {
    /// Add every fact up and compare with what is stored. Changes nothing; fails if anything differs.
    Verify,
    /// Make what differs anew from the facts. Of days whose facts are no longer kept, the sums stay as they are.
    Rebuild,
}

pub(super) async fn analytics(command: Analytics, loaded: Loaded) -> Result<(), Failure> {
    let store = open_existing_store(&loaded.config).await?;
    let verdict = check_rollups(&store, matches!(command, Analytics::Rebuild)).await;
    store.close().await;
    print(format!("{}\n", verdict?).as_bytes())
}

pub(super) async fn ledger(command: Ledger, loaded: Loaded) -> Result<(), Failure> {
    let Ledger::Verify = command;
    let store = open_store_to_read(&loaded.config).await?;
    let verdict = verify_ledger(&store).await;
    store.close().await;
    print(format!("{}\n", verdict?).as_bytes())
}

pub(super) async fn audit(command: Audit, loaded: Loaded) -> Result<(), Failure> {
    let Audit::Verify = command;
    let store = open_store_to_read(&loaded.config).await?;
    let verdict = verify_audit(&store).await;
    store.close().await;
    print(format!("{}\n", verdict?).as_bytes())
}

/// One line that says what was verified, or every difference.
async fn verify_ledger(store: &Store) -> Result<String, Failure> {
    let check = store.verify_ledger().await?;
    if check.is_ok() {
        let LedgerCheck { entries, agents, budgets, accounts, leases, .. } = check;
        return Ok(format!(
            "ledger ok: {entries} entries in {agents} chains, {budgets} budgets, {accounts} accounts, {leases} leases"
        ));
    }
    let shown: Vec<String> = check.problems.iter().map(ToString::to_string).collect();
    let count = check.problem_count;
    Err(format!("the ledger does not agree with itself, {count} problems:\n{}", shown.join("\n")).into())
}

/// One line that says what was verified or made anew, or every difference.
async fn check_rollups(store: &Store, repair: bool) -> Result<String, Failure> {
    let RollupCheck { facts, cells, wrong, wrong_count } = store.check_rollups(repair).await?;
    if repair {
        return Ok(format!("analytics rebuilt: {facts} facts, {cells} sums and sketches, {wrong_count} made anew"));
    }
    if wrong_count == 0 {
        return Ok(format!("analytics ok: {facts} facts, {cells} sums and sketches"));
    }
    let line = |cell: &WrongCell| {
        let series = cell.series.map_or_else(String::new, |series| format!(" of series {series}"));
        format!("{}{series}, {:?} from {}", cell.what, cell.level, cell.start.to_rfc3339())
    };
    let shown: Vec<String> = wrong.iter().map(line).collect();
    Err(format!("the sums do not agree with the facts, {wrong_count} differences:\n{}", shown.join("\n")).into())
}

/// One line that says what was verified, or the first entry that does not fit.
async fn verify_audit(store: &Store) -> Result<String, Failure> {
    let check = store.verify_audit(None, None).await?;
    match check.bad {
        None => Ok(format!("audit ok: {} entries", check.checked)),
        Some((seq, why)) => Err(format!("audit entry {seq}: {why}").into()),
    }
}
