//! API tokens, from their beginning to their end, on the real server.

use crate::harness::*;

/// A token of theirs with these fields: in the clear, and its id.
async fn issue(client: &Client, fields: Value) -> (Client, i64) {
    let issued = client.post("api-tokens", fields).await.expect(201);
    (client.with_token(issued.text("token")), issued.int("id"))
}

on_both_backends! {
    async fn a_token_lives_is_replaced_and_ends(world: World) {
        let (admin, ada) = (world.admin().await, world.user("ada").await);
        let agent = world.agent_with(json!({"owner_id": ada.id})).await;
        let (token, id) = issue(&ada.client, json!({"name": "deploy", "expires_in_days": "30"})).await;
        token.get(&format!("agents/{}", agent.id)).await.expect(200);
        token.get("users").await.error(403, "INSUFFICIENT_PERMISSIONS");
        let rotated = token.post(&format!("tokens/{id}/rotate"), json!({})).await.expect(200);
        assert_eq!(rotated.int("rotated_from"), id);
        token.get("agents").await.error(401, "AUTH_TOKEN_REVOKED");
        let new = token.with_token(rotated.text("token"));
        new.get("agents").await.expect(200);
        let verdict = world.anon().post("api-tokens/validate", json!({"token": rotated["token"]})).await.expect(200);
        assert_eq!(verdict, json!({"valid": true, "user_id": ada.id, "token_id": rotated["id"]}));
        admin.post(&format!("tokens/{}/revoke", rotated["id"]), json!({})).await.expect(200);
        new.get("agents").await.error(401, "AUTH_TOKEN_REVOKED");
        admin.delete(&format!("api-tokens/{}", rotated["id"])).await.error(409, "TOKEN_ALREADY_REVOKED");
        let listed = ada.client.get("api-tokens").await.expect(200);
        let ids: Vec<i64> = listed.as_array().expect("an array").iter().map(|token| token.int("id")).collect();
        assert_eq!(ids, [rotated.int("id"), id]);
    }

    async fn the_last_use_of_a_token_survives_a_stop(world: World) {
        let admin = world.admin().await;
        let (token, id) = issue(&admin, json!({"name": "n"})).await;
        for _ in 0..5 {
            token.get("projects").await.expect(200);
        }
        world.server.stop().await;
        world.server.start_again().await;
        let shown = admin.get(&format!("api-tokens/{id}")).await.expect(200);
        assert_eq!(shown["usage_stats"].int("total_requests"), 5);
        assert!(shown["last_used_at"].is_i64());
    }

    async fn what_a_user_or_agent_leaves_behind_is_no_credential(world: World) {
        let (admin, ada) = (world.admin().await, world.user("ada").await);
        let agent = world.agent_with(json!({"owner_id": ada.id})).await;
        let (own, _) = issue(&ada.client, json!({"name": "own"})).await;
        let (bound, _) = issue(&ada.client, json!({"name": "bound", "agent_id": agent.id})).await;
        admin.delete(&format!("agents/{}", agent.id)).await.expect(204);
        bound.get("agents").await.error(401, "AUTH_TOKEN_REVOKED");
        own.get("agents").await.expect(200);
        admin.put(&format!("users/{}/suspend", ada.id), json!({})).await.expect(200);
        own.get("agents").await.error(401, "AUTH_ACCOUNT_DISABLED");
        admin.put(&format!("users/{}/activate", ada.id), json!({})).await.expect(200);
        own.get("agents").await.expect(200);
        let deleted = admin.delete(&format!("users/{}", ada.id)).await.expect(200);
        assert_eq!(deleted.int("api_tokens_revoked"), 1);
        own.get("agents").await.error(401, "AUTH_ACCOUNT_DISABLED");
    }

    async fn no_more_tokens_than_allowed_are_made_at_once(backend: Backend) {
        let builder = World::builder(backend).env("IRON__AUTH__MAX_API_TOKENS", "5");
        let world = builder.env("IRON__LIMITS__TOKEN_CHANGES__MAX", "0").start().await;
        let ada = world.user("ada").await;
        let replies = at_once(12, |number| {
            let client = ada.client.clone();
            async move { client.post("api-tokens", json!({"name": format!("t{number}")})).await }
        })
        .await;
        assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 5);
        assert!(replies.iter().all(|reply| reply.status == 201 || reply.code() == "TOKEN_LIMIT_EXCEEDED"));
        let active = ada.client.get("api-tokens?active=true").await.expect(200);
        assert_eq!(active.as_array().map(Vec::len), Some(5));
    }

    async fn a_project_key_is_fetched_by_people_and_not_under_a_freeze(world: World) {
        let (admin, ada) = (world.admin().await, world.user("ada").await);
        let key = world.new_provider_key(json!({"provider": "openai", "api_key": "sk-people-0123456789"})).await;
        admin.post("projects", json!({"id": "proj_a", "name": "A"})).await.expect(201);
        let body = json!({"provider_key_id": key["id"]});
        admin.post("projects/proj_a/provider", body).await.expect(200);
        world.agent_with(json!({"owner_id": ada.id, "project_id": "proj_a"})).await;
        let (token, _) = issue(&ada.client, json!({"name": "n", "project_id": "proj_a"})).await;
        let fetched = token.get("keys").await.expect(200);
        assert_eq!((fetched.text("provider"), fetched.text("api_key")), ("openai", "sk-people-0123456789"));
        ada.client.get("keys").await.error(403, "API_TOKEN_REQUIRED");
        let scope = json!({"kind": "project", "id": "proj_a"});
        world.freeze(scope.clone()).await;
        token.get("keys").await.error(403, "SCOPE_FROZEN");
        world.unfreeze(scope).await;
        admin.put(&format!("providers/{}", key["id"]), json!({"is_enabled": false})).await.expect(200);
        token.get("keys").await.error(403, "PROVIDER_KEY_DISABLED");
        admin.put(&format!("providers/{}", key["id"]), json!({"is_enabled": true, "api_key": "sk-new-0123456789"})).await
            .expect(200);
        assert_eq!(token.get("keys").await.expect(200).text("api_key"), "sk-new-0123456789", "the old one is dead");
    }
}
