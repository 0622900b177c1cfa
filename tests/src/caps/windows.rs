//! Budgets over a time: which instants a window covers, and that several windows count together.

use super::{organization, owner};
use crate::harness::*;

const DAY_MS: i64 = 86_400_000;

async fn windowed(world: &World, scope: Value, window: &str, zone: &str, cap: i64) -> Value {
    let body = json!({"scope": scope, "cap_microdollars": cap, "window": window, "time_zone": zone});
    world.admin().await.post("budgets", body).await.expect(201)
}

on_both_backends! {
    async fn a_window_begins_and_ends_where_the_calendar_of_its_zone_says(world: World) {
        let ada = world.user("ada").await.id;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let now = i64::try_from(now.as_millis()).expect("before the year 292 million");
        let bounds = |budget: &Value| (budget.int("window_start"), budget.int("window_end"));

        let (start, end) = bounds(&windowed(&world, owner(&ada), "day", "UTC", 1).await);
        assert!(start % DAY_MS == 0 && end - start == DAY_MS && start <= now + 1_000 && now < end, "{start} {end}");
        let (start, end) = bounds(&windowed(&world, owner(&ada), "week", "UTC", 1).await);
        // 1970-01-05 was a Monday
        assert!((start - 4 * DAY_MS) % (7 * DAY_MS) == 0 && end - start == 7 * DAY_MS, "{start} {end}");
        let (start, end) = bounds(&windowed(&world, owner(&ada), "month", "UTC", 1).await);
        assert!(start % DAY_MS == 0 && (28..=31).contains(&((end - start) / DAY_MS)), "{start} {end}");
        // Midnight in Kolkata is half past six in the evening, UTC
        let (start, end) = bounds(&windowed(&world, organization(), "day", "Asia/Kolkata", 1).await);
        assert!(start % DAY_MS == DAY_MS - 19_800_000 && end - start == DAY_MS, "{start} {end}");
        let without = windowed(&world, organization(), "none", "UTC", 1).await;
        assert_eq!((&without["window_start"], &without["window_end"]), (&Value::Null, &Value::Null));
    }

    async fn all_windows_of_a_scope_count_together_and_the_tightest_binds(world: World) {
        let ada = world.user("ada").await.id;
        let agent = world.agent_with(json!({"owner_id": ada})).await;
        let mut budgets = Vec::new();
        for (number, (window, cap)) in (0..).zip([("none", 400_000), ("month", 300_000), ("week", 200_000), ("day", 100_000)]) {
            budgets.push(windowed(&world, owner(&ada), window, "UTC", cap).await);
            let lease = agent.borrow(1_000_000).await;
            assert_eq!(lease.granted, cap - 1_000 * number, "less what was spent before it was opened");
            let refused = agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
            assert_eq!((refused["details"]["window"].as_str(), refused["details"]["cap"].as_i64()), (Some(window), Some(cap)));
            lease.give_back(json!({"spent_microdollars": 1_000})).await.expect(200);
        }
        // Each counted what was spent before it was opened and after
        for budget in &budgets {
            let path = format!("budgets/{}", budget.text("id"));
            let shown = world.admin().await.get(&path).await.expect(200);
            assert_eq!((shown.int("spent"), shown.int("leased")), (4_000, 0), "{shown}");
        }
        let shown = world.exposure(&format!("scope_kind=owner&scope_id={ada}")).await;
        assert_eq!((shown.text("window"), shown.int("available")), ("day", 96_000), "the one with the least available");
        let shown = world.exposure(&format!("scope_kind=owner&scope_id={ada}&window=month")).await;
        assert_eq!((shown.text("window"), shown.int("available")), ("month", 296_000));
        assert_eq!(shown["budget_id"], budgets[1]["id"]);
    }

    async fn a_denied_refresh_says_when_the_window_ends(world: World) {
        let ada = world.user("ada").await.id;
        let agent = world.agent_with(json!({"owner_id": ada})).await;
        let budget = windowed(&world, owner(&ada), "month", "Europe/Zurich", 50_000).await;
        let lease = agent.borrow(50_000).await;
        let denied = lease.refresh(json!({})).await.expect(200);
        assert_eq!((denied.text("status"), &denied["resets_at"]), ("denied", &budget["window_end"]));
        assert!(denied.int("resets_at") > 0);
    }
}
