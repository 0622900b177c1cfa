//! GET `/api/v1/version` (also `/api/version`).

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::state::ApiState;

/// What program this is and which versions of the API it speaks.
#[derive(Serialize, utoipa::ToSchema)]
pub struct VersionBody {
    /// The release.
    version: &'static str,
    #[schema(example = "v1")]
    current_version: &'static str,
    supported_versions: [&'static str; 1],
    deprecated_versions: [&'static str; 0],
    #[schema(example = "/api/v1")]
    latest_endpoint: &'static str,
    build: BuildBody,
}

/// How it was built and where it runs.
#[derive(Serialize, utoipa::ToSchema)]
pub struct BuildBody {
    /// The commit, or `unknown`.
    commit: &'static str,
    /// When it was built, RFC 3339, or `unknown`.
    timestamp: &'static str,
    /// The deployment's own word for where it runs.
    environment: String,
}

/// What program this is
#[utoipa::path(
    get,
    path = "/api/v1/version",
    tag = "system",
    responses((status = 200, description = "Release, API versions and build", body = VersionBody)),
)]
pub async fn version(State(api): State<ApiState>) -> Json<VersionBody> {
    Json(VersionBody {
        version: api.build.version,
        current_version: "v1",
        supported_versions: ["v1"],
        deprecated_versions: [],
        latest_endpoint: "/api/v1",
        build: BuildBody {
            commit: api.build.commit,
            timestamp: api.build.timestamp,
            environment: api.build.environment.clone(),
        },
    })
}
