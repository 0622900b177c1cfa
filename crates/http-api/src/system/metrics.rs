//! GET `/metrics`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use kernel::ErrorCode;

use crate::bearer::bearer;
use crate::error::ApiError;
use crate::state::ApiState;

/// Metrics for Prometheus
///
/// Open, unless the server was given a metrics token.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "system",
    responses((status = 200, description = "The text exposition format", body = String, content_type = "text/plain")),
)]
pub async fn metrics(State(api): State<ApiState>, headers: HeaderMap) -> Result<Response, ApiError> {
    if let Some(expected) = &api.metrics_token {
        let given = bearer(&headers).ok_or(ErrorCode::AuthMissingToken)?;
        if !same(given.as_bytes(), expected.expose().as_bytes()) {
            return Err(ErrorCode::AuthInvalidToken.into());
        }
    }
    api.stream.measure(&api.metrics.stream);
    let text = api.metrics.exposition().map_err(ApiError::internal)?;
    Ok(([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

/// Compares without telling by the time taken where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
