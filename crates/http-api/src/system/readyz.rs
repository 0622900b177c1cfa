//! GET `/readyz`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::health::PartStatus;
use crate::state::ApiState;

/// Whether requests can be served.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ReadyBody {
    /// `ready` or `not_ready`.
    #[schema(example = "ready")]
    status: &'static str,
    checks: ChecksBody,
}

/// What was checked: `ok`, or what is wrong.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ChecksBody {
    database: &'static str,
    migrations: &'static str,
    crypto: &'static str,
}

/// Whether requests can be served
///
/// Send traffic elsewhere while this answers 503; do not restart for it.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "system",
    responses(
        (status = 200, description = "Ready", body = ReadyBody),
        (status = 503, description = "Not ready; same shape, the failing check says why", body = ReadyBody),
    ),
)]
pub async fn readyz(State(api): State<ApiState>) -> Response {
    let report = api.health.report().await;
    let ready = [report.database, report.migrations, report.crypto].iter().all(Result::is_ok);
    let body = ReadyBody {
        status: if ready { "ready" } else { "not_ready" },
        checks: ChecksBody {
            database: word(report.database),
            migrations: word(report.migrations),
            crypto: word(report.crypto),
        },
    };
    if ready {
        return Json(body).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], Json(body)).into_response()
}

const fn word(status: PartStatus) -> &'static str {
    match status {
        Ok(()) => "ok",
        Err(why) => why,
    }
}
