//! Bodies that are no JSON, not the right JSON, of another type, or too large.

use super::{Stage, check_failure, check_fields, picture};
use crate::harness::*;

/// The refusal has this status and code.
#[track_caller]
fn refused(reply: &Reply, below_auth: bool, status: u16, code: &str, why: &str) {
    assert_eq!((reply.status, reply.code()), (status, code), "{why}: {}", reply.text);
    check_failure(reply, below_auth);
}

on_both_backends! {
    async fn what_is_not_json_is_malformed_everywhere(stage: Stage) {
        let before = picture(&stage.world).await;
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        let deep_objects = "{\"a\":".repeat(100_000);
        let malformed: [&[u8]; 16] = [
            b"{", b"}", b"{\"a\":}", b"{\"a\" 1}", b"{'a':1}", b"{\"a\":1,}", b"{}{}", b"nul", b"NaN", b"{\"a\":1e999}",
            b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"{\"a\":\"\x00\"}", b"{\"a\":\"\\ud800\"}", deep.as_bytes(),
            deep_objects.as_bytes(),
        ];
        for route in stage.routes() {
            for body in malformed {
                let reply = stage.send(&route, body.to_vec()).await;
                let shown = String::from_utf8_lossy(&body[..body.len().min(30)]).into_owned();
                refused(&reply, route.below_auth(), 400, "MALFORMED_JSON", &format!("{} {shown}", route.path));
            }
        }
        assert_eq!(picture(&stage.world).await, before);
    }

    async fn json_of_another_shape_is_invalid_everywhere(stage: Stage) {
        let before = picture(&stage.world).await;
        for route in stage.routes() {
            for body in ["[]", "[{}]", "1", "null", "true", "\"{}\"", "-0.5"] {
                let reply = stage.send(&route, body).await;
                refused(&reply, route.below_auth(), 400, "VALIDATION_ERROR", &format!("{} {body}", route.path));
            }
        }
        assert_eq!(picture(&stage.world).await, before);
    }

    async fn an_empty_body_is_an_empty_object(stage: Stage) {
        let before = picture(&stage.world).await;
        for route in stage.routes() {
            // Whose fields are all optional
            if ["PUT agents/", "/regenerate", "PUT budgets/", "PUT projects/", "PUT providers/", "/suspend", "PUT users/"]
                .iter().any(|name| format!("{} {}", route.method, route.path).contains(name))
            {
                continue;
            }
            let client = stage.client(&route);
            let with_type = stage.send(&route, "").await;
            let without = client.answer(client.request(route.method.clone(), &route.path)).await;
            let object = stage.send(&route, "{}").await;
            for reply in [&with_type, &without, &object] {
                refused(reply, route.below_auth(), 400, "VALIDATION_ERROR", &route.path);
                assert_eq!(reply.body["fields"], object.body["fields"]);
            }
        }
        assert_eq!(picture(&stage.world).await, before);
        // Where every field is optional, nothing sent means nothing changed, or the defaults
        let agent = format!("agents/{}", stage.agent.id);
        for path in [agent.clone(), format!("budgets/{}", stage.budget), format!("projects/{}", stage.project)] {
            let request = stage.admin.request(Method::PUT, &path);
            stage.admin.answer(request).await.expect(200);
        }
        let request = stage.admin.request(Method::POST, &format!("{agent}/ic-token/regenerate"));
        stage.admin.answer(request.header("content-type", "application/json")).await.expect(200);
    }

    async fn bodies_of_another_media_type_are_refused_before_anything_else(stage: Stage) {
        let before = picture(&stage.world).await;
        for route in stage.routes() {
            let text = route.body.to_string();
            for media in [Some("text/plain"), Some("application/xml"), Some("application/jsonx"), Some("rubbish"), None] {
                // Nobody: the media type comes before the caller
                let request = stage.world.anon().request(route.method.clone(), &route.path).body(text.clone());
                let request = media.map_or(request.try_clone().expect("text"), |m| request.header("content-type", m));
                let reply = stage.world.anon().answer(request).await;
                refused(&reply, route.below_auth(), 415, "UNSUPPORTED_MEDIA_TYPE", &format!("{} {media:?}", route.path));
            }
            let request = stage.client(&route).request(route.method.clone(), &route.path);
            let request = request.header("content-type", "application/json").header("content-encoding", "gzip");
            let reply = stage.client(&route).answer(request.body(text)).await;
            refused(&reply, route.below_auth(), 415, "UNSUPPORTED_MEDIA_TYPE", &route.path);
        }
        assert_eq!(picture(&stage.world).await, before);
        // Parameters and case do not matter
        let report = json!({
            "lease_id": stage.lease.id, "request_id": "x", "tokens": 1, "cost_microdollars": 1, "model": "m", "provider": "p",
        });
        for media in ["application/json; charset=utf-8", "APPLICATION/JSON"] {
            let request = stage.world.anon().request(Method::POST, "budget/report").header("content-type", media);
            stage.world.anon().answer(request.body(report.to_string())).await.expect(200);
        }
    }

    async fn bodies_above_two_mebibytes_are_refused(stage: Stage) {
        let before = picture(&stage.world).await;
        for route in stage.routes() {
            let mut body = route.body.clone();
            body["padding"] = json!("x".repeat(3 << 20));
            let reply = stage.send(&route, body.to_string()).await;
            refused(&reply, route.below_auth(), 413, "PAYLOAD_TOO_LARGE", &route.path);
        }
        assert_eq!(picture(&stage.world).await, before);
        let mut report = json!({
            "lease_id": stage.lease.id, "request_id": "x", "tokens": 1, "cost_microdollars": 1, "model": "m", "provider": "p",
            "padding": "",
        });
        let room = (2 << 20) - report.to_string().len();
        for (padding, fits) in [(room, true), (room + 1, false)] {
            report["padding"] = json!("x".repeat(padding));
            let reply = stage.world.anon().send_raw(Method::POST, "budget/report", report.to_string()).await;
            assert_eq!(reply.status, if fits { 200 } else { 413 }, "{}", reply.text);
        }
    }

    async fn unknown_fields_are_ignored_and_the_last_of_two_counts(stage: Stage) {
        let lease = &stage.lease.id;
        let body = format!(
            r#"{{"lease_id":"{lease}","request_id":"twice","tokens":1,"cost_microdollars":5,"model":"m","provider":"p",
            "no such field":{{"a":[1]}},"__proto__":{{}},"seq":null,"timestamp":null,"cost_nanos":null}}"#
        );
        let reply = stage.world.anon().send_raw(Method::POST, "budget/report", body).await;
        assert_eq!(reply.expect(200).int("lease_spent"), 1_005);
        let body = format!(r#"{{"lease_id":"{lease}","lease_id":7}}"#);
        let reply = stage.world.anon().send_raw(Method::POST, "budget/return", body).await;
        check_fields(&reply, false, &["lease_id"]);
    }

    async fn every_failing_field_is_named_at_once(stage: Stage) {
        let anon = stage.world.anon();
        let reply = anon.post("budget/report", json!({})).await;
        let all = ["lease_id", "request_id", "tokens", "cost_microdollars", "model", "provider"];
        check_fields(&reply, false, &all);
        check_fields(&anon.post("auth/login", json!({"email": 7})).await, true, &["email", "password"]);
        check_fields(&anon.post("budget/refresh", json!({})).await, false, &["ic_token", "current_lease_id"]);
        let body = json!({"name": 1, "initial_budget_microdollars": 0.5, "tags": ["ok", 7], "owner_id": []});
        let expected = ["name", "initial_budget_microdollars", "tags[1]", "owner_id"];
        check_fields(&stage.admin.post("agents", body).await, false, &expected);
        let body = json!({"scope": {"kind": "agent", "id": "x"}, "cap_microdollars": "1"});
        check_fields(&stage.admin.post("budgets", body).await, false, &["scope.id", "cap_microdollars"]);
    }
}
