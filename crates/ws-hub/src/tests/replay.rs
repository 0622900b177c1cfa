//! Coming back: exactly what was missed, or an honest gap.

use kernel::AgentId;
use proptest::prelude::*;
use serde_json::json;

use super::world::{Heard, World};
use crate::{HubSettings, Sight};

/// A ring so small that most reading is from the log.
fn small() -> HubSettings {
    HubSettings { ring_events: 8, warm_events: 4, ..HubSettings::default() }
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_gets_what_was_missed_and_goes_on_live() {
    for settings in [HubSettings::default(), small()] {
        let world = World::with(settings);
        world.log.emit_many(Some(1), 1_000);
        let (mut client, answer) = world.subscribed("admin", json!({"since": "e1:10"})).await;
        assert_eq!((&answer["cursor"], &answer["replaying"]), (&json!("e1:10"), &json!(true)));
        assert_eq!(client.events(990).await, (11..=1_000).collect::<Vec<_>>());
        world.log.emit_many(Some(1), 3);
        assert_eq!(client.events(3).await, [1_001, 1_002, 1_003]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_is_too_old_is_refused_or_a_gap_is_told() {
    let world = World::with(small());
    world.log.emit_many(Some(1), 100);
    world.log.prune(60);
    let mut strict = world.admitted("admin").await;
    strict.say(json!({"type": "SUBSCRIBE", "since": "e1:59"}));
    assert_eq!(strict.end().await, ("CURSOR_TOO_OLD".to_owned(), 4410));
    let (mut fine, _) = world.subscribed("admin", json!({"since": "e1:60"})).await;
    assert_eq!(fine.events(40).await, (61..=100).collect::<Vec<_>>());
    let (mut lenient, answer) = world.subscribed("admin", json!({"since": "e1:20", "allow_gap": true})).await;
    assert_eq!(answer["cursor"], "e1:20", "not beyond what it has not been told of");
    let gap = lenient.hear().await;
    assert_eq!(gap["cursor"], "e1:60");
    assert_eq!((&gap["type"], &gap["reason"]), (&json!("GAP"), &json!("retention")));
    assert_eq!((&gap["from_seq"], &gap["to_seq"]), (&json!(21), &json!(60)));
    assert_eq!(lenient.events(40).await, (61..=100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn everything_may_have_been_pruned() {
    let world = World::with(small());
    world.log.emit_many(Some(1), 30);
    world.log.prune(30);
    let mut strict = world.admitted("admin").await;
    strict.say(json!({"type": "SUBSCRIBE", "since": "e1:29"}));
    assert_eq!(strict.end().await.1, 4410);
    let (mut client, _) = world.subscribed("admin", json!({"since": "e1:30"})).await;
    world.log.emit(Some(1), "frozen");
    assert_eq!(client.events(1).await, [31]);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_another_epoch_or_of_the_future_is_not_taken() {
    let world = World::new();
    world.log.emit_many(Some(1), 5);
    for since in ["other:3", "e1:6"] {
        let mut strict = world.admitted("admin").await;
        strict.say(json!({"type": "SUBSCRIBE", "since": since}));
        assert_eq!(strict.end().await, ("CURSOR_TOO_OLD".to_owned(), 4410), "{since}");
        let (mut lenient, answer) = world.subscribed("admin", json!({"since": since, "allow_gap": true})).await;
        assert_eq!(answer["cursor"], since);
        let gap = lenient.hear().await;
        assert_eq!((&gap["reason"], &gap["cursor"]), (&json!("epoch"), &json!("e1:5")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_replaced_under_a_running_server_is_noticed() {
    let world = World::new();
    world.log.emit_many(Some(1), 5);
    let (mut strict, _) = world.subscribed("admin", json!({"since": "e1:0"})).await;
    let (mut lenient, _) = world.subscribed("admin", json!({"since": "e1:0", "allow_gap": true})).await;
    assert_eq!((strict.events(5).await.len(), lenient.events(5).await.len()), (5, 5));
    world.log.replace("e2", 40);
    assert_eq!(strict.end().await.1, 4410);
    let gap = lenient.hear().await;
    assert_eq!((&gap["type"], &gap["reason"], &gap["to_seq"]), (&json!("GAP"), &json!("epoch"), &json!(40)));
    world.log.emit(Some(1), "frozen");
    let event = lenient.hear().await;
    assert_eq!((&event["seq"], &event["prev"], &event["epoch"]), (&json!(41), &json!(40), &json!("e2")));
}

#[tokio::test(start_paused = true)]
async fn what_is_pruned_during_a_replay_is_a_gap_too() {
    let world = World::with(small());
    world.log.emit_many(Some(1), 2_000);
    let (mut client, _) = world.subscribed("admin", json!({"since": "e1:0", "allow_gap": true})).await;
    client.read(false);
    assert_eq!(client.events(10).await.len(), 10);
    world.log.prune(1_500);
    client.read(true);
    let mut seen = 10;
    loop {
        let frame = client.hear().await;
        if frame["type"] == "GAP" {
            assert_eq!((frame["from_seq"].as_i64(), frame["to_seq"].as_i64()), (Some(seen + 1), Some(1_500)));
            break;
        }
        seen += 1;
        assert_eq!(frame["seq"], seen);
    }
    assert_eq!(client.events(500).await, (1_501..=2_000).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_log_that_fails_for_a_while_loses_nothing() {
    let world = World::with(small());
    world.log.emit_many(Some(1), 300);
    let (mut client, _) = world.subscribed("admin", json!({"since": "e1:0"})).await;
    assert_eq!(client.events(10).await.len(), 10);
    world.log.set_broken(true);
    world.log.emit_many(Some(1), 300);
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    world.log.set_broken(false);
    assert_eq!(client.events(590).await, (11..=600).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn nobody_listens_nothing_is_read() {
    let world = World::new();
    world.log.emit_many(Some(1), 100);
    tokio::time::sleep(std::time::Duration::from_secs(100)).await;
    assert_eq!(world.log.asked(), 0);
    let (mut client, _) = world.subscribed("admin", json!({})).await;
    world.log.emit(Some(1), "frozen");
    assert_eq!(client.events(1).await, [101]);
    drop(client);
    tokio::time::sleep(std::time::Duration::from_secs(100)).await;
    let asked = world.log.asked();
    world.log.emit_many(Some(1), 100);
    tokio::time::sleep(std::time::Duration::from_secs(100)).await;
    assert_eq!(world.log.asked(), asked);
    let (mut client, _) = world.subscribed("admin", json!({})).await;
    world.log.emit(Some(1), "frozen");
    assert_eq!(client.events(1).await, [202], "from now on, not from where reading had stopped");
}

#[tokio::test(start_paused = true)]
async fn many_who_come_back_share_what_was_read_once() {
    let world = World::new();
    world.log.emit_many(Some(1), 500);
    let (mut first, _) = world.subscribed("admin", json!({"since": "e1:0"})).await;
    assert_eq!(first.events(500).await.len(), 500);
    let asked = world.log.asked();
    for _ in 0..100 {
        let (mut client, _) = world.subscribed("admin", json!({"since": "e1:100"})).await;
        assert_eq!(client.events(400).await.len(), 400);
    }
    assert!(world.log.asked() - asked < 10, "{} questions", world.log.asked() - asked);
}

#[derive(Clone, Debug)]
enum Step {
    Emit { agent: Option<i64>, count: usize },
    Leave,
    Pause,
    Read(usize),
    Prune(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (prop_oneof![Just(None), (1..4_i64).prop_map(Some)], 1..20_usize)
            .prop_map(|(agent, count)| Step::Emit { agent, count }),
        2 => Just(Step::Leave),
        1 => Just(Step::Pause),
        2 => (1..30_usize).prop_map(Step::Read),
        1 => (1..40_i64).prop_map(Step::Prune),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: everything visible arrives once, in order, or its loss is told.
    #[test]
    fn nothing_visible_is_lost_or_doubled(
        steps in proptest::collection::vec(step(), 1..60),
        ring in 1..64_usize,
        own in proptest::option::of(1..4_i64),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(history(steps, ring, own));
    }
}

async fn history(steps: Vec<Step>, ring: usize, own: Option<i64>) {
    let world = World::with(HubSettings { ring_events: ring, warm_events: 8, ..HubSettings::default() });
    if let Some(agent) = own {
        world.let_see("u", Sight::of([AgentId(agent)]));
    }
    let token = if own.is_some() { "u" } else { "admin" };
    let (mut expected, mut seen, mut lost) = (Vec::new(), Vec::new(), 0);
    let mut head = 0;
    let mut client = world.subscribed(token, json!({"since": "e1:0", "allow_gap": true})).await.0;
    for step in steps.into_iter().chain([Step::Pause]) {
        match step {
            Step::Emit { agent, count } => {
                for _ in 0..count {
                    head = world.log.emit(agent, "llm_call");
                    if own.is_none() || own == agent {
                        expected.push(head);
                    }
                }
            }
            Step::Leave => {
                let since = client.last.clone().expect("told when it subscribed");
                drop(client);
                client = world.subscribed(token, json!({"since": since, "allow_gap": true})).await.0;
            }
            Step::Pause => tokio::time::sleep(std::time::Duration::from_millis(700)).await,
            Step::Prune(up_to) => world.log.prune(up_to),
            Step::Read(count) => {
                for _ in 0..count {
                    if !take(&mut client, &mut seen, &mut lost).await {
                        break;
                    }
                }
            }
        }
    }
    while take(&mut client, &mut seen, &mut lost).await {}
    // What was pruned before it was sent is missing, and nothing else
    assert!(seen.is_sorted() && seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    let missing = expected.iter().filter(|seq| !seen.contains(seq)).copied().collect::<Vec<_>>();
    assert!(missing.iter().all(|seq| *seq <= lost), "missing {missing:?}, told up to {lost} of {head}");
    assert!(seen.iter().all(|seq| expected.contains(seq)), "{seen:?}");
}

/// Takes the next frame, if one comes before the next heartbeat.
async fn take(client: &mut super::world::Client, seen: &mut Vec<i64>, lost: &mut i64) -> bool {
    match client.next().await {
        Heard::Frame(frame) if frame["type"] == "HEARTBEAT" => {
            client.give_life();
            false
        }
        Heard::Frame(frame) if frame["type"] == "GAP" => {
            *lost = frame["to_seq"].as_i64().expect("a number");
            true
        }
        Heard::Frame(frame) => {
            seen.push(frame["seq"].as_i64().unwrap_or_else(|| panic!("{frame}")));
            true
        }
        Heard::Ping => {
            client.give_life();
            true
        }
        other => panic!("{other:?}"),
    }
}
