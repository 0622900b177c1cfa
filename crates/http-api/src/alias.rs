//! Second names of routes, kept for clients that are in the field.
//!
//! One declarative table, applied after the clean-up of [`crate::normalize`] and before routing. `{}` stands for one
//! segment and `{*}` at the end for one or more; they are filled in from left to right. A method given with the name
//! restricts the alias to it; a method given with the target replaces the request's.

use axum::http::Method;

struct Alias {
    /// `None`: any method.
    method: Option<&'static str>,
    /// Below `/api/v1/`.
    from: &'static str,
    to_method: Option<&'static str>,
    /// Below `/api/v1/`, or absolute.
    to: &'static str,
}

const fn any(from: &'static str, to: &'static str) -> Alias {
    Alias { method: None, from, to_method: None, to }
}

const fn on(method: &'static str, from: &'static str, to_method: &'static str, to: &'static str) -> Alias {
    Alias { method: Some(method), from, to_method: Some(to_method), to }
}

/// Outside `/api/v1/`.
const ROOT: &[(&str, &str)] = &[("/health", "/api/v1/health")];

/// By the first segment below `/api/v1/`; the first entry that fits applies.
const TABLE: &[(&str, &[Alias])] = &[
    ("auth", &[any("auth/handshake", "budget/handshake")]),
    (
        "budget",
        &[
            any("budget/lease/create", "budget/handshake"),
            on("PUT", "budget/requests/{}/approve", "PATCH", "budget/requests/{}/approve"),
            on("PUT", "budget/requests/{}/reject", "PATCH", "budget/requests/{}/reject"),
            on("PUT", "budget/requests/{}/deny", "PATCH", "budget/requests/{}/reject"),
            on("PATCH", "budget/requests/{}/deny", "PATCH", "budget/requests/{}/reject"),
        ],
    ),
    (
        // The list itself is a route of its own: its envelope differs
        "budget-requests",
        &[
            on("POST", "budget-requests", "POST", "budget/requests"),
            on("PUT", "budget-requests/{}/approve", "PATCH", "budget/requests/{}/approve"),
            on("PUT", "budget-requests/{}/reject", "PATCH", "budget/requests/{}/reject"),
            on("PUT", "budget-requests/{}/deny", "PATCH", "budget/requests/{}/reject"),
            on("PATCH", "budget-requests/{}/deny", "PATCH", "budget/requests/{}/reject"),
            // So is the list of one's own
            any("budget-requests/me", "budget-requests/me"),
            any("budget-requests/{*}", "budget/requests/{*}"),
        ],
    ),
    (
        "api-tokens",
        &[
            on("PUT", "api-tokens/{}/rotate", "POST", "api-tokens/{}/rotate"),
            on("POST", "api-tokens/{}/revoke", "DELETE", "api-tokens/{}"),
        ],
    ),
    (
        "tokens",
        &[
            any("tokens", "api-tokens"),
            on("PUT", "tokens/{}/rotate", "POST", "api-tokens/{}/rotate"),
            on("POST", "tokens/{}/revoke", "DELETE", "api-tokens/{}"),
            any("tokens/{*}", "api-tokens/{*}"),
        ],
    ),
    ("users", &[on("PUT", "users/{}/password", "POST", "users/{}/reset-password")]),
    (
        "agents",
        &[
            on("PATCH", "agents/{}/budget", "PUT", "limits/agents/{}/budget"),
            any("agents/{}/budget/history", "limits/agents/{}/budget/history"),
        ],
    ),
    ("limits", &[any("limits/agents/{}/history", "limits/agents/{}/budget/history")]),
    ("usage", &[any("usage/aggregate", "usage")]),
    ("spending", &[any("spending", "analytics/spending")]),
    ("metrics", &[any("metrics", "analytics/metrics")]),
    (
        "analytics",
        &[
            any("analytics/agents/top", "analytics/spending/by-agent"),
            any("analytics/providers/breakdown", "analytics/spending/by-provider"),
            any("analytics/budget-utilization", "analytics/budget/status"),
            any("analytics/requests", "analytics/usage/requests"),
            any("analytics/trends", "analytics/spending/by-period"),
            any("analytics/spending/timeline", "analytics/spending/by-period"),
            any("analytics/export/usage", "analytics/usage/export"),
            any("analytics/export/spending", "analytics/spending/export"),
        ],
    ),
    ("ws", &[any("ws", "/ws"), any("ws/agents/{}/events", "/ws/agents/{}/events")]),
];

/// Where a request really goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) path: String,
    pub(crate) method: Option<Method>,
}

/// Looks a cleaned path up; `None` where it is no alias.
pub(crate) fn resolve(method: &Method, path: &str) -> Option<Target> {
    let Some(below) = path.strip_prefix("/api/v1/") else {
        let (_, to) = ROOT.iter().find(|(from, _)| *from == path)?;
        return Some(Target { path: (*to).to_owned(), method: None });
    };
    let first = below.split('/').next().unwrap_or("");
    let (_, aliases) = TABLE.iter().find(|(name, _)| *name == first)?;
    let (alias, captures) = aliases
        .iter()
        .filter(|alias| alias.method.is_none_or(|m| m == method.as_str()))
        .find_map(|alias| captures(alias.from, below).map(|captures| (alias, captures)))?;
    let mut target = String::with_capacity(path.len() + 16);
    if !alias.to.starts_with('/') {
        target.push_str("/api/v1/");
    }
    let mut captures = captures.into_iter();
    let mut rest = alias.to;
    while let Some(at) = rest.find('{') {
        target.push_str(&rest[..at]);
        target.push_str(captures.next().unwrap_or(""));
        rest = rest[at..].find('}').map_or("", |end| &rest[at + end + 1..]);
    }
    target.push_str(rest);
    Some(Target { path: target, method: alias.to_method.and_then(|m| m.parse().ok()) })
}

/// The methods that a cleaned path takes as an alias for certain methods only; the router does not know of them.
pub(crate) fn methods(path: &str) -> Vec<&'static str> {
    let below = path.strip_prefix("/api/v1/").unwrap_or("");
    let first = below.split('/').next().unwrap_or("");
    let aliases = TABLE.iter().filter(|(name, _)| *name == first).flat_map(|(_, aliases)| *aliases);
    aliases.filter(|alias| captures(alias.from, below).is_some()).filter_map(|alias| alias.method).collect()
}

/// What the placeholders of a pattern stand for. Does not allocate where the pattern has none.
fn captures<'p>(pattern: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let mut found = Vec::new();
    let mut rest = Some(path);
    for expected in pattern.split('/') {
        let here = rest?;
        if expected == "{*}" {
            found.push(here);
            return (!here.is_empty()).then_some(found);
        }
        let (segment, after) = match here.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (here, None),
        };
        match expected {
            "{}" if !segment.is_empty() => found.push(segment),
            literal if literal == segment => {}
            _ => return None,
        }
        rest = after;
    }
    rest.is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::{TABLE, methods, resolve};

    fn target(method: Method, path: &str) -> Option<(Option<String>, String)> {
        resolve(&method, path).map(|t| (t.method.map(|m| m.to_string()), t.path))
    }

    #[test]
    fn documented_second_names_lead_to_their_routes() {
        for (from, to) in [
            ("/health", "/api/v1/health"),
            ("/api/v1/auth/handshake", "/api/v1/budget/handshake"),
            ("/api/v1/budget/lease/create", "/api/v1/budget/handshake"),
            ("/api/v1/tokens", "/api/v1/api-tokens"),
            ("/api/v1/tokens/7/rotate", "/api/v1/api-tokens/7/rotate"),
            ("/api/v1/budget-requests/breq_1", "/api/v1/budget/requests/breq_1"),
            ("/api/v1/limits/agents/3/history", "/api/v1/limits/agents/3/budget/history"),
            ("/api/v1/spending", "/api/v1/analytics/spending"),
            ("/api/v1/analytics/export/usage", "/api/v1/analytics/usage/export"),
            ("/api/v1/ws", "/ws"),
        ] {
            assert_eq!(target(Method::POST, from).map(|t| t.1).as_deref(), Some(to), "{from}");
        }
    }

    #[test]
    fn an_alias_may_change_the_method() {
        let found = target(Method::PUT, "/api/v1/budget-requests/b1/deny");
        assert_eq!(found, Some((Some("PATCH".into()), "/api/v1/budget/requests/b1/reject".into())));
        for name in ["api-tokens", "tokens"] {
            let found = target(Method::PUT, &format!("/api/v1/{name}/7/rotate"));
            assert_eq!(found, Some((Some("POST".into()), "/api/v1/api-tokens/7/rotate".into())));
            let found = target(Method::POST, &format!("/api/v1/{name}/7/revoke"));
            assert_eq!(found, Some((Some("DELETE".into()), "/api/v1/api-tokens/7".into())));
        }
        let found = target(Method::PUT, "/api/v1/users/user_1/password");
        assert_eq!(found, Some((Some("POST".into()), "/api/v1/users/user_1/reset-password".into())));
        assert_eq!(target(Method::GET, "/api/v1/users/user_1/password"), None);
        assert_eq!(target(Method::PUT, "/api/v1/agents/3/budget"), None, "PUT is a route of its own");
    }

    #[test]
    fn the_methods_of_an_alias_are_those_it_is_limited_to() {
        assert_eq!(methods("/api/v1/tokens/7/rotate"), ["PUT"]);
        assert_eq!(methods("/api/v1/budget-requests/b1/deny"), ["PUT", "PATCH"]);
        for any in ["/api/v1/tokens", "/api/v1/agents", "/health", "/", "PUT"] {
            assert!(methods(any).is_empty(), "{any}");
        }
    }

    #[test]
    fn other_paths_are_left_alone() {
        for path in ["/api/v1/budget/report", "/api/v1/agents", "/", "", "/api/v1/", "/api/v1/tokensx", "/tokens"] {
            assert_eq!(target(Method::POST, path), None, "{path}");
        }
        assert_eq!(target(Method::GET, "/api/v1/budget-requests"), None, "its envelope differs");
    }

    #[test]
    fn every_entry_stands_under_its_first_segment_and_fills_its_target() {
        for (first, aliases) in TABLE {
            for alias in *aliases {
                assert_eq!(alias.from.split('/').next(), Some(*first));
                assert_eq!(alias.from.matches('{').count(), alias.to.matches('{').count(), "{}", alias.from);
            }
        }
    }
}
