//! GET `/api/v1/health` (also `/api/health` and `/health`).

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;

use crate::health::PartStatus;
use crate::state::ApiState;

/// How the service is.
#[derive(Serialize, utoipa::ToSchema)]
pub struct HealthBody {
    /// `healthy` or `unhealthy`.
    #[schema(example = "healthy")]
    status: &'static str,
    /// Now, in seconds since the Unix epoch.
    timestamp: i64,
    /// The release.
    version: &'static str,
    /// Seconds since the server started.
    uptime_seconds: i64,
    services: ServicesBody,
    /// What does not work; absent where everything does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<PartErrorBody>,
}

/// How the parts are: `healthy` or `unhealthy`.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ServicesBody {
    database: &'static str,
}

/// A part that does not work.
#[derive(Serialize, utoipa::ToSchema)]
pub struct PartErrorBody {
    service: &'static str,
    message: &'static str,
}

/// How the service is
///
/// Needs no credential and loads nothing: the parts are looked at no more than once a second. Also served at
/// `/api/health` and `/health`.
#[utoipa::path(
    get,
    path = "/api/v1/health",
    tag = "system",
    responses(
        (status = 200, description = "Everything works", body = HealthBody),
        (status = 503, description = "Something does not; same shape, `status` is `unhealthy`", body = HealthBody),
    ),
)]
pub async fn health(State(api): State<ApiState>) -> impl IntoResponse {
    let report = api.health.report().await;
    let now = api.clock.now();
    let errors: Vec<PartErrorBody> = [("database", report.database)]
        .into_iter()
        .filter_map(|(service, status)| status.err().map(|message| PartErrorBody { service, message }))
        .collect();
    let body = HealthBody {
        status: word(if errors.is_empty() { Ok(()) } else { Err("") }),
        timestamp: now.secs(),
        version: api.build.version,
        uptime_seconds: now.since(api.started_at).max(0) / 1_000,
        services: ServicesBody { database: word(report.database) },
        errors,
    };
    if body.errors.is_empty() {
        return Json(body).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], Json(body)).into_response()
}

const fn word(status: PartStatus) -> &'static str {
    if status.is_ok() { "healthy" } else { "unhealthy" }
}
