//! Addresses as clients write them, made into the addresses that are routed.
//!
//! Runtimes configured with a trailing slash send `//api/v1/…`, a dashboard built with base `/api` sends `/api/api/v1/…`,
//! and a proxy that strips `/api` leaves `/v1/…`. All of them mean the same route, so the path is cleaned up *before*
//! routing, in this order: runs of `/` collapse, a trailing `/` goes, a leading `/api/api` becomes `/api`, `/v1/…` becomes
//! `/api/v1/…`, and `/api/<x>` becomes `/api/v1/<x>` unless `<x>` is a version. Then the table of [`crate::alias`] applies.
//!
//! Paths are case-sensitive and stay percent-encoded. A path that is already clean costs no allocation.

use std::borrow::Cow;

use axum::http::uri::PathAndQuery;
use axum::http::{Method, Request, Uri};

use crate::error::Form;
use crate::{alias, body};

/// The address as the client wrote it, cleaned up, where an alias leads elsewhere; among the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct AskedPath(pub(crate) Box<str>);

/// Cleans up the address of a request. Tells which form an error body takes there.
pub(crate) fn normalize<B>(request: &mut Request<B>) -> Form {
    let path = request.uri().path();
    let clean = clean(path);
    // Decided before aliases apply: `auth/handshake` answers as an auth route though it is served elsewhere
    let under_auth = clean.strip_prefix("/api/v1/auth").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    // A sender of protobuf reads protobuf
    let is_protobuf = clean == "/api/v1/traces" && body::is_protobuf(request.headers());
    let form = match (under_auth, is_protobuf) {
        (true, _) => Form::Object,
        (false, true) => Form::Protobuf,
        (false, false) => Form::Text,
    };
    let target = alias::resolve(request.method(), &clean);
    let (path, method): (Option<String>, Option<Method>) = match target {
        Some(target) => {
            let asked = AskedPath(clean.into());
            request.extensions_mut().insert(asked);
            (Some(target.path), target.method)
        }
        None => match clean {
            Cow::Borrowed(_) => (None, None),
            Cow::Owned(path) => (Some(path), None),
        },
    };
    if let Some(method) = method {
        *request.method_mut() = method;
    }
    if let Some(path) = path {
        replace_path(request.uri_mut(), &path);
    }
    form
}

fn clean(path: &str) -> Cow<'_, str> {
    let mut path = Cow::Borrowed(path);
    if path.contains("//") {
        let mut collapsed = String::with_capacity(path.len());
        for c in path.chars() {
            if c != '/' || !collapsed.ends_with('/') {
                collapsed.push(c);
            }
        }
        path = Cow::Owned(collapsed);
    }
    if path.len() > 1 && path.ends_with('/') {
        path = match path {
            Cow::Borrowed(path) => Cow::Borrowed(&path[..path.len() - 1]),
            Cow::Owned(mut path) => {
                path.pop();
                Cow::Owned(path)
            }
        };
        // Borrowed or not, it is another path than the one that came in
        path = Cow::Owned(path.into_owned());
    }
    if path.strip_prefix("/api/api").is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        path = Cow::Owned(path["/api".len()..].to_owned());
    }
    if path.starts_with("/v1/") {
        path = Cow::Owned(format!("/api{path}"));
    } else if let Some(rest) = path.strip_prefix("/api/")
        && !is_version(rest.split('/').next().unwrap_or(""))
    {
        path = Cow::Owned(format!("/api/v1/{rest}"));
    }
    path
}

fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn replace_path(uri: &mut Uri, path: &str) {
    let with_query = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    // Made from parts of a valid address, so it is one; if it were not, the address stays and is not found
    if let Ok(path_and_query) = with_query {
        let mut parts = std::mem::take(uri).into_parts();
        parts.path_and_query = Some(path_and_query);
        *uri = Uri::from_parts(parts).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use axum::http::{Method, Request};

    use super::{clean, normalize};
    use crate::error::Form;

    fn routed(method: Method, uri: &str) -> (Method, String, Form) {
        let mut request = Request::builder().method(method).uri(uri).body(()).expect("a request");
        let form = normalize(&mut request);
        (request.method().clone(), request.uri().to_string(), form)
    }

    fn path_of(uri: &str) -> String {
        routed(Method::GET, uri).1
    }

    #[test]
    fn the_clean_up_follows_its_order() {
        for (sent, means) in [
            ("//api/v1/agents", "/api/v1/agents"),
            ("/api/v1/agents/", "/api/v1/agents"),
            ("///api///v1//agents///", "/api/v1/agents"),
            ("/api/api/v1/agents", "/api/v1/agents"),
            ("/api/api/agents", "/api/v1/agents"),
            ("/api//api/v1/agents", "/api/v1/agents"),
            ("/v1/agents", "/api/v1/agents"),
            ("//v1//agents/", "/api/v1/agents"),
            ("/api/agents/3", "/api/v1/agents/3"),
            ("/api/budget/report", "/api/v1/budget/report"),
            ("/api/v2/agents", "/api/v2/agents"),
            ("/api/vx/agents", "/api/v1/vx/agents"),
            ("/api/v/agents", "/api/v1/v/agents"),
            ("/API/v1/agents", "/API/v1/agents"),
            ("/agents", "/agents"),
            ("/", "/"),
            ("//", "/"),
            ("/api/v1/agents/a%2Fb", "/api/v1/agents/a%2Fb"),
        ] {
            assert_eq!(path_of(sent), means, "{sent}");
        }
    }

    #[test]
    fn the_query_stays() {
        assert_eq!(path_of("//api/agents/?name=a%20b&x=//"), "/api/v1/agents?name=a%20b&x=//");
        assert_eq!(path_of("http://host:1/v1/agents?x"), "http://host:1/api/v1/agents?x");
    }

    #[test]
    fn a_clean_path_is_not_copied() {
        for path in ["/api/v1/budget/report", "/livez", "/metrics", "/", "/ws"] {
            assert!(matches!(clean(path), Cow::Borrowed(_)), "{path}");
        }
    }

    #[test]
    fn errors_under_auth_have_their_own_form_even_where_the_route_is_elsewhere() {
        let (_, path, form) = routed(Method::POST, "/api/auth/handshake");
        assert_eq!((path.as_str(), form), ("/api/v1/budget/handshake", Form::Object));
        assert_eq!(routed(Method::GET, "/v1/auth/nothing").2, Form::Object);
        assert_eq!(routed(Method::GET, "/api/v1/authors").2, Form::Text);
        assert_eq!(routed(Method::POST, "/api/v1/budget/lease/create").2, Form::Text);
    }
}
