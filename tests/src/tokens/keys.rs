//! The provider key: who gets it, and when not.

use crate::harness::*;

on_both_backends! {
    async fn the_key_is_handed_to_its_agent_in_full(world: World) {
        let with = json!({"api_key": "sk-secret-42", "base_url": "https://llm.example.com/v1/", "provider": "azure"});
        let key = world.new_provider_key(with).await.int("id");
        let agent = world.agent_with(json!({"provider_key_id": key})).await;
        let shown = agent.fetch_provider_key().await.expect(200);
        let expected = json!({
            "provider_key": "sk-secret-42", "provider": "azure", "base_url": "https://llm.example.com",
            "provider_key_id": key, "epoch": shown["epoch"],
        });
        assert_eq!(shown, expected);
        // Without an address of its own the key is absent, not null
        let plain = world.agent(1_000).await.fetch_provider_key().await.expect(200);
        assert!(plain.get("base_url").is_none(), "{plain}");
    }

    async fn an_exhausted_agent_keeps_its_key_only_while_it_holds_a_lease(world: World) {
        let agent = world.agent(1_000).await;
        agent.fetch_provider_key().await.expect(200);
        let lease = agent.borrow(1_000).await;
        agent.fetch_provider_key().await.expect(200);
        lease.report("all", 1_000).await.expect(200);
        agent.fetch_provider_key().await.expect(200);
        lease.give_back(json!({})).await.expect(200);
        let error = agent.fetch_provider_key().await.error(403, "BUDGET_EXHAUSTED");
        assert_eq!(error["binding_scope"], json!({"kind": "agent", "id": agent.id}));
        assert_eq!((error.int("total_allocated"), error.int("budget_remaining")), (1_000, 0));
        assert_eq!(error["details"]["spent"], 1_000);
    }

    async fn a_key_is_not_handed_out_where_another_scope_has_nothing_left(world: World) {
        let (first, second) = (world.agent(1_000_000).await, world.agent(1_000_000).await);
        world.cap(json!({"kind": "organization"}), 500).await;
        let lease = first.borrow(500).await;
        let error = second.fetch_provider_key().await.error(403, "BUDGET_EXHAUSTED");
        assert_eq!(error["binding_scope"]["kind"], "organization");
        assert_eq!(error.int("budget_remaining"), 1_000_000);
        lease.give_back(json!({})).await.expect(200);
        second.fetch_provider_key().await.expect(200);
    }

    async fn an_agent_without_a_usable_key_gets_none(world: World) {
        let keyless = world.agent_with(json!({"provider_key_id": null})).await;
        let error = keyless.fetch_provider_key().await.error(403, "NO_PROVIDER_ASSIGNED");
        assert_eq!(error["details"]["reason"], "unassigned");
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(1_000).await;
        let path = format!("providers/{}", world.provider_key().await);
        let admin = world.admin().await;
        admin.put(&path, json!({"is_enabled": false})).await.expect(200);
        let error = agent.fetch_provider_key().await.error(403, "NO_PROVIDER_ASSIGNED");
        assert_eq!(error["details"]["reason"], "disabled");
        lease.refresh(json!({})).await.error(404, "NO_PROVIDER_KEY");
        admin.put(&path, json!({"is_enabled": true})).await.expect(200);
        agent.fetch_provider_key().await.expect(200);
        admin.delete(&path).await.expect(204);
        let error = agent.fetch_provider_key().await.error(403, "NO_PROVIDER_ASSIGNED");
        assert_eq!(error["details"]["reason"], "unassigned");
    }

    async fn a_rotated_key_is_the_one_that_is_handed_out(world: World) {
        let agent = world.agent(1_000_000).await;
        let path = format!("providers/{}", world.provider_key().await);
        world.admin().await.put(&path, json!({"api_key": "sk-rotated-7"})).await.expect(200);
        assert_eq!(agent.fetch_provider_key().await.expect(200).text("provider_key"), "sk-rotated-7");
    }

    async fn every_fetch_is_in_the_audit_log_and_no_secret_is_in_the_log(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(1_000).await;
        let shown = agent.fetch_provider_key().await.expect(200);
        let admin = world.admin().await;
        let (path, secret) = (format!("providers/{}", shown.int("provider_key_id")), shown.text("provider_key"));
        let listed = admin.get(&path).await;
        assert!(!listed.text.contains(secret), "{}", listed.text);
        assert_eq!(listed.expect(200).text("masked_key"), "sk-t...def");
        world.server.stop().await;
        let log = world.server.log();
        let session = admin.token().unwrap_or("no token").to_owned();
        for secret in [secret, &agent.ic_token, &lease.id, &session, ADMIN_PASSWORD] {
            assert!(!log.contains(secret), "a secret is in the log");
        }
        if world.backend() == Backend::Sqlite {
            // Nor in the database in the clear, write-ahead log included
            for suffix in ["", "-wal"] {
                let file = format!("{}{suffix}", world.database.sqlite_file().display());
                let bytes = std::fs::read(file).unwrap_or_default();
                for secret in [secret, &agent.ic_token, &session, ADMIN_PASSWORD] {
                    assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
                }
            }
        }
        let audit = world.command(&["audit", "verify"]).await.ok();
        assert!(audit.contains("audit ok"), "{audit}");
    }
}
