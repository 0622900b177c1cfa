//! POST `/api/v1/analytics/events`: one LLM request, as its agent tells it.

use std::borrow::Cow;

use api_types::events::{BatchRefusal, EventRequest, EventResponse, EventSchema, EventStatus};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kernel::ErrorCode;

use super::Intake;
use crate::{ApiError, ApiState, Body, RequestContext};

/// Sends an event
///
/// Events may be repeated, come late and in any order: the first one of an id stands, whatever later ones say. Never
/// refused for a freeze or for lack of money, and never 429.
#[utoipa::path(
    post,
    path = "/api/v1/analytics/events",
    tag = "events",
    request_body = EventSchema,
    responses(
        (status = 202, description = "Stored", body = EventResponse),
        (status = 200, description = "Known already", body = EventResponse),
        (status = 400, description = "Fields that will not do"),
        (status = 401, description = "`INVALID_IC_TOKEN`"),
        (status = 503, description = "`OVERLOADED`: send it again after `Retry-After` seconds"),
    ),
)]
pub(crate) async fn send_event(
    State(api): State<ApiState>,
    context: RequestContext,
    body: Body,
) -> Result<(StatusCode, Json<EventResponse>), ApiError> {
    let EventRequest { ic_token, event } = EventRequest::read(body.bytes()).map_err(refused)?;
    let event_id = event.event_id.clone();
    let mut intake = Intake::new(&api);
    let sender = intake.sender(Cow::Borrowed(ic_token.expose()))?;
    intake.add(sender, event);
    let told = intake.book(&context).await?.pop();
    let duplicate = told.ok_or_else(|| ApiError::internal("an event was not answered"))??;
    let (code, status) = if duplicate {
        (StatusCode::OK, EventStatus::Duplicate)
    } else {
        (StatusCode::ACCEPTED, EventStatus::Accepted)
    };
    Ok((code, Json(EventResponse { event_id, status })))
}

/// What a body that will not do means to the client.
pub(super) fn refused(refusal: BatchRefusal) -> ApiError {
    match refusal {
        BatchRefusal::Json { .. } => ApiError::new(ErrorCode::MalformedJson, refusal.to_string()),
        BatchRefusal::TooLarge { .. } => ApiError::new(ErrorCode::BatchTooLarge, refusal.to_string()),
        BatchRefusal::Fields(fields) => fields.into(),
    }
}
