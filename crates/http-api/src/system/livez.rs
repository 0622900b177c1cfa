//! GET `/livez`.

use axum::Json;
use serde::Serialize;

/// The process runs.
#[derive(Serialize, utoipa::ToSchema)]
pub struct AliveBody {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Whether the process runs
///
/// Says nothing about the parts it leans on; restart the process when this does not answer.
#[utoipa::path(get, path = "/livez", tag = "system", responses((status = 200, body = AliveBody, description = "It runs")))]
pub async fn livez() -> Json<AliveBody> {
    Json(AliveBody { status: "ok" })
}
