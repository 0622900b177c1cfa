//! What becomes of the rows of older programs.

use std::fmt::Write as _;

use analytics::{Dimension, Measures};
use kernel::{AgentId, Timestamp};
use ledger::Outcome;
use persistence::{Backend, Folding, QuestionFilter};

use crate::facts::said;
use crate::support::{START, TestStore};
use crate::world::*;

/// Ids of events with the first half of their SHA-256, as `sha256sum` tells it.
const NAMES: [(&str, &str); 3] = [
    ("evt_41", "02002dbd7664f2f6b6045c235f5d0968"),
    ("evt_0", "13965b108827a7ae39bb368184230576"),
    ("evt_44", "ff3bfab7735c104980be15e9e0ae9ccb"),
];

/// A database as the program left it that knew the first ten steps: facts known by names of 16 bytes, a row of the outbox
/// for each event, sums kept by triggers. The hour that goes on is summed up already, as if clocks had been put back.
async fn of_ten_steps(backend: Backend) -> TestStore {
    let t = TestStore::empty(backend).await;
    t.store.migrate_up_to(10).await.expect("takes the first steps");
    let at = START.millis();
    let [quarter, hour, day] = [900_000, 3_600_000, 86_400_000].map(|length| at - at % length);
    let until = hour + 3_600_000;
    let mut sql = String::from(
        "INSERT INTO series (agent_id, owner_id, project_id, provider, provider_key_id, model, status) \
         VALUES (1, 'user_1', '', 'openai', 1, 'gpt-4o', 'completed');",
    );
    for (n, (event, name)) in NAMES.into_iter().enumerate() {
        let name = match backend {
            Backend::Sqlite => format!("X'{name}'"),
            Backend::Postgres => format!("decode('{name}', 'hex')"),
        };
        let (id, agent) = (n + 1, if n == 0 { "NULL" } else { "1" });
        let _ = writeln!(
            sql,
            "INSERT INTO facts (id, series_no, occurred_at, received_at, flags, input_tokens, output_tokens, cost, \
             latency_ms, event_id) VALUES ({id}, 1, {at}, {at}, 1, 10, 20, 1000, 5, '{event}');
             INSERT INTO fact_ids (agent_id, hash, fact_id) VALUES (1, {name}, {id});
             INSERT INTO outbox (seq, agent_id, kind, payload, created_at) VALUES ({id}, {agent}, 'told', '{{\"n\":{n}}}', {at});"
        );
    }
    let _ = writeln!(
        sql,
        "INSERT INTO rollups (level, bucket_start, series_no, requests, input_tokens, output_tokens, cost, min_cost, \
         max_cost) VALUES (0, {quarter}, 1, 3, 30, 60, 3000, 1000, 1000), (1, {hour}, 1, 3, 30, 60, 3000, 1000, 1000);
         INSERT INTO rollup_overall VALUES (11, {day}, 'openai', 'gpt-4o', 'completed', 3, 30, 60, 0, 3000);
         INSERT INTO rollup_agents VALUES (11, {day}, 1, 'completed', 3, 30, 60, 0, 3000);
         UPDATE rollup_head SET last_fact = 3, hours_until = {until}; UPDATE heads SET outbox_seq = 3;"
    );
    match backend {
        Backend::Postgres => sql += "SELECT setval('fact_numbers', 3);",
        // There, the batch wrote sums of quarters of an hour
        Backend::Sqlite => {
            let _ = writeln!(
                sql,
                "INSERT INTO rollup_overall VALUES (0, {quarter}, 'openai', 'gpt-4o', 'completed', 3, 30, 60, 0, 3000);
                 INSERT INTO rollup_agents VALUES (0, {quarter}, 1, 'completed', 3, 30, 60, 0, 3000);"
            );
        }
    }
    t.execute(&sql).await;
    t
}

async fn assert_agree(t: &TestStore) {
    let check = t.store.check_rollups(false).await.expect("checked");
    assert!(check.is_ok(), "{:#?}", check.wrong);
}

on_both_backends! {
    async fn what_an_older_program_stored_is_known_to_this_one(t: TestStore) {
        let t = of_ten_steps(t.store.backend()).await;
        t.store.migrate().await.expect("takes the other steps");
        assert_agree(&t).await;

        let told: Vec<_> = t.store.events_after(0, 10).await.expect("read").into_iter()
            .map(|event| (event.seq, event.agent, event.kind, event.payload)).collect();
        let event = |n: i64, agent| (n + 1, agent, "told".to_owned(), format!("{{\"n\":{n}}}"));
        assert_eq!(told, [event(0, None), event(1, Some(AgentId(1))), event(2, Some(AgentId(1)))]);

        people(&t, &[(1, "user_1", None)]).await;
        for (id, _) in NAMES {
            let again = done(&t, said(id, 1, t.now()).by(1)).await;
            assert!(matches!(again, Outcome::Counted { duplicate: true, .. }), "{id}: {again:?}");
        }
        let new = done(&t, said("evt_1", 1, t.now()).by(1)).await;
        assert!(matches!(new, Outcome::Counted { duplicate: false, .. }), "{new:?}");
        assert_agree(&t).await;
        while t.store.fold_sketches(t.now(), 4).await.expect("folded") == Folding::More {}
        assert_agree(&t).await;
        let mut inquiry = t.store.inquire(t.now()).await.expect("opened");
        let range = (Timestamp::EPOCH, t.now().plus_millis(1));
        for by in [[].as_slice(), &[Dimension::Agent], &[Dimension::Owner]] {
            let groups = inquiry.sums(&QuestionFilter::default(), by, &[range]).await.expect("answered");
            let sums: Measures = groups.iter().map(|group| group.measures).sum();
            assert_eq!((groups.len(), sums.completed, sums.cost_nanos), (1, 4, 4_000), "{by:?}");
        }
    }
}
