//! Money: what is lent, reported, returned and lost is counted once, whatever happens in between.

mod batch;
mod idempotency;
mod late;
mod refresh;
mod rounding;

use crate::books::{Books, books, journal, verify};
use crate::harness::*;

on_both_backends! {
    async fn report_then_return_charges_once(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(400_000).await;
        assert_eq!((lease.granted, lease.body.int("budget_remaining")), (400_000, 600_000));
        let report = lease.report("call-1", 150_000).await.expect(200);
        assert_eq!((report.int("lease_spent"), report.int("lease_remaining")), (150_000, 250_000));
        assert_eq!((report.int("budget_remaining"), report.int("budget_limit")), (600_000, 1_000_000));
        assert_eq!((report.text("lease_status"), report.flag("duplicate")), ("active", false));
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 150_000, 250_000, 0));

        let answer = lease.give_back(json!({"spent_microdollars": 150_000})).await.expect(200);
        let expected = json!({
            "success": true, "returned": 250_000, "spent": 150_000, "agent_budget_remaining": 850_000,
            "lease_status": "closed", "duplicate": false, "overrun": false,
        });
        assert_eq!(answer, expected);
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 150_000, 0, 0));
        verify(&world).await;
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 150_000, 0, 0), "the same after a restart");
    }

    async fn return_without_a_figure_charges_the_reports(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(400_000).await;
        for (id, cost) in [("a", 60_000), ("b", 90_000)] {
            lease.report(id, cost).await.expect(200);
        }
        let answer = lease.give_back(json!({})).await.expect(200);
        assert_eq!((answer.int("spent"), answer.int("returned")), (150_000, 250_000));
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 150_000, 0, 0));
    }

    async fn return_of_an_unused_lease_charges_nothing(world: World) {
        let agent = world.agent(1_000_000).await;
        let answer = agent.borrow(400_000).await.give_back(json!({})).await.expect(200);
        assert_eq!((answer.int("spent"), answer.int("returned")), (0, 400_000));
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 0, 0, 0));
    }

    async fn a_figure_below_the_reports_loses_to_them(world: World) {
        let agent = world.agent(1_000_000).await;
        let figures = [
            json!({"spent_microdollars": 10_000}),
            json!({"spent_microdollars": 0}),
            json!({"final_spent_usd": 0.01}),
            json!({"returning_usd": 0.09}),
            // More than was lent: nothing spent, says the holder
            json!({"returning_usd": 5}),
        ];
        for (number, figure) in (1..).zip(figures) {
            let lease = agent.borrow(100_000).await;
            lease.report("a", 30_000).await.expect(200);
            let answer = lease.give_back(figure.clone()).await.expect(200);
            assert_eq!((answer.int("spent"), answer.int("returned")), (30_000, 70_000), "{figure}");
            assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 30_000 * number, 0, 0));
        }
    }

    async fn a_figure_above_the_reports_wins_in_every_spelling(world: World) {
        let agent = world.agent(1_000_000).await;
        let figures = [
            json!({"spent_microdollars": 40_000}),
            json!({"final_spent_usd": 0.04}),
            json!({"returning_usd": 0.06}),
            // One figure at most counts, in this order
            json!({"spent_microdollars": 40_000, "final_spent_usd": 0.09, "returning_usd": 0.01}),
            json!({"spent_microdollars": null, "final_spent_usd": 0.04, "returning_usd": 0.01}),
        ];
        for (number, figure) in (1..).zip(figures) {
            let lease = agent.borrow(100_000).await;
            lease.report("a", 30_000).await.expect(200);
            let answer = lease.give_back(figure.clone()).await.expect(200);
            assert_eq!((answer.int("spent"), answer.int("returned")), (40_000, 60_000), "{figure}");
            assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 40_000 * number, 0, 0));
        }
    }

    async fn spending_beyond_the_grant_is_recorded_in_full_and_stops_the_next_grant(world: World) {
        let agent = world.agent(300_000).await;
        let lease = agent.borrow(200_000).await;
        let report = lease.report("call-1", 350_000).await.expect(200);
        assert!(report.flag("overrun"));
        assert_eq!((report.int("lease_spent"), report.int("lease_remaining")), (350_000, 0));
        assert_eq!(report.int("budget_remaining"), 0, "never negative");
        let refused = agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
        assert_eq!((refused.int("total_spent"), refused.int("budget_remaining")), (350_000, 0));

        let answer = lease.give_back(json!({})).await.expect(200);
        assert_eq!((answer.int("spent"), answer.int("returned"), answer.flag("overrun")), (350_000, 0, true));
        let budget = world.budget_of(agent.id).await;
        assert_eq!((budget.int("spent"), budget.int("overrun"), budget.int("leased")), (350_000, 150_000, 0));
        agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");

        // More money: what went beyond is paid from it first
        let path = format!("agents/{}/budget", agent.id);
        let admin = world.admin().await;
        admin.put(&path, json!({"total_allocated_microdollars": 400_000})).await.expect(200);
        assert_eq!(agent.borrow(100_000).await.granted, 50_000);
        verify(&world).await;
    }

    async fn a_return_far_beyond_the_grant_is_booked_in_full(world: World) {
        let agent = world.agent(1_000_000).await;
        let answer = agent.borrow(1_000).await.give_back(json!({"spent_microdollars": 5_000_000_000_i64})).await;
        let answer = answer.expect(200);
        assert_eq!((answer.int("spent"), answer.int("returned"), answer.flag("overrun")), (5_000_000_000, 0, true));
        assert_eq!(world.budget_of(agent.id).await.int("spent"), 5_000_000_000);
        agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
    }

    async fn a_repeated_request_id_charges_once_and_a_changed_one_is_a_conflict(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(400_000).await;
        let first = lease.report("call-1", 150_000).await.expect(200);
        assert!(!first.flag("duplicate"));
        for _ in 0..3 {
            let again = lease.report("call-1", 150_000).await.expect(200);
            assert!(again.flag("duplicate"));
            assert_eq!((again.int("lease_spent"), again.int("budget_remaining")), (150_000, 600_000));
        }
        for changed in [0, 149_999, 150_001] {
            let conflict = lease.report("call-1", changed).await.error(409, "IDEMPOTENCY_CONFLICT");
            assert_eq!(conflict["details"]["recorded_cost_microdollars"], 150_000);
        }
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 150_000, 250_000, 0));
        // Another lease has request ids of its own
        agent.borrow(100_000).await.report("call-1", 7).await.expect(200);
        assert_eq!(books(&world, &agent).await.spent, 150_007);
        // Also where the lease is over
        lease.give_back(json!({})).await.expect(200);
        assert!(lease.report("call-1", 150_000).await.expect(200).flag("duplicate"));
        lease.report("call-1", 1).await.error(409, "IDEMPOTENCY_CONFLICT");
        assert_eq!(books(&world, &agent).await.spent, 150_007);
    }

    async fn the_same_report_twenty_times_in_parallel_charges_once(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(400_000).await;
        let answers = at_once(20, |_| {
            let lease = lease.clone();
            async move { lease.report("call-1", 1_000).await.expect(200) }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| !answer.flag("duplicate")).count(), 1);
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 1_000, 399_000, 0));
        assert_eq!(journal(&world, &format!("lease_id={}&kind=report", lease.id)).await.len(), 1);
    }

    async fn twenty_parallel_returns_credit_once(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(400_000).await;
        lease.report("call-1", 150_000).await.expect(200);
        let answers = at_once(20, |number| {
            let lease = lease.clone();
            // Some with a figure, some without, one spelled in dollars: all say the same
            let figure = match number % 3 {
                0 => json!({}),
                1 => json!({"spent_microdollars": 150_000}),
                _ => json!({"returning_usd": 0.25}),
            };
            async move { lease.give_back(figure).await.expect(200) }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| !answer.flag("duplicate")).count(), 1);
        for answer in &answers {
            assert_eq!((answer.int("spent"), answer.int("returned")), (150_000, 250_000));
            assert_eq!(answer.int("agent_budget_remaining"), 850_000);
        }
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 150_000, 0, 0));
        assert_eq!(journal(&world, &format!("lease_id={}&kind=return", lease.id)).await.len(), 1);
        verify(&world).await;
    }

    async fn parallel_returns_with_different_figures_charge_the_highest(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(400_000).await;
        let answers = at_once(20, |number| {
            let (lease, spent) = (lease.clone(), 1_000 * (number as i64 + 1));
            async move { lease.give_back(json!({"spent_microdollars": spent})).await.expect(200) }
        })
        .await;
        assert!(answers.iter().all(|answer| answer.int("spent") + answer.int("returned") == 400_000));
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 20_000, 0, 0));
    }

    async fn sixty_four_parallel_handshakes_at_the_edge_grant_exactly_what_is_left(world: World) {
        let agent = world.agent(1_000_000).await;
        agent.borrow(10_000).await.report("before", 10_000).await.expect(200);
        let answers = at_once(64, |number| {
            let agent = agent.clone();
            async move { agent.handshake(json!({"requested_budget": 28_000 + number as i64 * 100})).await }
        })
        .await;
        let (granted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Reply::is_success);
        let sum = granted.iter().map(|reply| reply.body.int("budget_granted")).sum::<i64>();
        assert_eq!(sum, 990_000, "not a micro-dollar more or less");
        assert!(granted.iter().all(|reply| reply.body.int("budget_granted") > 0));
        let ids = granted.iter().map(|reply| reply.body.text("lease_id")).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(ids.len(), granted.len());
        assert!(!refused.is_empty());
        for reply in refused {
            let body = reply.error(403, "BUDGET_EXHAUSTED");
            assert_eq!((body.int("budget_remaining"), body.int("total_spent")), (0, 1_000_000));
        }
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 10_000, 990_000, 0));
        verify(&world).await;
    }

    async fn a_handshake_that_fails_leaves_the_books_untouched(world: World) {
        let admin = world.admin().await;
        let keyless = world.agent_with(json!({"provider_key_id": null})).await;
        let foreign = world.new_provider_key(json!({"provider": "anthropic"})).await.int("id");
        let off = world.new_provider_key(json!({})).await.int("id");
        let crippled = world.agent_with(json!({"provider_key_id": off})).await;
        admin.put(&format!("providers/{off}"), json!({"is_enabled": false})).await.expect(200);
        let agent = world.agent(1_000_000).await;
        let before = journal(&world, "").await.len();

        let error = keyless.handshake(json!({})).await.error(404, "NO_PROVIDER_KEY");
        assert_eq!(error["details"]["reason"], "unassigned");
        let error = crippled.handshake(json!({})).await.error(404, "NO_PROVIDER_KEY");
        assert_eq!(error["details"]["reason"], "disabled");
        for key in [foreign, off, 999_999, -1] {
            agent.handshake(json!({"provider_key_id": key})).await.error(403, "PROVIDER_KEY_NOT_ASSIGNED");
        }
        let error = agent.handshake(json!({"runtime_version": "2.0.0"})).await.error(400, "INCOMPATIBLE_VERSION");
        assert_eq!(error["details"], json!({"required": ["0.x", "1.x"], "provided": "2.0.0"}));
        agent.with_ic_token("no.such.token").handshake(json!({})).await.error(401, "INVALID_IC_TOKEN");
        agent.handshake(json!({"requested_budget": 100_000_001})).await.error(400, "VALIDATION_ERROR");

        assert_eq!(journal(&world, "").await.len(), before, "nothing was written");
        for agent in [&keyless, &crippled, &agent] {
            assert_eq!(books(&world, agent).await, Books::of(1_000_000, 0, 0, 0));
        }
        let leases = admin.get("budget/leases").await.expect(200);
        assert!(leases.list("data").is_empty());
    }

    async fn a_wish_for_another_provider_is_only_a_wish(world: World) {
        let key = world.new_provider_key(json!({"provider": "anthropic", "base_url": "https://api.example.com/v1/"}));
        let key = key.await.int("id");
        let agent = world.agent_with(json!({"provider_key_id": key})).await;
        for wish in ["openai", "no such thing", "anthropic"] {
            let lease = agent.handshake(json!({"provider": wish, "requested_budget": 10})).await.expect(200);
            assert_eq!((lease.text("provider"), lease.int("provider_key_id")), ("anthropic", key));
            assert_eq!(lease.text("base_url"), "https://api.example.com");
            assert!(lease.text("ip_token").starts_with("AES256:"));
        }
        let lease = agent.handshake(json!({"provider_key_id": key, "requested_budget": 10})).await.expect(200);
        assert_eq!(lease.int("provider_key_id"), key);
    }

    async fn many_processes_of_one_agent_keep_their_leases_apart(world: World) {
        let agent = world.agent(1_000_000).await;
        let mut leases = Vec::new();
        for number in 0..5 {
            let asked = json!({"requested_budget": 100_000, "runtime_id": format!("process-{number}")});
            leases.push(agent.lease(agent.handshake(asked).await));
        }
        for (lease, spent) in leases.iter().zip([0, 10_000, 20_000, 30_000, 140_000]) {
            lease.report("only", spent).await.expect(200);
        }
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 200_000, 340_000, 0));
        for lease in leases {
            lease.give_back(json!({})).await.expect(200);
        }
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 200_000, 0, 0));
    }
}
