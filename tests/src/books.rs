//! The books as they show from outside, for stories that are about money.

use crate::harness::*;

/// One agent's money, in micro-dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) allocated: i64,
    pub(crate) spent: i64,
    pub(crate) leased: i64,
    pub(crate) suspense: i64,
    pub(crate) remaining: i64,
}

/// The books of an agent. What they say is checked against itself on the way.
pub(crate) async fn books(world: &World, agent: &Agent) -> Books {
    let budget = world.budget_of(agent.id).await;
    let books = Books {
        allocated: budget.int("total_allocated"),
        spent: budget.int("spent"),
        leased: budget.int("leased"),
        suspense: budget.int("suspense"),
        remaining: budget.int("budget_remaining"),
    };
    let committed = budget.int("total_spent");
    assert_eq!(books.remaining, (books.allocated - committed).max(0), "{budget}");
    assert!([books.spent, books.leased, books.suspense].iter().all(|amount| *amount >= 0), "{budget}");
    books
}

impl Books {
    /// The same with other amounts.
    pub(crate) fn of(allocated: i64, spent: i64, leased: i64, suspense: i64) -> Self {
        Self { allocated, spent, leased, suspense, remaining: (allocated - spent - leased - suspense).max(0) }
    }
}

/// Every entry of the journal that fits the query, oldest first.
pub(crate) async fn journal(world: &World, query: &str) -> Vec<Value> {
    let admin = world.admin().await;
    let (mut entries, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("budget/journal?order=asc&limit=200&cursor={cursor}&{query}");
        let page = admin.get(&path).await.expect(200);
        entries.extend_from_slice(page.list("data"));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return entries,
        }
    }
}

/// The nano-dollars that an entry posts, by scope and account; the accounts of one scope must cancel out, because every
/// dollar comes from somewhere. Entries that set a cap bring money from outside.
#[track_caller]
pub(crate) fn check_postings(entry: &Value) {
    let mut sums = std::collections::BTreeMap::<String, i128>::new();
    for posting in entry.list("postings") {
        let delta = posting.text("delta_nanos").parse::<i128>().expect("a decimal number");
        *sums.entry(posting.text("budget_id").to_owned()).or_default() += delta;
    }
    let cap = match entry.text("kind") {
        "allocate" | "adjust" => entry.text("amount_nanos").parse::<i128>().expect("a decimal number"),
        _ => 0,
    };
    assert!(sums.values().all(|sum| *sum == cap), "{entry}");
}

/// Stops the server, recomputes ledger and audit log from their chains, and starts it again.
pub(crate) async fn verify(world: &World) {
    world.server.stop().await;
    verify_stopped(world).await;
    world.server.start_again().await;
}

/// As [`verify`], for a server that is stopped or dead; it stays so.
pub(crate) async fn verify_stopped(world: &World) {
    let ledger = world.command(&["ledger", "verify"]).await.ok();
    assert!(ledger.contains("ledger ok"), "{ledger}");
    let audit = world.command(&["audit", "verify"]).await.ok();
    assert!(audit.contains("audit ok"), "{audit}");
}
