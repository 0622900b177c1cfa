//! What the scopes of an API token leave of its owner's rights.
//!
//! A scope names the first part of a path behind `/api/v1/`. A route that has a second name is within the scope of either:
//! whoever was given `write:agents` may change `agents/{id}/budget`, though it is served under `limits`.

use auth::api_token::{Scope, covers};
use axum::http::request::Parts;
use kernel::ErrorCode;

use super::is_read;
use crate::ApiError;
use crate::normalize::AskedPath;

/// 403 `INSUFFICIENT_SCOPE` unless some scope covers the request.
pub(super) fn check(scopes: &[Scope], parts: &Parts) -> Result<(), ApiError> {
    let asked = parts.extensions.get::<AskedPath>().map(|asked| &*asked.0);
    let covered = |path: &str| covers(scopes, is_read(&parts.method), resource(path));
    if covered(parts.uri.path()) || asked.is_some_and(covered) {
        return Ok(());
    }
    Err(ErrorCode::InsufficientScope.into())
}

/// The first part of a path behind `/api/v1/`; of other paths the first part.
fn resource(path: &str) -> &str {
    let below = path.strip_prefix("/api/v1/").or_else(|| path.strip_prefix('/')).unwrap_or(path);
    below.split('/').next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::resource;

    #[test]
    fn a_resource_is_the_first_part_of_the_path() {
        for (path, expected) in [
            ("/api/v1/agents", "agents"),
            ("/api/v1/agents/7/budget", "agents"),
            ("/api/v1/budget-requests/me", "budget-requests"),
            ("/ws", "ws"),
            ("/api/v1/", ""),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
    }
}
