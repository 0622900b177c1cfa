//! Parts of a micro-dollar: what is spent rounds up, what is left rounds down, and only what is shown is rounded.

use crate::books::verify;
use crate::harness::*;

on_both_backends! {
    async fn parts_of_a_micro_dollar_are_added_up_exactly(world: World) {
        let agent = world.agent(1_000).await;
        let lease = agent.borrow(100).await;
        // 3 × 333 nano-dollars are one micro-dollar when shown, not three
        for number in 0..3_i64 {
            let exact = json!({"request_id": format!("call-{number}"), "cost_nanos": 333, "cost_microdollars": 1});
            let report = lease.report_with(exact).await.expect(200);
            assert_eq!((report.int("lease_spent"), report.int("lease_remaining")), (1, 99));
        }
        let report = lease.report_with(json!({"request_id": "d", "cost_nanos": 2, "cost_microdollars": 0})).await;
        let report = report.expect(200);
        assert_eq!((report.int("lease_spent"), report.int("lease_remaining")), (2, 98), "1.001 rounds up, 98.999 down");
        let budget = world.budget_of(agent.id).await;
        assert_eq!((budget.int("spent"), budget.int("leased"), budget.int("total_spent")), (2, 99, 100));

        let answer = lease.give_back(json!({})).await.expect(200);
        assert_eq!((answer.int("spent"), answer.int("returned"), answer.int("agent_budget_remaining")), (2, 98, 998));
        let budget = world.budget_of(agent.id).await;
        assert_eq!((budget.int("spent"), budget.int("leased"), budget.int("total_spent")), (2, 0, 2));
        assert_eq!(budget.int("budget_remaining"), budget.int("total_allocated") - budget.int("total_spent"));
        // Only whole micro-dollars are lent: the holder is told no finer figure
        assert_eq!(agent.borrow(1_000).await.granted, 998);
        agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
        verify(&world).await;
    }

    async fn the_exact_cost_must_round_to_the_stated_one(world: World) {
        let lease = world.agent(1_000_000).await.borrow(1_000).await;
        for (number, (nanos, micros, fits)) in (0..).zip([
            (1_000, 1, true), (1_001, 1, true), (1_001, 2, true), (1_001, 3, false), (999, 2, false), (0, 0, true),
            (0, 1, false),
        ]) {
            let id = format!("call-{number}");
            let report = json!({"request_id": id, "cost_nanos": nanos, "cost_microdollars": micros});
            let answer = lease.report_with(report).await;
            if fits {
                answer.expect(200);
            } else {
                let error = answer.error(400, "VALIDATION_ERROR");
                assert!(error["fields"]["cost_nanos"].is_string(), "{error}");
            }
        }
        assert_eq!(world.lease(&lease.id).await.int("spent"), 4, "3 002 nano-dollars");
    }

    async fn the_same_id_with_another_part_of_a_micro_dollar_is_a_conflict(world: World) {
        let lease = world.agent(1_000_000).await.borrow(1_000).await;
        let exact = |nanos: i64| json!({"cost_nanos": nanos, "cost_microdollars": 2});
        lease.report_with(exact(1_500)).await.expect(200);
        assert!(lease.report_with(exact(1_500)).await.expect(200).flag("duplicate"));
        let conflict = lease.report_with(exact(1_501)).await.error(409, "IDEMPOTENCY_CONFLICT");
        assert_eq!(conflict["details"]["recorded_cost_microdollars"], 2);
    }
}
