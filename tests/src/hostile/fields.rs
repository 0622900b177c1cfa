//! Every field of every body with values that it must not take.

use super::{Stage, check_failure, check_fields, picture};
use crate::harness::*;

/// What a field takes.
#[derive(Clone, Copy)]
enum Kind {
    /// A whole number in this range.
    Int(i64, i64),
    /// A text of so many characters at least and at most.
    Text(usize, usize),
    /// A text that is not trimmed: passwords and keys.
    Verbatim(usize, usize),
    /// `true` or `false`.
    Flag,
    /// One of a few words.
    Word,
    /// A number of US dollars.
    Usd,
    /// An instant.
    Instant,
    /// The number of something; of nothing where it is out of range.
    Id,
    /// A list of texts.
    Texts,
    /// A list of ids.
    Ids,
}

use Kind::{Flag, Id, Ids, Instant, Int, Text, Texts, Usd, Verbatim, Word};

const MAX: i64 = 9_007_199_254_740_991;
const CAP: i64 = 1_000_000_000_000_000;
const CALL: i64 = 1_000_000_000_000;

/// The fields of a route by its method and the pattern of its path, `*` for one segment.
const FIELDS: &[(&str, &[(&str, Kind)])] = &[
    (
        "POST budget/handshake",
        &[
            ("ic_token", Text(1, 2_000)),
            ("provider", Text(1, 50)),
            ("provider_key_id", Id),
            ("requested_budget", Int(1, 100_000_000)),
            ("runtime_id", Text(1, 128)),
            ("runtime_version", Text(1, 64)),
            ("request_id", Text(1, 100)),
        ],
    ),
    (
        "POST budget/report",
        &[
            ("lease_id", Text(1, 100)),
            ("request_id", Text(1, 100)),
            ("tokens", Int(0, 1_000_000_000)),
            ("cost_microdollars", Int(0, CALL)),
            ("model", Text(1, 200)),
            ("provider", Text(1, 50)),
            ("timestamp", Instant),
            ("cost_nanos", Int(0, CAP)),
            ("spent_total_microdollars", Int(0, CAP)),
            ("seq", Int(1, MAX)),
        ],
    ),
    ("POST budget/report/batch", &[("lease_id", Text(1, 100)), ("spent_total_microdollars", Int(0, CAP))]),
    (
        "POST budget/refresh",
        &[
            ("ic_token", Text(1, 2_000)),
            ("current_lease_id", Text(1, 100)),
            ("requested_budget", Int(1, 1_000_000_000)),
            ("total_spent", Int(0, CAP)),
            ("current_remaining", Int(0, CAP)),
            ("request_id", Text(1, 100)),
        ],
    ),
    (
        "POST budget/return",
        &[
            ("lease_id", Text(1, 100)),
            ("spent_microdollars", Int(0, CAP)),
            ("final_spent_usd", Usd),
            ("returning_usd", Usd),
        ],
    ),
    ("POST agents/provider-key", &[("ic_token", Text(1, 2_000))]),
    ("POST auth/login", &[("email", Text(1, 255)), ("password", Verbatim(1, 1_000))]),
    ("POST auth/change-password", &[("current_password", Verbatim(1, 1_000)), ("new_password", Verbatim(8, 1_000))]),
    (
        "POST agents",
        &[
            ("name", Text(1, 200)),
            ("initial_budget_microdollars", Int(1, CAP)),
            ("providers", Texts),
            ("provider_key_id", Id),
            ("owner_id", Text(1, 255)),
            ("description", Text(0, 1_000)),
            ("tags", Texts),
            ("project_id", Text(1, 100)),
        ],
    ),
    (
        "PUT agents/*",
        &[
            ("name", Text(1, 200)),
            ("providers", Texts),
            ("provider_key_id", Id),
            ("budget", Int(1, CAP)),
            ("owner_id", Text(1, 255)),
            ("description", Text(0, 1_000)),
            ("tags", Texts),
            ("project_id", Text(1, 100)),
        ],
    ),
    (
        "PUT agents/*/budget",
        &[("total_allocated_microdollars", Int(1, CAP)), ("force", Flag), ("reason", Text(0, 500))],
    ),
    ("POST agents/*/providers", &[("provider_ids", Ids)]),
    ("PUT agents/*/providers", &[("provider_ids", Ids)]),
    ("POST agents/*/ic-token/regenerate", &[("expires_in_days", Int(1, 3_650))]),
    (
        "POST providers",
        &[
            ("provider", Text(1, 50)),
            ("api_key", Verbatim(1, 500)),
            ("base_url", Text(0, 2_000)),
            ("description", Text(0, 500)),
            ("models", Texts),
            ("is_enabled", Flag),
        ],
    ),
    (
        "PUT providers/*",
        &[
            ("api_key", Verbatim(1, 500)),
            ("base_url", Text(0, 2_000)),
            ("description", Text(0, 500)),
            ("models", Texts),
            ("is_enabled", Flag),
        ],
    ),
    ("POST providers/*/agents", &[("agent_ids", Ids)]),
    ("POST projects/*/provider", &[("provider_key_id", Id)]),
    ("POST projects", &[("name", Text(1, 100)), ("id", Text(1, 100)), ("description", Text(0, 500))]),
    ("PUT projects/*", &[("name", Text(1, 100)), ("description", Text(0, 500))]),
    (
        "POST budgets",
        &[
            ("cap_microdollars", Int(1, CAP)),
            ("window", Word),
            ("time_zone", Text(1, 64)),
            ("name", Text(0, 100)),
            ("enabled", Flag),
        ],
    ),
    ("PUT budgets/*", &[("cap_microdollars", Int(1, CAP)), ("name", Text(0, 100)), ("enabled", Flag)]),
    ("POST budget/freeze", &[("reason", Text(1, 500))]),
    ("POST budget/unfreeze", &[("reason", Text(1, 500))]),
    (
        "POST budget/leases/*/settle",
        &[("outcome", Word), ("spent_microdollars", Int(0, CAP)), ("reason", Text(1, 500))],
    ),
    ("POST budget/leases/*/revoke", &[("reason", Text(1, 500))]),
    (
        "POST users",
        &[("username", Text(1, 255)), ("password", Verbatim(8, 1_000)), ("email", Text(1, 255)), ("role", Word)],
    ),
    ("PUT users/*", &[("username", Text(1, 255)), ("email", Text(1, 255))]),
    ("PUT users/*/role", &[("role", Word)]),
    ("PUT users/*/suspend", &[("reason", Text(0, 1_000)), ("freeze_agents", Flag)]),
    ("POST users/*/reset-password", &[("new_password", Verbatim(8, 1_000)), ("force_change", Flag)]),
];

/// JSON texts that a field of this kind must not take.
fn wrong(kind: Kind) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut add = |values: &[&str]| wrong.extend(values.iter().map(|value| (*value).to_owned()));
    if !matches!(kind, Texts | Ids) {
        add(&["[]", "[1]", "{}", "{\"a\":1}"]);
    }
    match kind {
        Int(min, max) => {
            // Floats even where they are whole, texts, and what leaves the range of 53, 63 and 64 bits
            add(&[
                "1.5",
                "1.0",
                "1e3",
                "1E2",
                "-0.0",
                "\"1\"",
                "\"\"",
                "true",
                "9007199254740992",
                "-9007199254740992",
            ]);
            add(&["9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551616"]);
            add(&["99999999999999999999999999999999", "1e308", "123456789012345678901234567890.5"]);
            add(&[&(min - 1).to_string(), &(max + 1).to_string()]);
        }
        Id => add(&["1.5", "1.0", "1e3", "\"1\"", "true", "9223372036854775808", "99999999999999999999999999999999"]),
        Text(min, max) | Verbatim(min, max) => {
            add(&["7", "1.5", "true", "false", "\"a\\u0000b\""]);
            add(&[&format!("\"{}\"", "x".repeat(max + 1)), &format!("\"{}\"", "\u{1f980}".repeat(max + 1))]);
            if min > 0 {
                add(&["\"\""]);
            }
            if matches!(kind, Text(..)) {
                add(&["\"a\\u0007b\"", "\"a\\nb\"", "\"\\u0000\"", "\"a\\u007fb\"", "\"a\\u0085b\""]);
                if min > 0 {
                    add(&["\"   \""]);
                }
            }
        }
        Flag => add(&["0", "1", "\"true\"", "\"\"", "1.0"]),
        Word => add(&["\"\"", "\"no such word\"", "1", "true", "\"NONE\"", "\"a\\u0000\""]),
        Usd => add(&["\"1\"", "-1", "-0.000001", "0.0000001", "1e30", "1000000000.01", "true", "\"\""]),
        Instant => {
            add(&["1.5", "-1", "\"yesterday\"", "true", "9223372036854775808", "\"2026-13-01T00:00:00Z\"", "\"\""])
        }
        Texts => add(&["{}", "7", "\"a\"", "[1]", "[null]", "[\"a\",{}]", "[\"a\\u0000\"]", "[\"\"]", "[[\"a\"]]"]),
        Ids => {
            add(&["{}", "7", "\"1\"", "[1.5]", "[null]", "[true]", "[\"x\"]", "[-1]", "[9223372036854775808]", "[[1]]"])
        }
    }
    wrong
}

fn fields_of(name: &str) -> &'static [(&'static str, Kind)] {
    let segments = name.split('/').collect::<Vec<_>>();
    let fits = |pattern: &str| {
        let pattern = pattern.split('/').collect::<Vec<_>>();
        pattern.len() == segments.len() && pattern.iter().zip(&segments).all(|(p, s)| *p == "*" || p == s)
    };
    let exact = FIELDS.iter().find(|(pattern, _)| *pattern == name);
    let found = exact.or_else(|| FIELDS.iter().find(|(pattern, _)| fits(pattern)));
    found.map_or_else(|| panic!("no fields are known of {name}"), |(_, fields)| fields)
}

on_both_backends! {
    async fn no_field_takes_what_it_must_not_take(stage: Stage) {
        let before = picture(&stage.world).await;
        for route in stage.routes() {
            for (field, kind) in fields_of(&format!("{} {}", route.method, route.path)) {
                assert!(route.body.get(*field).is_some(), "{} has no {field} here", route.path);
                for value in wrong(*kind) {
                    let mut others = route.body.clone();
                    others.as_object_mut().expect("an object").remove(*field);
                    let others = others.to_string();
                    let comma = if others == "{}" { "" } else { "," };
                    let body = format!("{{\"{field}\":{value}{comma}{}", &others[1..]);
                    let reply = stage.send(&route, body).await;
                    let shown = value.chars().take(40).collect::<String>();
                    assert_eq!(reply.status, 400, "{} {}: {field} = {shown}: {}", route.method, route.path, reply.text);
                    let fields = reply.body["fields"].as_object().cloned().unwrap_or_default();
                    let named = fields.keys().next().map(String::as_str).unwrap_or_default();
                    let inside = matches!(kind, Texts | Ids) && named.starts_with(&format!("{field}["));
                    // Two figures that must fit each other may be told under the other one's name
                    let figures = ["cost_nanos", "cost_microdollars"];
                    if !(inside || figures.contains(field) && figures.contains(&named)) {
                        check_fields(&reply, route.below_auth(), &[field]);
                    }
                }
            }
        }
        assert_eq!(picture(&stage.world).await, before, "nothing was half done");
    }

    async fn amounts_that_would_leave_the_books_are_refused_whole(world: World) {
        let agent = world.agent(1_000_000).await;
        let mut leases = Vec::new();
        for _ in 0..12 {
            leases.push(agent.borrow(1).await);
        }
        let (mut booked, mut refused) = (0, 0);
        for lease in &leases {
            let reply = lease.give_back(json!({"spent_microdollars": CAP})).await;
            if reply.is_success() {
                booked += 1;
                continue;
            }
            check_failure(&reply, false);
            reply.error(409, "AMOUNT_OVERFLOW");
            refused += 1;
            let shown = world.lease(&lease.id).await;
            assert_eq!((shown.text("state"), shown.int("spent")), ("active", 0), "nothing was written");
        }
        assert_eq!((booked, refused), (9, 3), "2^53 - 1 micro-dollars are nine times 10^15 and a little");
        let budget = world.budget_of(agent.id).await;
        assert_eq!((budget.int("spent"), budget.int("budget_remaining")), (9 * CAP, 0));
        // What still fits is booked
        let report = leases[11].report("fits", CALL).await.expect(200);
        assert_eq!(report.int("lease_spent"), CALL);
        let mut many = json!({"lease_id": leases[10].id, "reports": []});
        let items = (0..10).map(|number| json!({
            "request_id": format!("call-{number}"), "tokens": 0, "cost_microdollars": CALL, "model": "m", "provider": "p",
        }));
        many["reports"] = items.collect::<Vec<_>>().into();
        let answer = world.anon().post("budget/report/batch", many).await.expect(200);
        assert_eq!((answer.int("recorded"), answer.int("failed")), (6, 4), "{answer}");
        assert!(world.budget_of(agent.id).await.int("spent") <= MAX);
        crate::books::verify(&world).await;
    }

    async fn idempotency_keys_in_the_header_have_limits_too(world: World) {
        let agent = world.agent(1_000_000).await;
        let send = async |key: Vec<u8>| {
            let request = world.anon().request(Method::POST, "budget/handshake");
            let request = request.header("idempotency-key", key).json(&json!({"ic_token": agent.ic_token, "requested_budget": 1}));
            world.anon().answer(request).await
        };
        for good in [b"k".to_vec(), vec![b'x'; 255], b"!~".to_vec()] {
            send(good).await.expect(200);
        }
        for bad in [vec![b'x'; 256], "\u{fc}".as_bytes().to_vec(), b"a b".to_vec(), Vec::new()] {
            let reply = send(bad.clone()).await;
            if bad.is_empty() && reply.is_success() {
                // An empty header is none
                continue;
            }
            check_failure(&reply, false);
            reply.error(400, "VALIDATION_ERROR");
        }
    }
}
