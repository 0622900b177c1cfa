//! Tokens of people: none is taken for another, and who is out is out.

use crate::harness::*;

/// A login of that person: access token and refresh token.
async fn session(world: &World, person: &Person) -> (Client, String) {
    let body = json!({"email": person.email, "password": person.password});
    let session = world.anon().post("auth/login", body).await.expect(200);
    (world.anon().with_token(session.text("user_token")), session.text("refresh_token").to_owned())
}

async fn refresh(world: &World, token: &str) -> Reply {
    world.anon().post("auth/refresh", json!({"refresh_token": token})).await
}

on_both_backends! {
    async fn no_token_is_taken_in_place_of_another_kind(world: World) {
        let (ada, agent) = (world.user("ada").await, world.agent(1_000_000).await);
        let (client, refresh_token) = session(&world, &ada).await;
        let access = client.token().unwrap_or("").to_owned();
        for wrong in [&refresh_token, &agent.ic_token] {
            let client = world.anon().with_token(wrong);
            for path in ["agents", "users", "budget/leases", "budget/journal", "providers", "projects"] {
                client.get(path).await.error(401, "AUTH_INVALID_TOKEN");
            }
            client.post("agents", json!({})).await.error(401, "AUTH_INVALID_TOKEN");
        }
        for wrong in [&access, &agent.ic_token] {
            refresh(&world, wrong).await.error(401, "AUTH_INVALID_TOKEN");
            world.anon().with_token(wrong).post("auth/refresh", json!({})).await.error(401, "AUTH_INVALID_TOKEN");
        }
        for wrong in [&access, &refresh_token] {
            agent.with_ic_token(wrong).handshake(json!({})).await.error(401, "INVALID_IC_TOKEN");
            agent.with_ic_token(wrong).fetch_provider_key().await.error(401, "INVALID_IC_TOKEN");
        }
        // Each at its own place
        client.get("agents").await.expect(200);
        refresh(&world, &refresh_token).await.expect(200);
        agent.handshake(json!({})).await.expect(200);
    }

    async fn requests_without_a_usable_header_are_told_what_is_missing(world: World) {
        let anon = world.anon();
        let get = async |header: Option<&str>| {
            let request = anon.request(Method::GET, "agents");
            let request = header.map_or(request.try_clone().expect("no body"), |h| request.header("authorization", h));
            anon.answer(request).await
        };
        for header in [None, Some("Basic eDp5"), Some("Bearer"), Some("token abc")] {
            let reply = get(header).await;
            assert_eq!(reply.header("www-authenticate"), "Bearer");
            reply.error(401, "AUTH_MISSING_TOKEN");
        }
        for header in ["Bearer rubbish", "Bearer a.b.c", "bearer \u{fc}", "Bearer apitok_0123"] {
            get(Some(header)).await.error(401, "AUTH_INVALID_TOKEN");
        }
        let admin = world.admin().await;
        let token = admin.token().unwrap_or("");
        for scheme in ["Bearer", "bearer", "BEARER"] {
            get(Some(&format!("{scheme} {token}"))).await.expect(200);
        }
    }

    async fn a_suspended_user_is_out_at_once(world: World) {
        let (admin, ada) = (world.admin().await, world.user("ada").await);
        let agent = world.agent_with(json!({"owner_id": ada.id})).await;
        let (client, refresh_token) = session(&world, &ada).await;
        client.get("agents").await.expect(200);
        admin.put(&format!("users/{}/suspend", ada.id), json!({})).await.expect(200);
        for client in [&client, &ada.client] {
            client.get("agents").await.error(401, "AUTH_ACCOUNT_DISABLED");
            client.get(&format!("agents/{}", agent.id)).await.error(401, "AUTH_ACCOUNT_DISABLED");
            let path = format!("agents/{}/ic-token/regenerate", agent.id);
            client.post(&path, json!({})).await.error(401, "AUTH_ACCOUNT_DISABLED");
        }
        refresh(&world, &refresh_token).await.error(401, "AUTH_ACCOUNT_DISABLED");
        let body = json!({"email": ada.email, "password": ada.password});
        let error = world.anon().post("auth/login", body).await.error(403, "AUTH_ACCOUNT_DISABLED");
        assert_eq!(error["details"]["user_id"], ada.id);
        // Her agents work on, unless they are to stop as well
        agent.handshake(json!({"requested_budget": 10})).await.expect(200);

        admin.put(&format!("users/{}/activate", ada.id), json!({})).await.expect(200);
        client.get("agents").await.error(401, "AUTH_TOKEN_REVOKED");
        refresh(&world, &refresh_token).await.error(401, "AUTH_TOKEN_REVOKED");
        session(&world, &ada).await.0.get("agents").await.expect(200);
    }

    async fn a_suspended_user_is_out_at_another_server_within_seconds(world: World) {
        if world.backend() == Backend::Sqlite {
            // The embedded database has one server
            return;
        }
        let (_second, other) = world.another_server().await;
        let ada = world.user("ada").await;
        let there = other.with_token(ada.client.token().unwrap_or(""));
        there.get("agents").await.expect(200);
        world.admin().await.put(&format!("users/{}/suspend", ada.id), json!({})).await.expect(200);
        let out = || async { Some(there.get("agents").await).filter(|reply| !reply.is_success()) };
        eventually("the other server knows", out).await.error(401, "AUTH_ACCOUNT_DISABLED");
    }

    async fn suspending_with_the_agents_freezes_them_too(world: World) {
        let (admin, ada) = (world.admin().await, world.user("ada").await);
        let agent = world.agent_with(json!({"owner_id": ada.id})).await;
        let lease = agent.borrow(10).await;
        let body = json!({"freeze_agents": true, "reason": "left the company"});
        admin.put(&format!("users/{}/suspend", ada.id), body).await.expect(200);
        for reply in crate::tokens::ask_everywhere(&agent, &lease.id).await {
            let error = reply.error(403, "AGENT_FROZEN");
            assert_eq!(error["details"]["scope"], json!({"kind": "owner", "id": ada.id}));
        }
        lease.give_back(json!({})).await.expect(200);
    }

    async fn a_deleted_user_is_out_and_its_agents_have_another_owner(world: World) {
        let (admin, ada) = (world.admin().await, world.user("ada").await);
        let agent = world.agent_with(json!({"owner_id": ada.id})).await;
        let (client, _) = session(&world, &ada).await;
        let gone = admin.delete(&format!("users/{}", ada.id)).await.expect(200);
        assert_eq!((gone.int("agents_count"), gone["agents_affected"][0]["agent_id"].as_i64()), (1, Some(agent.id)));
        client.get("agents").await.error(401, "AUTH_ACCOUNT_DISABLED");
        let shown = admin.get(&format!("agents/{}", agent.id)).await.expect(200);
        assert_ne!(shown["owner_id"], json!(ada.id));
        agent.handshake(json!({})).await.expect(200);
    }

    async fn a_logout_ends_every_token_of_that_login_and_no_other(world: World) {
        let ada = world.user("ada").await;
        let (client, refresh_token) = session(&world, &ada).await;
        let renewed = refresh(&world, &refresh_token).await.expect(200);
        let second = world.anon().with_token(renewed.text("access_token"));
        second.get("agents").await.expect(200);
        client.post("auth/logout", json!({})).await.expect(204);
        for client in [&client, &second] {
            client.get("agents").await.error(401, "AUTH_TOKEN_REVOKED");
        }
        refresh(&world, renewed.text("refresh_token")).await.error(401, "AUTH_TOKEN_REVOKED");
        ada.client.get("agents").await.expect(200);
        // A logout is answered whether the token is known or not
        client.post("auth/logout", json!({})).await.expect(204);
        world.anon().post("auth/logout", json!({})).await.error(401, "AUTH_MISSING_TOKEN");
    }

    async fn another_role_counts_from_the_next_request_on(world: World) {
        let (admin, ada) = (world.admin().await, world.user("ada").await);
        let agent = world.agent_with(json!({"owner_id": ada.id})).await;
        let path = format!("agents/{}/ic-token", agent.id);
        ada.client.delete(&path).await.expect(204);
        admin.put(&format!("users/{}/role", ada.id), json!({"role": "viewer"})).await.expect(200);
        ada.client.post(&path, json!({})).await.error(403, "INSUFFICIENT_PERMISSIONS");
        admin.put(&format!("users/{}/role", ada.id), json!({"role": "admin"})).await.expect(200);
        ada.client.post(&path, json!({})).await.expect(201);
        ada.client.get("users").await.expect(200);
    }
}
