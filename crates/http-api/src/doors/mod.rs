//! The table of doors: every route of the router against every kind of caller.
//!
//! The routes come from the router itself, so a route without a row fails, and so does a row without a route. A row says who
//! may come in; what each kind of caller then meets follows from the contract (§1.3, §1.4, §6): the same few answers
//! everywhere. Each row is tried in an installation of its own, the callers who must be refused first, so that nobody
//! who is let in changes what the next one meets.

mod cast;
mod table;

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::Value;

use crate::openapi;
use crate::testing::Reply;
use cast::{Cast, Kind};
use table::{Door, ROWS, Who};

/// Answers that mean that the door stayed shut, wherever they come from.
const SHUT: &[&str] = &[
    "AUTH_MISSING_TOKEN",
    "AUTH_INVALID_TOKEN",
    "AUTH_TOKEN_EXPIRED",
    "AUTH_TOKEN_REVOKED",
    "AUTH_ACCOUNT_DISABLED",
    "AUTH_SESSION_REQUIRED",
    "API_TOKEN_REQUIRED",
    "AGENT_TOKEN_NOT_ALLOWED",
    "INVALID_IC_TOKEN",
    "INSUFFICIENT_PERMISSIONS",
    "INSUFFICIENT_SCOPE",
    "ACCESS_DENIED",
];

/// What a caller must meet.
enum Expected {
    /// Anything but a shut door or a failure of the server.
    LetIn,
    /// This answer.
    Shut(u16, &'static str),
    /// 401, with whatever code.
    Unknown,
    /// Success: a list without what is others', or what everybody may see.
    Sees,
    /// Not tried here.
    Elsewhere,
}

/// Whose credential is no user's at all, and what it is told.
fn not_a_user(kind: Kind) -> Option<Expected> {
    Some(match kind {
        Kind::Nobody => Expected::Shut(401, "AUTH_MISSING_TOKEN"),
        Kind::IcToken | Kind::RefreshToken | Kind::Garbage => Expected::Shut(401, "AUTH_INVALID_TOKEN"),
        Kind::EndedSession | Kind::RevokedApiToken => Expected::Shut(401, "AUTH_TOKEN_REVOKED"),
        Kind::Suspended => Expected::Shut(401, "AUTH_ACCOUNT_DISABLED"),
        Kind::Expired => Expected::Shut(401, "AUTH_TOKEN_EXPIRED"),
        Kind::Viewer | Kind::Stranger | Kind::Owner | Kind::OwnersApiToken | Kind::NarrowApiToken | Kind::Admin => {
            return None;
        }
    })
}

fn expected(door: &Door, kind: Kind) -> Expected {
    let powerless = Expected::Shut(403, "INSUFFICIENT_PERMISSIONS");
    match (door.who, not_a_user(kind)) {
        (Who::Anybody | Who::IcInBody | Who::LeaseInBody, _) => return Expected::LetIn,
        (Who::IcAsBearer, _) => return if kind == Kind::IcToken { Expected::LetIn } else { Expected::Unknown },
        (Who::Upgrade, _) => return Expected::Elsewhere,
        (Who::Stream, _) if kind == Kind::IcToken => return Expected::Elsewhere,
        (_, Some(refusal)) => return refusal,
        _ => {}
    }
    if kind == Kind::NarrowApiToken {
        // It may read projects and nothing else
        let reads_projects = door.method == "GET" && door.path.starts_with("/api/v1/projects");
        if !reads_projects {
            return Expected::Shut(403, "INSUFFICIENT_SCOPE");
        }
    }
    let is_admin = kind == Kind::Admin;
    let is_owner = matches!(kind, Kind::Owner | Kind::OwnersApiToken | Kind::NarrowApiToken);
    match door.who {
        Who::Admin if !is_admin => powerless,
        Who::Writer | Who::OwnWriter(..) if kind == Kind::Viewer => powerless,
        Who::Session | Who::OwnSession if matches!(kind, Kind::OwnersApiToken | Kind::NarrowApiToken) => {
            Expected::Shut(403, "AUTH_SESSION_REQUIRED")
        }
        Who::ApiToken if !matches!(kind, Kind::OwnersApiToken | Kind::NarrowApiToken) => {
            Expected::Shut(403, "API_TOKEN_REQUIRED")
        }
        Who::Own(status, code) | Who::OwnWriter(status, code) if !is_admin && !is_owner => Expected::Shut(status, code),
        Who::OwnerAlone(status, code) if !is_admin && !is_owner => Expected::Shut(status, code),
        Who::OwnSession if !is_owner => Expected::Shut(404, "TOKEN_NOT_FOUND"),
        Who::OwnerAlone(..) if is_admin => Expected::Shut(403, "ACCESS_DENIED"),
        Who::List => Expected::Sees,
        Who::Stream => Expected::Elsewhere,
        _ => Expected::LetIn,
    }
}

/// The routes of the router, as `(METHOD, path)`.
fn routes() -> BTreeSet<(String, String)> {
    let document = serde_json::to_value(openapi::openapi()).expect("JSON");
    let mut routes = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("methods").keys() {
            if ["get", "put", "post", "delete", "patch"].contains(&method.as_str()) {
                routes.insert((method.to_uppercase(), path.clone()));
            }
        }
    }
    routes
}

#[test]
fn every_route_has_a_row_and_every_row_a_route() {
    let path = |row: &Door| row.path.split('?').next().unwrap_or("").to_owned();
    let rows: BTreeSet<_> = ROWS.iter().map(|row| (row.method.to_owned(), path(row))).collect();
    let routes = routes();
    let without: Vec<_> = routes.difference(&rows).collect();
    assert!(without.is_empty(), "routes without a row in the table of doors: {without:#?}");
    let stale: Vec<_> = rows.difference(&routes).collect();
    assert!(stale.is_empty(), "rows without a route: {stale:#?}");
    assert_eq!(rows.len(), ROWS.len(), "a route has two rows");
}

fn check(door: &Door, kind: Kind, reply: &Reply) {
    let name = format!("{} {} as {kind:?}: {} {}", door.method, door.path, reply.status, reply.text());
    let body: Value = if reply.bytes.first() == Some(&b'{') { reply.json() } else { Value::Null };
    let code = body["code"].as_str().unwrap_or("");
    assert!(reply.status < 500 || code == "CRYPTO_UNAVAILABLE", "{name}");
    match expected(door, kind) {
        Expected::Elsewhere => {}
        Expected::Unknown => assert_eq!(reply.status, 401, "{name}"),
        Expected::LetIn => assert!(!SHUT.contains(&code) || door.may_answer.contains(&code), "{name}"),
        Expected::Sees => assert!((200..300).contains(&reply.status), "{name}"),
        Expected::Shut(status, expected) => {
            assert_eq!((reply.status, code), (status, expected), "{name}");
            if status == 401 {
                assert_eq!(reply.header("www-authenticate"), Some("Bearer"), "{name}");
            }
        }
    }
}

async fn try_door(door: &Door) {
    let cast = Cast::assemble().await;
    let method: Method = door.method.parse().expect("a method");
    let (path, body) = (cast.fill(door.path, door.path), cast.fill(door.path, door.body));
    let body: Option<Value> = (!body.is_empty())
        .then(|| serde_json::from_str(&body).unwrap_or_else(|e| panic!("{}: {e}: {body}", door.path)));
    for kind in Kind::ALL {
        if matches!(expected(door, *kind), Expected::Elsewhere) {
            continue;
        }
        let reply = cast.knock(*kind, &method, &path, body.clone()).await;
        check(door, *kind, &reply);
    }
}

/// A part of the table, so that the parts run beside each other.
async fn try_part(part: usize, of: usize) {
    for door in ROWS.iter().skip(part).step_by(of) {
        try_door(door).await;
    }
}

macro_rules! parts {
    ($($name:ident $part:literal;)*) => {$(
        #[tokio::test]
        async fn $name() {
            try_part($part, 4).await;
        }
    )*};
}

parts! {
    every_door_lets_in_whom_it_should_and_nobody_else_first_part 0;
    every_door_lets_in_whom_it_should_and_nobody_else_second_part 1;
    every_door_lets_in_whom_it_should_and_nobody_else_third_part 2;
    every_door_lets_in_whom_it_should_and_nobody_else_fourth_part 3;
}

#[tokio::test]
async fn credentials_in_the_body_are_checked_where_no_header_is_asked_for() {
    let cast = Cast::assemble().await;
    for door in ROWS.iter().filter(|door| door.who == Who::IcInBody) {
        let method: Method = door.method.parse().expect("a method");
        for (kind, token) in cast.wrong_ic_tokens() {
            let text = cast.fill(door.path, door.body).replace(&cast.ic_token, &token);
            let body: Value = serde_json::from_str(&text).expect("JSON");
            let reply = cast.knock(Kind::Nobody, &method, &cast.fill(door.path, door.path), Some(body)).await;
            let name = format!("{} {} with {kind}: {}", door.method, door.path, reply.text());
            assert_eq!(reply.status, 401, "{name}");
            assert_eq!(reply.json()["code"], "INVALID_IC_TOKEN", "{name}");
        }
    }
}
