//! POST `/api/v1/analytics/events/batch`: many LLM requests, of one agent or of several.

use std::borrow::Cow;

use api_types::events::{BatchForm, EventBatch, EventBatchResponse, EventBatchSchema, EventResult};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use kernel::{ErrorCode, FieldErrors};

use super::Intake;
use super::send_one::refused;
use crate::bearer::bearer;
use crate::body::Media;
use crate::{ApiError, ApiState, Body, RequestContext};

/// Sends many events
///
/// A list, an object with the list in `events`, or one event a line (`application/x-ndjson`); 1 to 1000. The token stands
/// in each event, or once in `ic_token` beside `events` or in the `Authorization` header; an event's own wins. Bad events do
/// not spoil good ones, and what became of each is told.
#[utoipa::path(
    post,
    path = "/api/v1/analytics/events/batch",
    tag = "events",
    request_body(content(
        (EventBatchSchema = "application/json"),
        (String = "application/x-ndjson"),
    )),
    responses(
        (status = 200, description = "What became of each event, also if none was taken", body = EventBatchResponse),
        (status = 400, description = "`MALFORMED_JSON`, `BATCH_TOO_LARGE`, or the fields around the events"),
        (status = 401, description = "`INVALID_IC_TOKEN`: the token that events share"),
        (status = 503, description = "`OVERLOADED`: send it again after `Retry-After` seconds"),
    ),
)]
pub(crate) async fn send_events(
    State(api): State<ApiState>,
    context: RequestContext,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<EventBatchResponse>, ApiError> {
    let form = match body.media() {
        Media::NdJson => BatchForm::NdJson,
        _ => BatchForm::Json,
    };
    let batch = EventBatch::read(body.bytes(), form).map_err(refused)?;
    let mut intake = Intake::new(&api);
    // A token that all events do without may be anything: runtimes send all kinds of things in that header
    let is_shared = batch.shares_token();
    let shared = batch.ic_token.or_else(|| bearer(&headers).map(Cow::Borrowed)).filter(|_| is_shared);
    // Before the events, so that a bad token is told as such whatever is wrong with them
    let shared = match shared {
        Some(token) => {
            let sender = intake.sender(token)?;
            intake.require(sender).await?;
            Some(sender)
        }
        None => None,
    };
    let mut results: Vec<Option<EventResult>> = Vec::with_capacity(batch.items.len());
    let mut sent = Vec::with_capacity(batch.items.len());
    for (index, item) in batch.items.into_iter().enumerate() {
        let (own, event) = match item {
            Ok(item) => item,
            Err(rejected) => {
                results.push(Some(rejected.answer(index)));
                continue;
            }
        };
        let sender = match (own, shared) {
            (Some(own), _) => intake.sender(own),
            (None, Some(sender)) => Ok(sender),
            (None, None) => {
                let errors = FieldErrors::one("ic_token", "is required");
                results.push(Some(EventResult::invalid(index, Some(event.event_id), &errors)));
                continue;
            }
        };
        match sender {
            Ok(sender) => {
                sent.push((index, event.event_id.clone()));
                results.push(None);
                intake.add(sender, event);
            }
            Err(_) => {
                let text = "the IC token is not valid";
                results.push(Some(EventResult::rejected(index, Some(event.event_id), ErrorCode::InvalidIcToken, text)));
            }
        }
    }
    for ((index, id), told) in sent.into_iter().zip(intake.book(&context).await?) {
        results[index] = Some(match told {
            Ok(duplicate) => EventResult::stored(index, id, duplicate),
            Err(refusal) => EventResult::rejected(index, Some(id), refusal.code, refusal.text),
        });
    }
    Ok(Json(EventBatchResponse::of(results.into_iter().flatten().collect())))
}
