//! The description of the API, gathered from the handlers.

use std::sync::LazyLock;

use bytes::Bytes;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;

use crate::error::ErrorBody;
use crate::state::ApiState;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Iron Cage control plane",
        description = "Lends agent runtimes tranches of a budget, holds the provider keys, and answers who spent what.",
        license(name = "MIT", identifier = "MIT"),
    ),
    components(schemas(ErrorBody)),
    tags(
        (name = "system", description = "Whether the service works, and what it is"),
        (name = "auth", description = "Logging in, staying logged in, logging out"),
        (name = "users", description = "The people behind the logins"),
        (name = "agents", description = "Who spends: agents, their keys, their IC tokens, their budgets"),
        (name = "providers", description = "Provider keys, and who has them"),
        (name = "projects", description = "Groups of agents"),
        (name = "budgets", description = "Budgets of projects, owners and the whole installation"),
        (name = "events", description = "What agents tell of their LLM requests"),
        (name = "traces", description = "LLM requests one by one; metadata only"),
        (name = "settings", description = "What users, projects and the installation have set"),
        (name = "analytics", description = "Who spent what, on which model, when; and how long it will last"),
        (name = "usage", description = "Tokens, requests and cents"),
        (name = "limits", description = "Budgets of agents in US dollars"),
        (name = "audit", description = "Who did what, and that nobody has touched the record of it"),
        (name = "budget requests", description = "Asking for another total of an agent, and answering that"),
        (name = "usage", description = "Tokens, requests and cents"),
        (name = "limits", description = "What owners may use of tokens, calls and money; budgets of agents in US dollars"),
    ),
)]
struct Base;

/// Every route with its description. **New modules of endpoints are merged here.**
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(<Base as utoipa::OpenApi>::openapi())
        .merge(crate::system::routes())
        .merge(crate::budget::routes())
        .merge(crate::control::routes())
        .merge(crate::auth::routes())
        .merge(crate::users::routes())
        .merge(crate::agents::routes())
        .merge(crate::providers::routes())
        .merge(crate::projects::routes())
        .merge(crate::budgets::routes())
        .merge(crate::audit::routes())
        .merge(crate::budget_requests::routes())
        .merge(crate::limits::routes())
        .merge(crate::events::routes())
        .merge(crate::traces::routes())
        .merge(crate::settings::routes())
        .merge(crate::usage::routes())
        .merge(crate::analytics::routes())
}

/// The OpenAPI 3.1 document.
pub fn openapi() -> OpenApi {
    describe(routes().into_openapi())
}

/// The document as it is served and committed: indented JSON with a newline at its end.
pub fn openapi_json() -> Bytes {
    /// A constant of the program: it depends on nothing but the code.
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
        let mut text = openapi().to_pretty_json().unwrap_or_default();
        text.push('\n');
        Bytes::from(text)
    });
    DOCUMENT.clone()
}

/// Adds what is the same for every operation, so that no handler repeats it.
fn describe(mut document: OpenApi) -> OpenApi {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The access token of a login, or an API token (`apitok_…`)"))
        .build();
    document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let error = ResponseBuilder::new()
        .description("Any failure")
        .content("application/json", ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build())
        .build();
    for item in document.paths.paths.values_mut() {
        let all = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in all.into_iter().flatten() {
            operation.responses.responses.entry("default".to_owned()).or_insert(RefOr::T(error.clone()));
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::openapi_json;

    #[test]
    fn the_document_is_openapi_3_1_and_every_operation_is_named_once() {
        let document: Value = serde_json::from_slice(&openapi_json()).expect("JSON");
        assert_eq!(document["openapi"], "3.1.0");
        let mut names = HashSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("a path item") {
                let name = operation["operationId"].as_str().unwrap_or_default();
                assert!(names.insert(name.to_owned()), "{method} {path}: the name {name} is taken");
                assert!(operation["responses"]["default"].is_object(), "{method} {path}");
                assert!(operation["summary"].is_string(), "{method} {path} has no summary: doc-comment its handler");
            }
        }
        assert!(!names.is_empty());
    }
}
