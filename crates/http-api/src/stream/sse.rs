//! GET `/api/v1/events/stream`: the stream as server-sent events.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use kernel::{ErrorCode, Secret};
use ws_hub::{Cursor, Filter, Kind, Manner, Session, StartError, Subscription};

use super::access::{self, Door};
use super::sse_body;
use crate::bearer::bearer;
use crate::{ApiError, ApiState, Query, RequestContext};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Proxies are asked to pass on what comes as it comes.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

const KINDS: [(&str, Kind); 3] =
    [("STATE_UPDATE", Kind::StateUpdate), ("AGENT_EVENT", Kind::AgentEvent), ("COST_ALERT", Kind::CostAlert)];

/// Everything that happens, as it happens, as server-sent events
///
/// Each event has `id: <epoch>:<seq>`, `event: <type>` and its frame as `data`. A client that comes back with
/// `Last-Event-ID` gets exactly what it missed.
#[utoipa::path(
    get,
    path = "/api/v1/events/stream",
    tag = "stream",
    security(("bearer" = [])),
    params(
        ("agent_ids" = Option<String>, Query, description = "Only these agents, separated by commas"),
        ("types" = Option<String>, Query, description = "`STATE_UPDATE`, `AGENT_EVENT`, `COST_ALERT`, separated by commas"),
        ("since" = Option<String>, Query, description = "What came after this place, `<epoch>:<seq>`"),
        ("allow_gap" = Option<bool>, Query, description = "Be told of what is lost instead of being refused"),
        ("Last-Event-ID" = Option<String>, Header, description = "As `since`, and before it"),
    ),
    responses(
        (status = 200, description = "Admins see everything, users their own agents, an IC token its agent",
            body = String, content_type = "text/event-stream"),
        (status = 410, description = "`CURSOR_TOO_OLD`: what came after that place is no longer kept"),
    ),
)]
pub async fn event_stream(
    State(api): State<ApiState>,
    context: RequestContext,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, ApiError> {
    let token = bearer(&headers).ok_or(ErrorCode::AuthMissingToken)?;
    let admission = access::admit(&api, Secret::new(token.to_owned())).await?;
    context.set_actor(admission.subject.as_str());
    let mut q = query.reader();
    let agents = q.agent_ids("agent_ids");
    let kinds = q.words("types", &KINDS);
    let allow_gap = q.flag("allow_gap").unwrap_or(false);
    let since = q.text("since", 100).map(|text| text.parse::<Cursor>());
    let last = headers.get(LAST_EVENT_ID).map(|value| value.to_str().unwrap_or("?").trim()).filter(|id| !id.is_empty());
    let last = last.map(|text| text.parse::<Cursor>());
    for (name, cursor) in [("since", &since), ("Last-Event-ID", &last)] {
        if let Some(Err(bad)) = cursor {
            q.error(name, format!("is {bad}"));
        }
    }
    q.finish(())?;
    let since = last.or(since).and_then(Result::ok);
    let filter = Filter { agents: (!agents.is_empty()).then_some(agents), kinds: (!kinds.is_empty()).then_some(kinds) };
    let slot = api.stream.hub.connect().ok_or_else(ApiError::overloaded)?;
    let filter = filter.within(&access::sight(&admission.pass));
    let started = Subscription::start(&api.stream.hub, filter, since.as_ref(), allow_gap).await;
    let (subscription, started) = started.map_err(|error| match error {
        StartError::TooOld(gap) => {
            let (from, to, why) = (gap.from, gap.to, gap.reason.as_str());
            ApiError::new(ErrorCode::CursorTooOld, "what came after this cursor is no longer kept")
                .details(serde_json::json!({ "from_seq": from, "to_seq": to, "reason": why }))
        }
        StartError::Log(error) => ApiError::unavailable(error),
    })?;
    let (writer, body) = sse_body::channel(&started.cursor);
    let (hub, clock) = (api.stream.hub.clone(), Arc::clone(&api.clock));
    let session = Session::new(hub, slot, Arc::new(Door(api)), clock, Manner::SERVER_SENT, writer);
    tokio::spawn(session.subscribed(admission.pass, subscription, &started).run());
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    Ok((headers, HttpBody::new(body)).into_response())
}
