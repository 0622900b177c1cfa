//! GET `/api/v1/budget/journal`: every move of money.

use api_types::control::{JournalBody, PostingBody};
use axum::Json;
use axum::extract::State;
use kernel::{ErrorCode, LeaseId, Timestamp};
use ledger::EntryKind;
use persistence::{JournalEntry, JournalFilter, Order, SeqCursor};

use super::exposure::check_agent;
use super::shape::visible_to;
use crate::budget::scope_body;
use crate::list::CursorPage;
use crate::{ApiError, ApiState, Caller, Query};

const ORDERS: [(&str, Order); 2] = [("asc", Order::Ascending), ("desc", Order::Descending)];

/// Every move of money
#[utoipa::path(
    get,
    path = "/api/v1/budget/journal",
    tag = "budget control",
    security(("bearer" = [])),
    params(
        ("agent_id" = Option<String>, Query, description = "`12` or `agent_12`"),
        ("lease_id" = Option<String>, Query, description = "One lease"),
        ("kind" = Option<String>, Query, description = "One or more, separated by commas"),
        ("since" = Option<String>, Query, description = "Recorded at or after; also `from`"),
        ("to" = Option<String>, Query, description = "Recorded before"),
        ("order" = Option<String>, Query, description = "`asc` or `desc` (default)"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, default 100"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "Entries of own agents; an admin sees all", body = CursorPage<JournalBody>),
        (status = 403, description = "`ACCESS_DENIED`"),
        (status = 404, description = "`AGENT_NOT_FOUND`, `LEASE_NOT_FOUND`"),
    ),
)]
pub async fn journal(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<CursorPage<JournalBody>>, ApiError> {
    let mut q = query.reader();
    let agent = q.agent_id("agent_id");
    let lease = q.text("lease_id", 100).map(LeaseId::new);
    let kinds = q.many("kind", |word| EntryKind::parse(word).ok_or_else(|| "is not a kind of entry".to_owned()));
    let since = q.text("since", 40);
    let range = q.time_range();
    let since = since.as_deref().map(instant);
    if matches!(since, Some(None)) {
        q.error("since", "must be milliseconds since 1970 or an RFC 3339 time");
    }
    let order = q.word("order", &ORDERS).unwrap_or(Order::Descending);
    let place = q.cursor(100);
    let cursor = place.cursor.as_deref().map(str::parse::<SeqCursor>);
    if matches!(cursor, Some(Err(_))) {
        q.error("cursor", "is not one of this list");
    }
    q.finish(())?;
    if let Some(agent) = agent {
        check_agent(&api, &caller, agent).await?;
    }
    if let Some(lease) = &lease {
        let view = api.store.lease(lease).await?.ok_or(ErrorCode::LeaseNotFound)?;
        caller.require_sight_of(&view.agent_owner, ErrorCode::LeaseNotFound)?;
    }
    let from = range.from.or(since.flatten());
    let filter = JournalFilter { visible_to: visible_to(&caller), agent, lease, kinds, from, to: range.to, order };
    let slice = api.store.journal(&filter, cursor.and_then(Result::ok), place.limit).await?;
    let next_cursor = slice.next.map(|cursor| cursor.to_string());
    Ok(Json(CursorPage { data: slice.rows.into_iter().map(body).collect(), next_cursor }))
}

fn instant(text: &str) -> Option<Timestamp> {
    match text.parse::<i64>() {
        Ok(ms) if ms >= 0 => Some(Timestamp::from_millis(ms)),
        Ok(_) => None,
        Err(_) => Timestamp::from_rfc3339(text),
    }
}

fn body(row: JournalEntry) -> JournalBody {
    let tx_id = row.tx_id();
    let entry = row.entry;
    // Money that is committed rounds up, money that is granted or given back rounds down
    let amount = match entry.kind {
        EntryKind::Grant | EntryKind::Return | EntryKind::Refresh | EntryKind::Allocate | EntryKind::Adjust => {
            entry.amount.micros_floor()
        }
        _ => entry.amount.micros_ceil(),
    };
    JournalBody {
        seq: row.seq,
        tx_id,
        kind: entry.kind.as_str().to_owned(),
        recorded_at: entry.recorded_at,
        occurred_at: entry.occurred_at,
        agent_id: entry.agent.map(|agent| agent.0),
        lease_id: entry.lease.map(|lease| lease.as_str().to_owned()),
        request_id: entry.request_id,
        amount_microdollars: amount,
        amount_nanos: entry.amount.nanos().to_string(),
        postings: row
            .postings
            .into_iter()
            .map(|posting| PostingBody {
                scope: scope_body(&posting.scope),
                budget_id: posting.budget.as_str().to_owned(),
                account: posting.account.to_owned(),
                delta_nanos: posting.delta.nanos().to_string(),
            })
            .collect(),
        actor: entry.actor.to_text(),
        reason: entry.reason,
    }
}
