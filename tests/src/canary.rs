//! Secrets that are planted and then looked for in everything that leaves the server or stays behind: its log at the most
//! talkative level, errors, audit log, exports, metrics, and the database itself.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::harness::*;

/// Something that must not be found, and a name for it in messages that does not repeat it.
struct Canary {
    name: &'static str,
    secret: String,
}

impl Canary {
    /// Fails if the text has the secret, as it is or in one of the dresses that programs put secrets into.
    #[track_caller]
    fn absent(&self, place: &str, bytes: &[u8]) {
        let secret = self.secret.as_bytes();
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let debug = format!("{secret:?}");
        for (dress, needle) in [
            ("as it is", secret),
            ("in hexadecimal", hex.as_bytes()),
            ("in base64", STANDARD.encode(secret).trim_end_matches('=').as_bytes()),
            ("as a list of bytes", debug.trim_matches(['[', ']']).as_bytes()),
        ] {
            let found = bytes.windows(needle.len()).any(|window| window == needle);
            assert!(!found, "{} was found {dress} in {place}", self.name);
        }
    }
}

/// Every row of every table, or the bytes of the embedded database and of its log.
async fn stored(world: &World) -> Vec<(String, Vec<u8>)> {
    if world.backend() == Backend::Postgres {
        return world.database.dump_postgres().await;
    }
    let file = world.database.sqlite_file();
    let beside = |suffix: &str| std::path::PathBuf::from(format!("{}{suffix}", file.display()));
    let mut found = Vec::new();
    for path in [file.clone(), beside("-wal"), beside("-shm")] {
        if let Ok(bytes) = std::fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
    assert!(!found.is_empty(), "the embedded database is a file");
    found
}

on_both_backends! {
    async fn no_planted_secret_is_found_where_it_does_not_belong(backend: Backend) {
        let world = World::builder(backend).env("RUST_LOG", "trace").start().await;
        let admin = world.admin().await;
        let mut canaries = Vec::new();
        let mut plant = |name, secret: &str| canaries.push(Canary { name, secret: secret.to_owned() });

        // Everything that is secret, and the ways it is used, rightly and wrongly
        let (first, second) = ("sk-canary-provider-key-one-7f3a", "sk-canary-provider-key-two-9b1c");
        plant("a provider key", first);
        plant("a rotated provider key", second);
        let key = admin.post("providers", json!({"provider": "openai", "api_key": first})).await.expect(201).int("id");
        admin.put(&format!("providers/{key}"), json!({"credentials": {"api_key": second}})).await.expect(200);
        admin.post("providers", json!({"provider": "NOT A SLUG", "api_key": second})).await.error(400, "VALIDATION_ERROR");
        admin.send_raw(Method::POST, "providers", format!("{{\"api_key\": \"{second}\", ")).await.error(400, "MALFORMED_JSON");
        let password = "canary-Password-55d1e0";
        plant("a password", password);
        let user = json!({"username": "wren", "email": "wren@example.com", "password": password});
        let wren = admin.post("users", user).await.expect(201).text("id").to_owned();
        let client = world.log_in("wren@example.com", password).await;
        world.anon().post("auth/login", json!({"email": "nobody@example.com", "password": password}))
            .await.error(401, "AUTH_INVALID_CREDENTIALS");
        world.anon().post("auth/login", json!({"email": password, "password": "x"}))
            .await.error(401, "AUTH_INVALID_CREDENTIALS");
        let next = "canary-Password-next-01ab";
        plant("a changed password", next);
        let change = json!({"current_password": password, "new_password": next});
        client.post("auth/change-password", change).await.expect(204);
        let session = world.anon().post("auth/login", json!({"email": "wren@example.com", "password": next})).await.expect(200);
        plant("an access token", session.text("access_token"));
        plant("a refresh token", session.text("refresh_token"));
        let client = world.anon().with_token(session.text("access_token"));
        let refreshed = json!({"refresh_token": session.text("refresh_token")});
        let refreshed = world.anon().post("auth/refresh", refreshed).await.expect(200);
        plant("a refreshed refresh token", refreshed.text("refresh_token"));
        let api_token = client.post("api-tokens", json!({"name": "canary"})).await.expect(201);
        plant("an API token", api_token.text("token"));
        world.anon().with_token(api_token.text("token")).get("agents").await.expect(200);
        world.anon().post("api-tokens/validate", json!({"token": api_token.text("token")})).await.expect(200);
        let agent = world.agent_with(json!({"owner_id": wren, "provider_key_id": key})).await;
        plant("an IC token", &agent.ic_token);
        let lease = agent.borrow(100_000).await;
        plant("an IP token", lease.body.text("ip_token"));
        assert_eq!(agent.fetch_provider_key().await.expect(200).text("provider_key"), second);
        lease.report("one", 10).await.expect(200);
        let replaced = world.regenerate_ic_token(agent.id).await;
        plant("a replaced IC token", &replaced);
        agent.handshake(json!({})).await.error(401, "INVALID_IC_TOKEN");
        // In places where nobody should put them
        for canary in &canaries {
            let path = format!("agents?name={}", canary.secret.replace('+', "%2B").replace('=', "%3D").replace('/', "%2F"));
            world.anon().get(&path).await.error(401, "AUTH_MISSING_TOKEN");
        }

        // Where they must not be
        let mut places = Vec::new();
        for path in [
            "agents", "providers", &format!("providers/{key}"), "users", "api-tokens?all=true", "budget/leases",
            "budget/journal?limit=1000", "audit-logs?limit=1000", "audit-logs?format=csv", "audit-logs?format=json",
            "settings/system", "projects/proj_master_001", "traces", "traces/export?format=csv", "usage/export?format=csv",
            "analytics/usage/export?format=json", "analytics/spending/export?format=csv", "/metrics", "/api/v1/openapi.json",
        ] {
            let reply = admin.get(path).await;
            assert!(reply.is_success(), "{path}: {} {}", reply.status, reply.text);
            places.push((path.to_owned(), reply.text.into_bytes()));
        }
        places.push(("the log".to_owned(), world.server.log().into_bytes()));
        assert!(world.server.log().contains("DEBUG"), "the log is talkative");
        places.extend(stored(&world).await);
        world.server.stop().await;
        places.push(("the log after the end".to_owned(), world.server.log().into_bytes()));
        places.extend(stored(&world).await);
        for (place, bytes) in &places {
            for canary in &canaries {
                canary.absent(place, bytes);
            }
        }

        // The search finds what is there: a name that is stored and logged by design
        let there = Canary { name: "a name", secret: "wren@example.com".to_owned() };
        let found = std::panic::catch_unwind(|| {
            for (place, bytes) in &places {
                there.absent(place, bytes);
            }
        });
        assert!(found.is_err(), "a search that finds nothing proves nothing");
    }
}
