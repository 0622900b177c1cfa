//! Whatever the order in which events and reports come, repeated and in whatever batches: the same facts, the same
//! roll-ups, the same settlement.

use analytics::CallStatus;
use kernel::entropy::SeededEntropy;
use kernel::{AgentId, Entropy, LeaseId, Money, Timestamp};
use ledger::{Command, Spending};
use persistence::{CallFacts, EventFacts, EventMore, Extra, Folding, Item, SketchStep};

use crate::support::TestStore;
use crate::world::*;

struct Dice(SeededEntropy);

impl Dice {
    fn roll(&self, end: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % end as u64).expect("small")
    }

    fn pick<T: Clone>(&self, from: &[T]) -> T {
        from[self.roll(from.len())].clone()
    }

    fn shuffle<T>(&self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.roll(at + 1));
        }
    }
}

/// Two agents; the first has a lease that is closed, two that overlap, and one that was its only one for a while.
async fn world(t: &TestStore) -> Vec<LeaseId> {
    people(t, &[(1, "user_1", Some("proj_1")), (2, "user_2", None)]).await;
    allocate(t, &[(1, usd(1_000)), (2, usd(1_000))]).await;
    let leases = ["a", "b", "c", "d"].map(lease).to_vec();
    done(t, grant(1, &leases[0], usd(9))).await;
    t.clock.advance_millis(600_000);
    run(t, &[grant(1, &leases[1], usd(9)), grant(2, &leases[3], usd(9))]).await;
    t.clock.advance_millis(600_000);
    done(t, give_back(&leases[0], None)).await;
    t.clock.advance_millis(600_000);
    done(t, grant(1, &leases[2], usd(9))).await;
    t.clock.advance_millis(600_000);
    leases
}

/// What is said, each once. Few ids, so that much of it is about the same calls.
fn told(dice: &Dice, leases: &[LeaseId], now: Timestamp) -> Vec<Item> {
    let mut items = Vec::new();
    let cost = || Money::from_nanos(dice.pick(&[0, 1, 999_999, 3_000_000, 7_500_000_000]));
    let at = || now.plus_millis(-dice.pick(&[0, 1, 300_000, 900_000, 2_100_000, 2_500_000, 90_000_000, 3_000_000_000]));
    for lease in leases {
        for request in 0..4 {
            if dice.roll(3) > 0 {
                let spending = Spending { id: format!("id{request}"), cost: cost(), occurred_at: at() };
                let command = Command::Report { lease: lease.clone(), item: Some(spending), total: None, seq: None };
                let (model, provider) = (dice.pick(&["gpt-4o", "o3"]).to_owned(), "openai".to_owned());
                items.push(Item {
                    extra: Extra::Call(CallFacts { model, provider, tokens: 10 * dice.roll(9) as i64 }),
                    ..Item::new(command)
                });
            }
        }
    }
    for agent in [1, 1, 2] {
        for event in 0..6 {
            let facts = EventFacts {
                status: dice.pick(&[CallStatus::Completed, CallStatus::Completed, CallStatus::Failed]),
                model: dice.pick(&["gpt-4o", "o3"]).to_owned(),
                provider: dice.pick(&["openai", "azure"]).to_owned(),
                provider_key: None,
                input_tokens: dice.roll(100) as i64,
                output_tokens: dice.roll(100) as i64,
                latency_ms: dice.pick(&[None, Some(5), Some(70_000)]),
                request_id: dice.pick(&[None, Some("id0"), Some("id1"), Some("id2")]).map(str::to_owned),
                more: dice
                    .pick(&[None, Some(EventMore { span_id: Some("s".into()), ..EventMore::default() })])
                    .map(Box::new),
            };
            let id = format!("{}{event}", dice.pick(&["id", "ev"]));
            let spending = Spending { id: id.clone(), cost: cost(), occurred_at: at() };
            let lease = dice.pick(&[None, Some(leases[dice.roll(leases.len())].clone())]);
            let same = |item: &Item| matches!(&item.command, Command::Event { agent: a, item, .. } if a.0 == agent && item.id == id);
            if !items.iter().any(same) {
                items.push(Item::event(AgentId(agent), lease, spending, facts));
            }
        }
    }
    items
}

async fn fold(t: &TestStore, now: Timestamp) {
    while t.store.fold_rollups(now).await.expect("folded") == Folding::More {}
    let last = t.store.fold().await.expect("read").last_fact;
    while t.store.fold_sketches(now, last).await.expect("folded") == Folding::More {}
}

/// Everything that should not depend on the order.
async fn outcome(t: &TestStore) -> Vec<String> {
    // When all is over, whatever was folded before
    fold(t, t.now().plus_millis(40 * 86_400_000)).await;
    let check = t.store.check_rollups(false).await.expect("checked");
    assert!(check.is_ok(), "{:#?}", check.wrong);
    crate::facts::assert_shorter_sums(t).await;
    assert_sound(t).await;
    let key = "s.agent_id || ' ' || s.owner_id || ' ' || s.project_id || ' ' || s.provider || ' ' || s.provider_key_id \
        || ' ' || s.model || ' ' || s.status";
    let questions = [
        "SELECT id || ' ' || state || ' ' || reported || ' ' || events || ' ' || report_count AS line FROM leases \
         ORDER BY line"
            .to_owned(),
        format!(
            "SELECT {key} || ' ' || f.occurred_at || ' ' || f.flags || ' ' || f.input_tokens || ' ' || f.output_tokens \
             || ' ' || f.cost || ' ' || COALESCE(f.latency_ms, -1) || ' ' || COALESCE(f.event_id, '-') || ' ' || \
             COALESCE(f.request_id, '-') || ' ' || COALESCE(f.lease_id, '-') || ' ' || COALESCE(x.event_cost, -1) || ' ' \
             || COALESCE(x.event_key_id, -1) || ' ' || COALESCE(x.report_lease_id, '-') || ' ' || \
             COALESCE(x.report_request_id, '-') || ' ' || COALESCE(x.span_id, '-') AS line \
             FROM facts f JOIN series s ON s.no = f.series_no LEFT JOIN fact_extras x ON x.fact_id = f.id ORDER BY line"
        ),
        format!(
            "SELECT r.level || ' ' || r.bucket_start || ' ' || {key} || ': ' || r.requests || ' ' || r.input_tokens || ' ' \
             || r.output_tokens || ' ' || r.cost || ' ' || r.min_cost || ' ' || r.max_cost AS line \
             FROM rollups r JOIN series s ON s.no = r.series_no ORDER BY line"
        ),
        format!(
            "SELECT k.level || ' ' || k.bucket_start || ' ' || {key} || ': ' || length(k.cost) || ' ' || length(k.latency) \
             AS line FROM rollup_sketches k JOIN series s ON s.no = k.series_no ORDER BY line"
        ),
        "SELECT CAST(COUNT(*) AS TEXT) FROM fact_ids".to_owned(),
    ];
    let mut lines = Vec::new();
    for question in questions {
        lines.extend(t.texts(&question).await);
    }
    lines
}

on_both_backends! {
    async fn any_order_with_repetitions_gives_the_same_facts_roll_ups_and_settlement(t: TestStore) {
        for seed in 0..5 {
            let dice = Dice(SeededEntropy::new(seed));
            let first = TestStore::start(t.store.backend()).await;
            let leases = world(&first).await;
            let items = told(&dice, &leases, first.now());
            for item in &items {
                run_one(&first, item.clone()).await.expect("counted");
            }
            let expected = outcome(&first).await;
            for _ in 0..2 {
                let other = TestStore::start(t.store.backend()).await;
                world(&other).await;
                let mut again: Vec<Item> = items.iter().chain(items.iter().filter(|_| dice.roll(2) == 0)).cloned().collect();
                dice.shuffle(&mut again);
                let mut rest = &again[..];
                // Sketches that were read before some batch and are written after it
                let mut half: Option<SketchStep> = None;
                while !rest.is_empty() {
                    let (batch, after) = rest.split_at((1 + dice.roll(9)).min(rest.len()));
                    for answer in run(&other, batch).await {
                        answer.expect("counted");
                    }
                    if let Some(step) = half.take_if(|_| dice.roll(2) == 0) {
                        other.store.put_sketches(other.now(), step).await.expect("folded");
                    }
                    if dice.roll(3) == 0 {
                        let last = other.store.fold().await.expect("read").last_fact;
                        let until = dice.pick(&[last, last / 2]);
                        half = other.store.next_sketches(other.now(), until).await.expect("read");
                    }
                    if dice.roll(4) == 0 {
                        fold(&other, other.now().plus_millis(dice.pick(&[0, 86_400_000, 40 * 86_400_000]))).await;
                    }
                    rest = after;
                }
                assert_eq!(outcome(&other).await, expected, "seed {seed}");
            }
        }
    }
}
