//! Every route of the server's own description, asked badly by everybody.

use super::{Stage, addresses::described, check_failure, picture};
use crate::harness::*;

/// Ids that nothing has.
const IDS: &[&str] = &[
    "0",
    "-1",
    "999999",
    "99999999999999999999",
    "agent_",
    "agent_x",
    "agent_999999",
    "abc",
    "%00",
    "a%0ab",
    "%27%20OR%201=1--",
    "%F0%9F%A6%80",
    "%ff%fe",
    "null",
    "%2e%2e%2fusers",
    "lease_00000000-0000-0000-0000-000000000000",
    "*",
    "1%2c2",
    "1e3",
    "+1",
];

/// Routes that take nonsense without doing anything: they say that it is none, or leave out what they do not know.
const HARMLESS: &[&str] = &[
    "POST /api/v1/auth/validate",
    "POST /api/v1/api-tokens/validate",
    "POST /api/v1/analytics/events/batch",
    "PUT /api/v1/settings/user",
    "DELETE /api/v1/settings/user",
    "PUT /api/v1/settings/system",
];

/// Bodies that no route takes, and some that a few take.
const BODIES: &[Option<&str>] = &[
    None,
    Some("{}"),
    Some("[]"),
    Some("{"),
    Some("null"),
    Some(r#"{"ic_token":"x","lease_id":"x","scope":{"kind":"agent","id":0},"reason":"\u0000","name":null}"#),
    Some(r#"{"email":"x","username":{},"password":[],"provider_ids":[99999999999999999999],"cap_microdollars":1e400}"#),
    Some(r#"{"scope":{"kind":"organization","id":{}},"cap_microdollars":-9223372036854775808,"window":"day\u0000"}"#),
    Some(r#"{"total_allocated_microdollars":9223372036854775807,"force":"yes"}"#),
];

/// Queries with every parameter there is, wrong in some way.
const QUERIES: &[&str] = &[
    "",
    "?page=0&per_page=0&page_size=0&limit=0",
    "?page=-1&limit=99999999999999999999&cursor=%00",
    "?cursor=AAAA&since=x&from=yesterday&to=%ff&time_zone=Mars",
    "?agent_id=%F0%9F%A6%80&lease_id=%00&owner_id=%27--&project_id=*&state=x,,y&kind=%00",
    "?scope_kind=agent&scope_id=99999999999999999999&window=year",
    "?scope_kind=owner_project&scope_id=a&project_id=%00",
    "?scope_kind=agent&scope_id=999999&amount=1.5",
    "?amount=-1&agent_id=1&agent_id=2",
    "?sort=-%27;drop%20table&search=%25_%5c&role=god&is_active=maybe&active=maybe&include_deleted=2",
    "?page=4294967296&per_page=101",
    "?provider=%00&is_enabled=1&tag=&name=%ff&status=lost",
    "?from=9223372036854775807&to=-9223372036854775808",
    "?from=2026-02-30&to=99999-01-01",
    "?order=up&limit=1e3",
    "?&&&===&%=%&a=b=c",
    "?force=%00&reassign_to=%00&provider_key_id=abc",
];

on_both_backends! {
    async fn no_request_brings_a_5xx_or_changes_anything(stage: Stage) {
        let viewer = stage.world.viewer("vera").await.client;
        let before = picture(&stage.world).await;
        let mut asked = 0_usize;
        for (path, methods) in described(&stage.world).await {
            for method in methods {
                // These end the logins that the others need, or do not end at all
                let call = format!("{method} {path}");
                if ["POST /api/v1/auth/logout", "DELETE /api/v1/auth/sessions", "GET /api/v1/events/stream"].contains(&&*call) {
                    continue;
                }
                let personas = [&stage.admin, &stage.user.client, &viewer, &stage.world.anon()];
                let rounds = IDS.len().max(QUERIES.len());
                for round in 0..rounds {
                    // Every id, body and query comes up; in other company for each route
                    let id = IDS[round % IDS.len()];
                    let body = BODIES[(round + asked / rounds) % BODIES.len()];
                    let query = QUERIES[(round + asked / rounds / 3) % QUERIES.len()];
                    let filled = path.replace("{id}", id).replace("{agent_id}", id).replace("{key_id}", id);
                    let client = personas[if round % 2 == 0 { 0 } else { round / 2 % 4 }];
                    let mut request = client.request(method.clone(), &format!("{filled}{query}"));
                    if let Some(body) = body {
                        request = request.header("content-type", "application/json").body(body);
                    }
                    let reply = client.answer(request).await;
                    let name = format!("{method} {filled}{query} {body:?}");
                    assert!(reply.status < 500, "{name}: {} {}", reply.status, reply.text);
                    if !reply.is_success() {
                        // A path with other segments in it may be another route
                        check_failure(&reply, reply.body["error"].is_object());
                        let below = path.starts_with("/api/v1/auth/");
                        assert!(reply.body["error"].is_object() == below || id.contains("%2f"), "{name}: {}", reply.text);
                    } else {
                        let reads = method == Method::GET || HARMLESS.contains(&&*call);
                        assert!(reads, "{name} was taken: {} {}", reply.status, reply.text);
                    }
                    asked += 1;
                }
            }
        }
        assert!(asked > 1_000, "{asked}");
        assert_eq!(picture(&stage.world).await, before);
        stage.world.anon().get("/readyz").await.expect(200);
        crate::books::verify(&stage.world).await;
    }
}
