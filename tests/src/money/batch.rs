//! Many reports in one request.

use crate::books::{Books, books};
use crate::harness::*;

fn item(id: &str, cost: i64) -> Value {
    json!({"request_id": id, "tokens": 10, "cost_microdollars": cost, "model": "gpt-4o", "provider": "openai"})
}

on_both_backends! {
    async fn bad_items_of_a_batch_do_not_spoil_the_good_ones(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(400_000).await;
        lease.report("known", 7_000).await.expect(200);
        let mut float = item("float", 1);
        float["cost_microdollars"] = json!(1.5);
        let batch = json!({"lease_id": lease.id, "reports": [
            item("a", 10_000), item("known", 7_000), item("known", 8_000), float, item("a", 10_000), item("b", 20_000),
            {"request_id": "bare"}, 17,
        ]});
        let answer = world.anon().post("budget/report/batch", batch).await.expect(200);
        let statuses = answer.list("results").iter().map(|r| r.text("status")).collect::<Vec<_>>();
        let expected =
            ["recorded", "duplicate", "conflict", "invalid", "duplicate", "recorded", "invalid", "invalid"];
        assert_eq!(statuses, expected);
        for (index, result) in (0..).zip(answer.list("results")) {
            assert_eq!(result.int("index"), index);
        }
        let results = answer.list("results");
        assert_eq!((results[0].text("request_id"), &results[7]["request_id"]), ("a", &Value::Null));
        assert_eq!((results[2].text("code"), results[3].text("code")), ("IDEMPOTENCY_CONFLICT", "VALIDATION_ERROR"));
        assert!(results[3]["fields"]["cost_microdollars"].is_string(), "{}", results[3]);
        assert!(results[6]["fields"]["tokens"].is_string(), "{}", results[6]);
        assert!(!answer.flag("success"));
        assert_eq!((answer.int("recorded"), answer.int("duplicates"), answer.int("failed")), (2, 2, 4));
        assert_eq!((answer.int("lease_spent"), answer.int("lease_remaining")), (37_000, 363_000));
        assert_eq!((answer.int("budget_remaining"), answer.int("budget_limit")), (600_000, 1_000_000));
        assert_eq!((answer.text("lease_status"), answer.flag("overrun")), ("active", false));
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 37_000, 363_000, 0));
    }

    async fn a_thousand_reports_fit_into_one_batch_and_no_more(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(400_000).await;
        let reports = (0..1_001).map(|number| item(&format!("call-{number}"), 100)).collect::<Vec<_>>();
        let send = async |reports: &[Value]| {
            let batch = json!({"lease_id": lease.id, "reports": reports});
            world.anon().post("budget/report/batch", batch).await
        };
        send(&reports).await.error(400, "BATCH_TOO_LARGE");
        let empty = send(&[]).await.error(400, "VALIDATION_ERROR");
        assert!(empty["fields"]["reports"].is_string(), "{empty}");
        assert_eq!(books(&world, &agent).await.spent, 0);
        for (recorded, duplicates) in [(1_000, 0), (0, 1_000)] {
            let answer = send(&reports[..1_000]).await.expect(200);
            assert!(answer.flag("success"));
            assert_eq!((answer.int("recorded"), answer.int("duplicates")), (recorded, duplicates));
        }
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 100_000, 300_000, 0));
        assert_eq!(world.lease(&lease.id).await.int("report_count"), 1_000);
    }

    async fn a_batch_for_an_unknown_lease_is_refused_as_a_whole(world: World) {
        let batch = json!({"lease_id": "lease_nobody", "reports": [item("a", 1)]});
        world.anon().post("budget/report/batch", batch).await.error(404, "LEASE_NOT_FOUND");
        let error = world.anon().post("budget/report/batch", json!({})).await.error(400, "VALIDATION_ERROR");
        assert!(error["fields"]["lease_id"].is_string() && error["fields"]["reports"].is_string(), "{error}");
    }

    async fn the_running_total_of_a_batch_or_report_merges_by_maximum(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(400_000).await;
        let batch = json!({"lease_id": lease.id, "reports": [item("a", 10_000)], "spent_total_microdollars": 25_000});
        assert_eq!(world.anon().post("budget/report/batch", batch).await.expect(200).int("lease_spent"), 25_000);
        for (id, cost, total, spent) in
            [("b", 5_000, 40_000, 40_000), ("c", 5_000, 30_000, 40_000), ("d", 30_000, 1, 50_000)]
        {
            let report = json!({"request_id": id, "cost_microdollars": cost, "spent_total_microdollars": total});
            assert_eq!(lease.report_with(report).await.expect(200).int("lease_spent"), spent);
        }
        let shown = world.lease(&lease.id).await;
        assert_eq!((shown.int("reports_spent"), shown.int("reports_total_stated")), (50_000, 40_000));
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 50_000, 350_000, 0));
    }

    async fn gaps_in_the_holders_counter_show_on_the_lease(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(400_000).await;
        for seq in [1, 2, 5] {
            let report = json!({"request_id": format!("call-{seq}"), "seq": seq});
            lease.report_with(report).await.expect(200);
        }
        let shown = world.lease(&lease.id).await;
        assert_eq!((shown.int("highest_seq"), shown.int("report_count"), shown.int("missing_reports")), (5, 3, 2));
    }
}
