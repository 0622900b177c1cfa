//! Questions that do not tell agents apart, while facts come in as they do: now and late, into hours, days and months that are
//! summed up already.

use analytics::{CallStatus, Dimension};
use kernel::{AgentId, ProviderKeyId, Timestamp};
use ledger::Spending;
use persistence::{EventFacts, Folding, Item, Key, QuestionFilter, Visibility};

use crate::questions::Dice;
use crate::residents::{pid, uid};
use crate::support::{TTL_MS, TestStore};
use crate::world::*;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// An event of now or of some time of the last days, on the agent's lease or on none.
fn event(t: &TestStore, dice: &mut Dice, number: i64) -> Item {
    let agent = 1 + dice.int(4);
    let ago = *dice.of(&[0, 0, 1, 2 * HOUR_MS, 5 * HOUR_MS, DAY_MS, 3 * DAY_MS, 25 * DAY_MS]);
    let spending = Spending {
        id: format!("event {number}"),
        cost: kernel::Money::from_nanos(dice.int(3_000_000_000)),
        occurred_at: t.now().plus_millis(-ago - dice.int(HOUR_MS)),
    };
    let facts = EventFacts {
        status: if dice.one_in(4) { CallStatus::Failed } else { CallStatus::Completed },
        model: (*dice.of(&["gpt-4o", "o3", "ü"])).to_owned(),
        provider: (*dice.of(&["openai", "azure"])).to_owned(),
        provider_key: None,
        input_tokens: dice.int(1_000),
        output_tokens: dice.int(1_000),
        latency_ms: None,
        request_id: None,
        more: None,
    };
    let named = (agent < 4 && dice.one_in(2)).then(|| lease(agent));
    Item::event(AgentId(agent), named, spending, facts)
}

/// What is asked: which facts, also as a condition of SQL, and along which dimensions.
fn questions() -> Vec<(QuestionFilter, &'static str, &'static [Dimension])> {
    let all = QuestionFilter::default;
    let first = || QuestionFilter { owners: vec![uid("user_1")], ..all() };
    let project = QuestionFilter { projects: vec![pid("proj_1")], ..all() };
    let key = QuestionFilter { provider_keys: vec![ProviderKeyId(1)], models: vec!["o3".to_owned()], ..all() };
    let own = QuestionFilter { visible_to: Visibility::Of(uid("user_1")), ..all() };
    let failed = QuestionFilter { status: Some(CallStatus::Failed), ..first() };
    vec![
        (all(), "1 = 1", &[Dimension::Project, Dimension::Model]),
        (all(), "1 = 1", &[Dimension::Owner]),
        (all(), "1 = 1", &[Dimension::ProviderKey, Dimension::Provider]),
        (first(), "s.owner_id = 'user_1'", &[Dimension::Model]),
        (first(), "s.owner_id = 'user_1'", &[Dimension::Agent, Dimension::Project]),
        (failed, "s.owner_id = 'user_1' AND s.status = 'failed'", &[Dimension::Owner, Dimension::ProviderKey]),
        (project, "s.project_id = 'proj_1'", &[Dimension::Owner, Dimension::Status]),
        (key, "s.provider_key_id = 1 AND s.model = 'o3'", &[]),
        (
            own,
            "s.agent_id IN (SELECT id FROM agents WHERE owner_id = 'user_1')",
            &[Dimension::Project, Dimension::Model],
        ),
    ]
}

fn column(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Agent => "s.agent_id",
        Dimension::Owner => "s.owner_id",
        Dimension::Project => "s.project_id",
        Dimension::Provider => "s.provider",
        Dimension::ProviderKey => "s.provider_key_id",
        Dimension::Model => "s.model",
        Dimension::Status => "s.status",
    }
}

async fn assert_answers(t: &TestStore, range: (Timestamp, Timestamp)) {
    let [from, to] = [range.0, range.1].map(Timestamp::millis);
    for (filter, condition, by) in questions() {
        let names: Vec<String> = by.iter().map(|dimension| format!("{} || ' ' || ", column(*dimension))).collect();
        let group = by.iter().map(|dimension| column(*dimension)).collect::<Vec<_>>().join(", ");
        let group = if by.is_empty() { "HAVING COUNT(*) > 0".to_owned() } else { format!("GROUP BY {group}") };
        let sql = format!(
            "SELECT {}SUM(CASE WHEN s.status = 'completed' THEN 1 ELSE 0 END) || ' ' || COUNT(*) || ' ' || \
             SUM(f.input_tokens) || ' ' || SUM(f.output_tokens) || ' ' || SUM(f.cost) AS line \
             FROM facts f JOIN series s ON s.no = f.series_no \
             WHERE f.occurred_at >= {from} AND f.occurred_at < {to} AND {condition} {group}",
            names.concat()
        );
        let mut expected = t.texts(&sql).await;
        let mut inquiry = t.store.inquire(t.now()).await.expect("opened");
        let groups = inquiry.sums(&filter, by, &[range]).await.expect("answered");
        let line = |group: &persistence::Group| {
            let names = group.key.iter().zip(by).map(|(key, dimension)| match key {
                Key::None if *dimension == Dimension::ProviderKey => "0 ".to_owned(),
                Key::None => " ".to_owned(),
                Key::Int(number) => format!("{number} "),
                Key::Text(text) => format!("{text} "),
            });
            let names: String = names.collect();
            let sums = &group.measures;
            let (all, [input, output]) = (sums.requests(), [sums.input_tokens, sums.output_tokens]);
            format!("{names}{} {all} {input} {output} {}", sums.completed, sums.cost_nanos)
        };
        let mut told: Vec<String> = groups.iter().map(line).collect();
        expected.sort();
        told.sort();
        assert_eq!(told, expected, "{filter:?} by {by:?} in {from}..{to} at {}", t.now().millis());
    }
}

on_both_backends! {
    async fn what_owners_projects_and_keys_add_up_to_is_what_the_facts_say_however_late_they_come(t: TestStore) {
        let agents = [(1, "user_1", Some("proj_1")), (2, "user_1", Some("proj_2")), (3, "user_2", Some("proj_1"))];
        people(&t, &agents).await;
        people(&t, &[(4, "user_3", None)]).await;
        allocate(&t, &[(1, usd(900)), (2, usd(900)), (3, usd(900)), (4, usd(900))]).await;
        for (agent, ..) in agents {
            done(&t, grant(agent, &lease(agent), usd(9))).await;
        }
        let (mut dice, mut number) = (Dice(15), 0);
        let start = t.now().plus_millis(-26 * DAY_MS);
        for round in 0..20 {
            t.clock.advance_millis(*dice.of(&[1, 20 * 60_000, TTL_MS / 2, 7 * HOUR_MS, DAY_MS, 9 * DAY_MS]));
            let items: Vec<Item> = (0..9).map(|at| event(&t, &mut dice, number + at)).collect();
            number += 9;
            for answer in run(&t, &items).await {
                answer.expect("counted");
            }
            if dice.one_in(2) {
                while t.store.fold_rollups(t.now()).await.expect("folded") == Folding::More {}
            }
            if round == 10 {
                // What was theirs before stays theirs, and is seen by whoever has the agent now
                t.execute(
                    "UPDATE agents SET owner_id = 'user_2' WHERE id = 2; \
                     UPDATE agent_books SET owner_id = 'user_2' WHERE agent_id = 2",
                )
                .await;
            }
            if round % 5 == 4 {
                assert_answers(&t, (Timestamp::EPOCH, t.now().plus_millis(1))).await;
                let from = start.plus_millis(dice.int(t.now().since(start)));
                assert_answers(&t, (from, from.plus_millis(dice.int(30 * DAY_MS)))).await;
                crate::facts::assert_shorter_sums(&t).await;
            }
        }
        let kept = "SELECT CAST(COUNT(*) AS TEXT) FROM rollup_owners WHERE level = ";
        for level in [1, 2, 3, 21, 22, 23, 24] {
            assert_ne!(t.texts(&format!("{kept}{level}")).await, ["0"], "{level}");
        }
        assert!(t.store.check_rollups(false).await.expect("checked").is_ok());
    }
}
