//! What usage is told from: sums by project, by provider, of one agent and day by day, and failures. Compared with a
//! loop over the calls, before roll-ups are folded and after.

use std::collections::BTreeMap;

use analytics::{BucketSize, CallStatus, Dimension, buckets};
use kernel::{AgentId, Timestamp, Zone};
use persistence::{Failure, Key, QuestionFilter, Visibility};

use crate::calls::{Call, Calls, DAY, HOUR, fold};
use crate::questions::Dice;
use crate::residents::{pid, uid};
use crate::support::{START, TestStore};
use crate::world::usd;

/// Completed, failed, tokens in, tokens out and nano-dollars.
type Sums = [i128; 5];

fn all() -> QuestionFilter {
    QuestionFilter::default()
}

fn of(user: &str) -> QuestionFilter {
    QuestionFilter { visible_to: Visibility::Of(uid(user)), ..all() }
}

/// As usage asks where no range is given.
fn ever() -> (Timestamp, Timestamp) {
    (Timestamp::EPOCH, START.plus_millis(5 * 60_000 + 1))
}

fn text(text: &str) -> Key {
    if text.is_empty() { Key::None } else { Key::Text(text.to_owned()) }
}

async fn asked(
    t: &TestStore,
    filter: &QuestionFilter,
    by: &[Dimension],
    range: (Timestamp, Timestamp),
) -> BTreeMap<Vec<Key>, Sums> {
    let mut inquiry = t.store.inquire(t.now()).await.expect("opened");
    let groups = inquiry.sums(filter, by, &[range]).await.expect("answered");
    let sums = groups.iter().map(|group| {
        let m = group.measures;
        let sums = [m.completed.into(), m.failed.into(), m.input_tokens.into(), m.output_tokens.into(), m.cost_nanos];
        (group.key.clone(), sums)
    });
    let found: BTreeMap<_, _> = sums.collect();
    assert_eq!(found.len(), groups.len(), "each key once");
    found
}

fn added<K: Ord>(
    calls: &Calls,
    (from, to): (Timestamp, Timestamp),
    fits: impl Fn(&Call) -> bool,
    key: impl Fn(&Call) -> K,
) -> BTreeMap<K, Sums> {
    let mut sums = BTreeMap::new();
    for call in calls.all.iter().filter(|call| call.at >= from && call.at < to && fits(call)) {
        let failed = i128::from(call.status == CallStatus::Failed);
        let more = [1 - failed, failed, call.input.into(), call.output.into(), call.cost.nanos().into()];
        let sum: &mut Sums = sums.entry(key(call)).or_default();
        for (sum, more) in sum.iter_mut().zip(more) {
            *sum += more;
        }
    }
    sums
}

async fn failures(t: &TestStore, filter: &QuestionFilter, range: (Timestamp, Timestamp)) -> Vec<Failure> {
    t.store.inquire(t.now()).await.expect("opened").failures(filter, range).await.expect("answered")
}

/// Code, provider, model and number of failures.
fn shown(failures: &[Failure]) -> Vec<(Option<&str>, &str, &str, i64)> {
    failures.iter().map(|f| (f.error_code.as_deref(), f.provider.as_str(), f.model.as_str(), f.count)).collect()
}

on_both_backends! {
    async fn projects_have_what_their_agents_used_while_they_were_in_them(t: TestStore) {
        let calls = Calls::some(&t, &mut Dice(21)).await;
        for folded in [false, true] {
            if folded {
                fold(&t).await;
            }
            for (filter, user) in [(all(), None), (of("user_1"), Some("user_1")), (of("user_2"), Some("user_2"))] {
                let sees = |call: &Call| user.is_none_or(|user| calls.belongs_to(call, user));
                let expected = added(&calls, ever(), sees, |call| vec![text(&call.project)]);
                assert!(!expected.is_empty(), "{user:?}");
                assert_eq!(asked(&t, &filter, &[Dimension::Project], ever()).await, expected, "{user:?}, {folded}");
            }
        }
    }

    async fn providers_have_what_was_used_of_them_failed_calls_too(t: TestStore) {
        let calls = Calls::some(&t, &mut Dice(22)).await;
        for folded in [false, true] {
            if folded {
                fold(&t).await;
            }
            let expected = added(&calls, ever(), |_| true, |call| vec![text(&call.provider)]);
            assert!(expected.values().all(|sums| sums[0] > 0 && sums[1] > 0), "{expected:?}");
            assert_eq!(asked(&t, &all(), &[Dimension::Provider], ever()).await, expected, "{folded}");
        }
    }

    async fn one_project_is_told_by_provider_and_to_its_owners_alone(t: TestStore) {
        let calls = Calls::some(&t, &mut Dice(23)).await;
        for user in ["user_1", "user_2"] {
            for project in ["proj_1", "proj_2"] {
                let filter = QuestionFilter { projects: vec![pid(project)], ..of(user) };
                let fits = |call: &Call| call.project == project && calls.belongs_to(call, user);
                let expected = added(&calls, ever(), fits, |call| vec![text(&call.provider)]);
                assert_eq!(asked(&t, &filter, &[Dimension::Provider], ever()).await, expected, "{user} in {project}");
            }
        }
    }

    async fn one_provider_is_told_alone(t: TestStore) {
        let calls = Calls::some(&t, &mut Dice(24)).await;
        let filter = QuestionFilter { providers: vec!["anthropic".to_owned()], ..of("user_2") };
        let fits = |call: &Call| call.provider == "anthropic" && calls.belongs_to(call, "user_2");
        let expected = added(&calls, ever(), fits, |call| vec![text(&call.provider)]);
        assert_eq!(expected.len(), 1);
        assert_eq!(asked(&t, &filter, &[Dimension::Provider], ever()).await, expected);
    }

    async fn one_agent_is_told_by_provider(t: TestStore) {
        let calls = Calls::some(&t, &mut Dice(25)).await;
        for agent in 1..=4 {
            let filter = QuestionFilter { agents: vec![AgentId(agent)], ..all() };
            let expected = added(&calls, ever(), |call| call.agent == agent, |call| vec![text(&call.provider)]);
            assert_eq!(asked(&t, &filter, &[Dimension::Provider], ever()).await, expected, "{agent}");
        }
    }

    async fn nothing_is_known_of_what_nobody_used(t: TestStore) {
        let calls = Calls::some(&t, &mut Dice(26)).await;
        assert!(!calls.all.is_empty());
        for filter in [
            QuestionFilter { projects: vec![pid("proj_none")], ..all() },
            QuestionFilter { providers: vec!["OpenAI".to_owned()], ..all() },
            QuestionFilter { agents: vec![AgentId(99)], ..all() },
            QuestionFilter { agents: vec![AgentId(3)], ..of("user_1") },
            of("user_3"),
        ] {
            assert_eq!(asked(&t, &filter, &[Dimension::Provider], ever()).await, BTreeMap::new(), "{filter:?}");
        }
        let never = (START, START);
        assert_eq!(asked(&t, &all(), &[Dimension::Provider], never).await, BTreeMap::new());
    }

    async fn a_range_has_its_first_instant_and_not_its_last(t: TestStore) {
        let mut calls = Calls::none(&t).await;
        let ends = [START.plus_millis(-2 * DAY), START.plus_millis(-HOUR)];
        for at in ends {
            for (name, ms) in [("before", -1), ("at", 0), ("after", 1)] {
                let name = format!("{name} {}", at.millis());
                calls.tell(&t, [Call::new(1, name, at.plus_millis(ms))]).await;
            }
        }
        for folded in [false, true] {
            if folded {
                fold(&t).await;
            }
            let range = (ends[0], ends[1]);
            let expected = added(&calls, range, |_| true, |call| vec![text(&call.project)]);
            assert_eq!(expected[&vec![text("proj_1")]][0], 3);
            assert_eq!(asked(&t, &all(), &[Dimension::Project], range).await, expected, "{folded}");
        }
    }

    async fn days_of_a_file_are_days_of_the_zone(t: TestStore) {
        let calls = Calls::some(&t, &mut Dice(27)).await;
        let by = [Dimension::Project, Dimension::Agent, Dimension::Provider, Dimension::Model];
        for zone in ["UTC", "Asia/Kathmandu", "America/New_York"] {
            let zone: Zone = zone.parse().expect("a zone");
            let days = buckets(BucketSize::Day, &zone, START.plus_millis(-11 * DAY), ever().1).expect("few");
            let ranges: Vec<_> = days.iter().map(|day| (day.from, day.to)).collect();
            let mut inquiry = t.store.inquire(t.now()).await.expect("opened");
            let groups = inquiry.sums(&of("user_2"), &by, &ranges).await.expect("answered");
            let mut rows = 0;
            for (bucket, range) in ranges.iter().enumerate() {
                let mine = |call: &Call| calls.belongs_to(call, "user_2");
                let key = |call: &Call| {
                    vec![text(&call.project), Key::Int(call.agent), text(&call.provider), text(&call.model)]
                };
                for (key, sums) in added(&calls, *range, mine, key) {
                    let group = groups.iter().find(|group| group.bucket == bucket && group.key == key).expect("a row");
                    let found = (group.measures.requests().into(), i128::from(group.measures.total_tokens()));
                    assert_eq!(found, (sums[0] + sums[1], sums[2] + sums[3]), "{zone:?}, {bucket}: {key:?}");
                    assert_eq!(group.measures.cost_nanos, sums[4], "{zone:?}, {bucket}: {key:?}");
                    rows += 1;
                }
            }
            assert_eq!(rows, groups.len(), "{zone:?}");
        }
    }

    async fn the_largest_calls_there_may_be_are_added_exactly(t: TestStore) {
        let mut calls = Calls::none(&t).await;
        let most = 1_000_000_000;
        let huge = |n| {
            Call { input: most, output: most, cost: usd(1_000_000), ..Call::new(1, format!("e{n}"), START) }
        };
        calls.tell(&t, (0..9).map(huge)).await;
        let expected = added(&calls, ever(), |_| true, |_| Vec::new());
        assert_eq!(asked(&t, &all(), &[], ever()).await, expected);
    }

    async fn failures_are_counted_by_what_went_wrong_the_most_frequent_first(t: TestStore) {
        let mut calls = Calls::none(&t).await;
        let at = |minutes: i64| START.plus_millis(-minutes * 60_000);
        let of = |n: i64, model: &str| Call { model: model.to_owned(), ..Call::new(1, format!("e{n}"), at(n)) };
        calls.tell(&t, [
            of(1, "m").failed(Some("timeout")),
            of(2, "m").failed(Some("timeout")),
            of(3, "n").failed(Some("timeout")),
            of(4, "m").failed(Some("rate_limit")),
            of(5, "m").failed(None),
            of(6, "m"),
        ]).await;
        let found = failures(&t, &all(), ever()).await;
        // Of as many, those without a code first, then by name
        let expected = [
            (Some("timeout"), "openai", "m", 2),
            (None, "openai", "m", 1),
            (Some("rate_limit"), "openai", "m", 1),
            (Some("timeout"), "openai", "n", 1),
        ];
        assert_eq!(shown(&found), expected);
        assert_eq!(found.iter().map(|failure| failure.last_seen).collect::<Vec<_>>(), [at(1), at(5), at(4), at(3)]);
    }

    async fn failures_are_those_of_the_range_and_of_ones_own_agents(t: TestStore) {
        let mut calls = Calls::some(&t, &mut Dice(28)).await;
        calls.move_agent(&t, 1, "user_2", "proj_1").await;
        fold(&t).await;
        for user in ["user_1", "user_2"] {
            for range in [ever(), (START.plus_millis(-5 * DAY), START.plus_millis(-DAY))] {
                let fits = |call: &Call| call.status == CallStatus::Failed && calls.belongs_to(call, user);
                let key = |call: &Call| (call.error, call.provider.clone(), call.model.clone());
                let expected = added(&calls, range, fits, key);
                let found = failures(&t, &of(user), range).await;
                let mut counted: Vec<_> = shown(&found);
                counted.sort_unstable();
                let expected: Vec<_> = expected
                    .iter()
                    .map(|((error, provider, model), sums)| (*error, provider.as_str(), model.as_str(), sums[1] as i64))
                    .collect();
                assert_eq!(counted, expected, "{user}, {range:?}");
                assert!(found.is_sorted_by_key(|failure| std::cmp::Reverse(failure.count)), "{user}");
            }
        }
    }
}
