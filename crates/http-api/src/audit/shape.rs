//! Questions to the audit log and their answers, whoever asks.

use api_types::audit::{AuditChanges, AuditEntry as EntryBody};
use axum::Json;
use axum::response::{IntoResponse, Response};
use kernel::UserId;
use persistence::{AuditEntry, AuditFilter, SeqCursor, Store, StoreError};
use serde_json::Value;

use crate::export::{self, Format, Row, Source};
use crate::list::CursorPage;
use crate::{ApiError, ApiState, Caller, Query};

/// How many entries of a file are read at once.
const STRETCH: u32 = 500;

/// What was asked.
pub(super) struct Question {
    filter: AuditFilter,
    cursor: Option<SeqCursor>,
    limit: u32,
    /// As a file, of at most so many entries.
    file: Option<(Format, u64)>,
}

/// Reads a question; about one user only, if one is given.
pub(super) fn question(query: &Query, user: Option<&UserId>) -> Result<Question, ApiError> {
    let mut q = query.reader();
    let users = match user {
        Some(user) => vec![user.clone()],
        None => q.texts("user_id", 100).into_iter().map(UserId::new).collect(),
    };
    let (resource_types, resource_ids) = (q.texts("resource_type", 100), q.texts("resource_id", 255));
    let operations = q.texts("operation", 100);
    let range = q.time_range();
    let most = if q.raw(&["limit"]).is_some() { None } else { Some(u64::MAX) };
    let place = q.cursor(100);
    let cursor = place.cursor.as_deref().map(str::parse::<SeqCursor>);
    if matches!(cursor, Some(Err(_))) {
        q.error("cursor", "is not one of this list");
    }
    q.finish(())?;
    let file = Format::wanted(query)?.map(|format| (format, most.unwrap_or_else(|| place.limit.into())));
    let filter = AuditFilter { users, resource_types, resource_ids, operations, from: range.from, to: range.to };
    Ok(Question { filter, cursor: cursor.and_then(Result::ok), limit: place.limit, file })
}

/// A page of entries, or a file of them.
pub(super) async fn answer(api: &ApiState, caller: &Caller, question: Question) -> Result<Response, ApiError> {
    let Question { filter, cursor, limit, file } = question;
    if let Some((format, left)) = file {
        api.limits.export(&caller.user)?;
        let entries = Entries { store: api.store.clone(), filter, cursor, left };
        return export::stream(format, "audit-logs", entries).await;
    }
    let slice = api.store.audit_log(&filter, cursor, limit).await?;
    let next_cursor = slice.next.map(|cursor| cursor.to_string());
    let data = slice.rows.into_iter().map(body).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(CursorPage { data, next_cursor }).into_response())
}

/// The entries of a file.
struct Entries {
    store: Store,
    filter: AuditFilter,
    cursor: Option<SeqCursor>,
    /// How many are still to come, at most.
    left: u64,
}

impl Source for Entries {
    type Row = EntryBody;

    async fn next(&mut self) -> Result<Vec<EntryBody>, ApiError> {
        let limit = u32::try_from(self.left).unwrap_or(STRETCH).min(STRETCH);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let slice = self.store.audit_log(&self.filter, self.cursor, limit).await?;
        self.left = if slice.next.is_some() { self.left - u64::from(limit) } else { 0 };
        self.cursor = slice.next;
        Ok(slice.rows.into_iter().map(body).collect::<Result<_, _>>()?)
    }
}

impl Row for EntryBody {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "seq",
        "timestamp",
        "operation",
        "resource_type",
        "resource_id",
        "user_id",
        "user_role",
        "agent_id",
        "ip_address",
        "user_agent",
        "request_id",
        "changes.before",
        "changes.after",
        "metadata",
        "prev_hash",
        "hash",
    ];
}

fn body(entry: AuditEntry) -> Result<EntryBody, StoreError> {
    let actor = entry.actor;
    Ok(EntryBody {
        id: entry.id.as_str().to_owned(),
        seq: entry.seq,
        timestamp: entry.recorded_at.millis(),
        operation: entry.operation,
        resource_type: entry.resource_type,
        resource_id: entry.resource_id,
        user_id: actor.user.map(|user| user.as_str().to_owned()),
        user_role: actor.role,
        agent_id: actor.agent.map(|agent| agent.0),
        ip_address: actor.ip_address,
        user_agent: actor.user_agent,
        request_id: actor.request_id,
        changes: AuditChanges { before: state(entry.before)?, after: state(entry.after)? },
        metadata: state(Some(entry.metadata))?.unwrap_or_default(),
        prev_hash: hex::encode(entry.prev_hash),
        hash: hex::encode(entry.hash),
    })
}

/// A state as it is stored; a `null` is as good as none.
fn state(stored: Option<String>) -> Result<Option<Value>, StoreError> {
    let Some(text) = stored else { return Ok(None) };
    let unreadable = |_| StoreError::Corrupt("a state in the audit log is not JSON".to_owned());
    serde_json::from_str::<Option<Value>>(&text).map_err(unreadable)
}
