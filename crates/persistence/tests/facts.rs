//! Facts of LLM requests: from events and reports to roll-ups.

use analytics::CallStatus;
use kernel::{AgentId, LeaseId, LeaseState, Money, ProjectId, ProviderKeyId, Timestamp, UserId};
use ledger::{Outcome, Scope, Spending};
use persistence::{EventFacts, EventMore, Extra, Fold, Folding, Item, QuestionFilter};

use crate::support::{START, TestStore};
use crate::world::*;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// An event as its parts are usually said.
#[derive(Clone)]
pub(crate) struct Said {
    id: String,
    request: Option<String>,
    lease: Option<LeaseId>,
    cost: i64,
    at: Timestamp,
    facts: EventFacts,
}

pub(crate) fn said(id: &str, micros: i64, at: Timestamp) -> Said {
    let facts = EventFacts {
        status: CallStatus::Completed,
        model: "gpt-4o".into(),
        provider: "openai".into(),
        provider_key: None,
        input_tokens: 100,
        output_tokens: 20,
        latency_ms: Some(800),
        request_id: None,
        more: None,
    };
    Said { id: id.into(), request: None, lease: None, cost: micros * 1_000, at, facts }
}

impl Said {
    fn on(self, lease: &LeaseId) -> Self {
        Self { lease: Some(lease.clone()), ..self }
    }

    fn of_request(self, id: &str) -> Self {
        Self { request: Some(id.into()), ..self }
    }

    pub(crate) fn by(self, agent: i64) -> Item {
        let spending = Spending { id: self.id, cost: Money::from_nanos(self.cost), occurred_at: self.at };
        let facts = EventFacts { request_id: self.request, ..self.facts };
        Item::event(AgentId(agent), self.lease, spending, facts)
    }
}

async fn world(t: &TestStore) {
    people(t, &[(1, "user_1", Some("proj_1")), (2, "user_2", None)]).await;
    allocate(t, &[(1, usd(100)), (2, usd(100))]).await;
}

async fn sums(t: &TestStore, scope: &Scope) -> (i64, i64, i64, i64) {
    let sums = t.store.scope_sums(scope, Timestamp::EPOCH, Timestamp::MAX).await.expect("added up");
    (sums.requests, sums.input_tokens, sums.output_tokens, sums.cost.nanos() / 1_000)
}

async fn all(t: &TestStore) -> (i64, i64, i64, i64) {
    sums(t, &Scope::Organization).await
}

async fn lease_of(t: &TestStore, id: &LeaseId) -> ledger::Lease {
    t.store.lease(id).await.expect("read").expect("there").lease
}

/// Whether an event was new, and what it was attributed to.
async fn counted(t: &TestStore, item: Item) -> (bool, Option<String>) {
    match done(t, item).await {
        Outcome::Counted { lease, duplicate } => (!duplicate, lease.map(|lease| lease.id.as_str().to_owned())),
        other => panic!("{other:?}"),
    }
}

/// Facts without their numbers and times of receipt, in some fixed order.
async fn facts(t: &TestStore) -> Vec<String> {
    t.texts(
        "SELECT s.agent_id || ' ' || s.owner_id || ' ' || s.project_id || ' ' || s.provider || ' ' || s.provider_key_id \
         || ' ' || s.model || ' ' || s.status || ' ' || f.occurred_at || ' ' || f.flags || ' ' || f.input_tokens || ' ' \
         || f.output_tokens || ' ' || f.cost || ' ' || COALESCE(f.latency_ms, -1) || ' ' || COALESCE(f.event_id, '-') \
         || ' ' || COALESCE(f.request_id, '-') || ' ' || COALESCE(f.lease_id, '-') AS line \
         FROM facts f JOIN series s ON s.no = f.series_no ORDER BY line",
    )
    .await
}

async fn cells(t: &TestStore) -> Vec<String> {
    t.texts(
        "SELECT r.level || ' ' || r.bucket_start || ' ' || s.agent_id || ' ' || s.project_id || ' ' || s.provider || ' ' \
         || s.provider_key_id || ' ' || s.model || ' ' || s.status || ': ' || r.requests || ' ' || r.input_tokens || ' ' \
         || r.output_tokens || ' ' || r.cost || ' ' || r.min_cost || ' ' || r.max_cost AS line \
         FROM rollups r JOIN series s ON s.no = r.series_no ORDER BY line",
    )
    .await
}

async fn fold_all(t: &TestStore) -> Fold {
    while t.store.fold_rollups(t.now()).await.expect("folded") == Folding::More {}
    let last = t.store.fold().await.expect("read").last_fact;
    while t.store.fold_sketches(t.now(), last).await.expect("folded") == Folding::More {}
    t.store.fold().await.expect("read")
}

/// The shorter sums that the database keeps are those of the cells: over all agents, of each agent, and by owner.
pub(crate) async fn assert_shorter_sums(t: &TestStore) {
    let owners = ["owner_id", "project_id", "provider_key_id", "provider", "model", "status"];
    for (table, names, live) in [
        ("rollup_overall", ["provider", "model", "status"].as_slice(), true),
        ("rollup_agents", &["agent_id", "status"], true),
        ("rollup_owners", &owners, false),
    ] {
        let key = |of: &str| names.iter().map(|name| format!("{of}.{name}")).collect::<Vec<_>>();
        let line = |key: &[String], of: &str, sums: &str| {
            format!(
                "SELECT {of}.level || ' ' || {of}.bucket_start || ' ' || {} || ': ' || {sums} AS line",
                key.join(" || ' ' || ")
            )
        };
        let kept = line(
            &key("o"),
            "o",
            "o.requests || ' ' || o.input_tokens || ' ' || o.output_tokens || ' ' || \
             (o.usd + o.nanos / 1000000000) || ' ' || (o.nanos % 1000000000)",
        );
        let summed = line(
            &key("s"),
            "r",
            "SUM(r.requests) || ' ' || SUM(r.input_tokens) || ' ' || SUM(r.output_tokens) || ' ' || \
             CAST(SUM(r.cost / 1000000000) + DIV AS BIGINT) || ' ' || (SUM(r.cost % 1000000000) % 1000000000)",
        );
        // Whole dollars of the rest: a sum is a number with a fraction on PostgreSQL
        let whole = "CAST(SUM(r.cost % 1000000000) AS BIGINT) / 1000000000";
        // All that is there, but for levels of its own; of one table nothing of hours that are not folded
        let (shown, of) = if live {
            ("AND o.level < 4", "")
        } else {
            ("AND o.level < 4", "WHERE r.level > 0 OR r.bucket_start < (SELECT h.hours_until FROM rollup_head h)")
        };
        let (summed, group) = (summed.replace("DIV", whole), key("s").join(", "));
        let kept = t.texts(&format!("{kept} FROM {table} o WHERE o.requests <> 0 {shown} ORDER BY line")).await;
        let summed = format!(
            "{summed} FROM rollups r JOIN series s ON s.no = r.series_no {of} \
             GROUP BY r.level, r.bucket_start, {group} ORDER BY line"
        );
        assert_eq!(kept, t.texts(&summed).await, "{table}");
    }
}

async fn assert_agree(t: &TestStore) {
    let check = t.store.check_rollups(false).await.expect("checked");
    assert!(check.is_ok(), "{:#?}", check.wrong);
    assert_shorter_sums(t).await;
    assert_sound(t).await;
}

/// Calls of many agents are told of in no order. Beside many facts of the same minutes, a batch writes few pages for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_in_no_order_writes_few_pages_beside_many_facts() {
    if !crate::support::ready(persistence::Backend::Sqlite) {
        return;
    }
    const SPAN: i64 = 10 * MINUTE;
    let t = TestStore::start(persistence::Backend::Sqlite).await;
    world(&t).await;
    let since = t.now().millis() - SPAN;
    t.execute(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000) \
         INSERT INTO facts (id, series_no, occurred_at, received_at, flags, input_tokens, output_tokens, cost) \
         SELECT i, 1000 + i % 5000, {since} + i * 7919 % {SPAN}, {since}, 1 + 4 * (i % 50 = 0), 1, 1, 1 FROM n; \
         UPDATE rollup_head SET last_fact = 120000"
    ))
    .await;
    let path = t.options.url.trim_start_matches("sqlite://").split('?').next().expect("a path").to_owned();
    let log = || std::fs::metadata(format!("{path}-wal")).map_or(0, |file| file.len() / 4_096);
    // Unless the task that copies the log is at it
    while log() > 0 {
        t.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let mut written = Vec::new();
    for (batch, span) in [("in order", 1), ("in none", SPAN)] {
        let before = log();
        let event = |n: i64| said(&format!("{batch} {n}"), 1, Timestamp::from_millis(since + n * 7_919 % span)).by(1);
        run(&t, &(0..500).map(event).collect::<Vec<_>>()).await;
        written.push(log() - before);
    }
    assert!(written[0] > 0 && written[1] < written[0] + 200, "{written:?}: there are 60 slots");
}

on_both_backends! {
    async fn an_event_is_counted_once_and_the_first_stands(t: TestStore) {
        world(&t).await;
        let first = said("e1", 500, t.now());
        assert_eq!(counted(&t, first.clone().by(1)).await, (true, None));
        let mut other = first.clone();
        other.cost = 9_000_000;
        assert!(!counted(&t, other.clone().by(1)).await.0);
        assert_eq!(all(&t).await, (1, 100, 20, 500));
        assert!(counted(&t, other.by(2)).await.0, "another agent's event of the same id is another");
        let answers = run(&t, &[said("e2", 1, t.now()).by(1), said("e2", 1, t.now()).by(1)]).await;
        let duplicates = answers.iter().map(|answer| match answer.as_ref().expect("counted").outcome {
            Outcome::Counted { duplicate, .. } => duplicate,
            _ => panic!("not counted"),
        });
        assert_eq!(duplicates.collect::<Vec<_>>(), [false, true], "within one batch too");
        assert_agree(&t).await;
    }

    async fn an_event_belongs_to_the_lease_it_names_or_to_the_only_one_of_its_time(t: TestStore) {
        world(&t).await;
        let (a, b, foreign) = (lease("a"), lease("b"), lease("x"));
        done(&t, grant(1, &a, usd(5))).await;
        done(&t, grant(2, &foreign, usd(5))).await;
        t.clock.advance_millis(10 * MINUTE);
        done(&t, grant(1, &b, usd(5))).await;
        t.clock.advance_millis(10 * MINUTE);
        let (early, between, now) = (START.plus_millis(-1), START.plus_millis(5 * MINUTE), t.now());
        assert_eq!(counted(&t, said("1", 10, early).by(1)).await, (true, None), "before any lease");
        assert_eq!(counted(&t, said("2", 20, between).by(1)).await.1.as_deref(), Some("lease_a"), "the only one then");
        assert_eq!(counted(&t, said("3", 30, now).by(1)).await.1, None, "two are active");
        assert_eq!(counted(&t, said("4", 40, now).on(&b).by(1)).await.1.as_deref(), Some("lease_b"));
        assert_eq!(counted(&t, said("5", 50, between).on(&foreign).by(1)).await.1.as_deref(), Some("lease_a"));
        assert_eq!(counted(&t, said("6", 60, now).on(&lease("unknown")).by(1)).await.1, None);
        done(&t, give_back(&b, None)).await;
        assert_eq!(counted(&t, said("7", 70, t.now().plus_millis(1)).by(1)).await.1.as_deref(), Some("lease_a"));
        assert_eq!(lease_of(&t, &a).await.events.nanos(), 140_000);
        assert_eq!(lease_of(&t, &b).await.events.nanos(), 40_000);
        assert_eq!(lease_of(&t, &foreign).await.events.nanos(), 0);
        assert_agree(&t).await;
    }

    async fn known_spend_is_the_most_that_any_channel_says(t: TestStore) {
        world(&t).await;
        let a = lease("a");
        done(&t, grant(1, &a, usd(5))).await;
        done(&t, report(&t, &a, "r1", usd(1))).await;
        counted(&t, said("e1", 1_500_000, t.now()).on(&a).of_request("r1").by(1)).await;
        assert_eq!(lease_of(&t, &a).await.known(), Money::from_nanos(1_500_000_000));
        done(&t, report(&t, &a, "r2", usd(1))).await;
        assert_eq!(lease_of(&t, &a).await.known(), usd(2), "never the sum of both");
        done(&t, give_back(&a, Some(usd(2)))).await;
        let outcome = done(&t, said("e2", 2_000_000, t.now()).on(&a).by(1)).await;
        let Outcome::Counted { lease: Some(late), .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!((late.state, late.known()), (LeaseState::Closed, Money::from_nanos(3_500_000_000)), "late spend");
        assert_eq!(figures(&t, 1).await[0], 3_500_000_000);
        let mut failed = said("e3", 250_000, t.now()).on(&a);
        failed.facts.status = CallStatus::Failed;
        failed.facts.more = Some(Box::new(EventMore { error_code: Some("429".into()), ..EventMore::default() }));
        counted(&t, failed.by(1)).await;
        assert_eq!(figures(&t, 1).await[0], 3_750_000_000, "what failed may have cost something");
        assert_eq!(all(&t).await.0, 4, "r1 and e1 are one, r2, e2, e3");
        assert_agree(&t).await;
    }

    async fn an_event_and_the_report_of_the_same_call_are_one_fact_whichever_comes_first(t: TestStore) {
        world(&t).await;
        let a = lease("a");
        done(&t, grant(1, &a, usd(5))).await;
        let late = t.now().plus_millis(20 * MINUTE);
        for (number, first_event) in [(1, true), (2, false)] {
            let (id, request) = (format!("e{number}"), format!("r{number}"));
            let mut event = said(&id, 700, late).on(&a).of_request(&request);
            event.facts.model = "gpt-4o-2024-11-20".into();
            event.facts.provider_key = Some(ProviderKeyId(9));
            let report = report(&t, &a, &request, Money::from_nanos(700_900));
            t.clock.set(late);
            let items = if first_event { [event.by(1), report] } else { [report, event.by(1)] };
            for item in items {
                done(&t, item).await;
            }
            t.clock.set(START);
        }
        let facts = facts(&t).await;
        let at = late.millis();
        let expected = |n: i32| {
            format!("1 user_1 proj_1 openai 9 gpt-4o-2024-11-20 completed {at} 3 100 20 700900 800 e{n} r{n} lease_a")
        };
        assert_eq!(facts, [expected(1), expected(2)]);
        assert_eq!(all(&t).await, (2, 200, 40, 1_401));
        let told = t.store.events_after(0, 1_000).await.expect("read").into_iter().map(|event| event.kind);
        assert_eq!(told.filter(|kind| kind.starts_with("llm")).collect::<Vec<_>>(), ["llm_call", "llm_call"]);
        assert_agree(&t).await;
    }

    async fn reports_of_one_id_on_two_leases_are_two_facts(t: TestStore) {
        world(&t).await;
        let (a, b) = (lease("a"), lease("b"));
        run(&t, &[grant(1, &a, usd(5)), grant(1, &b, usd(5))]).await;
        for id in [&b, &a] {
            done(&t, report(&t, id, "1", usd(1))).await;
        }
        assert_eq!(all(&t).await, (2, 2_400, 0, 2_000_000));
        for (event, id) in [("e1", &a), ("e2", &b)] {
            counted(&t, said(event, 1_000_000, t.now()).on(id).of_request("1").by(1)).await;
        }
        assert_eq!(all(&t).await, (2, 200, 40, 2_000_000), "each event belongs to the report on its own lease");
        assert_agree(&t).await;
    }

    async fn a_report_leaves_its_event_for_one_that_belongs_to_it_more(t: TestStore) {
        world(&t).await;
        let (a, b) = (lease("a"), lease("b"));
        run(&t, &[grant(1, &a, usd(5)), grant(1, &b, usd(5))]).await;
        done(&t, report(&t, &a, "1", usd(3))).await;
        counted(&t, said("e1", 1_000_000, t.now()).of_request("1").by(1)).await;
        assert_eq!(all(&t).await, (1, 100, 20, 3_000_000));
        fold_all(&t).await;
        counted(&t, said("e2", 2_000_000, t.now()).on(&a).of_request("1").by(1)).await;
        assert_eq!(all(&t).await, (2, 200, 40, 4_000_000), "the first event is by itself again");
        done(&t, report(&t, &b, "1", usd(7))).await;
        assert_eq!(all(&t).await, (2, 200, 40, 10_000_000), "and meets the report that is left over");
        assert_agree(&t).await;
    }

    async fn absurd_times_count_at_receipt_and_late_ones_where_they_belong(t: TestStore) {
        world(&t).await;
        let now = t.now();
        let times = [
            (now.plus_millis(5 * MINUTE), now.plus_millis(5 * MINUTE)),
            (now.plus_millis(5 * MINUTE + 1), now),
            (now.plus_millis(-31 * DAY), now.plus_millis(-31 * DAY)),
            (now.plus_millis(-31 * DAY - 1), now),
            (Timestamp::EPOCH, now),
            (Timestamp::from_millis(i64::MAX), now),
        ];
        for (index, (said_at, _)) in times.iter().enumerate() {
            counted(&t, said(&format!("e{index}"), 1, *said_at).by(1)).await;
        }
        let mut expected: Vec<String> = times.iter().map(|(_, at)| at.millis().to_string()).collect();
        expected.sort();
        assert_eq!(t.texts("SELECT CAST(occurred_at AS TEXT) AS at FROM facts ORDER BY at").await, expected);
        assert_agree(&t).await;
    }

    async fn scopes_add_up_what_their_facts_were_then(t: TestStore) {
        world(&t).await;
        let now = t.now();
        run(&t, &[said("1", 5, now).by(1), said("2", 7, now.plus_millis(-3 * DAY)).by(1), said("3", 11, now).by(2)]).await;
        t.execute("UPDATE agent_books SET owner_id = 'user_2', project_id = NULL WHERE agent_id = 1").await;
        counted(&t, said("4", 13, now).by(1)).await;
        fold_all(&t).await;
        let (one, two, project) = (UserId::new("user_1"), UserId::new("user_2"), ProjectId::new("proj_1"));
        assert_eq!(sums(&t, &Scope::Agent(AgentId(1))).await.3, 25);
        assert_eq!(sums(&t, &Scope::Owner(one.clone())).await.3, 12, "a fact keeps its owner");
        assert_eq!(sums(&t, &Scope::Owner(two)).await.3, 24);
        assert_eq!(sums(&t, &Scope::Project(project.clone())).await.3, 12);
        assert_eq!(sums(&t, &Scope::OwnerProject(one.clone(), project)).await, (2, 200, 40, 12));
        let owner = Scope::Owner(one);
        assert_eq!(t.store.tokens_between(&owner, now.plus_millis(-HOUR), Timestamp::MAX).await.expect("read"), 120);
        let minute = t.store.requests_between(&owner, now.plus_millis(-MINUTE), Timestamp::MAX).await;
        assert_eq!(minute.expect("read"), 1);
        assert_eq!(t.store.requests_between(&owner, now, now).await.expect("read"), 0);
    }

    async fn coarser_roll_ups_follow_and_late_facts_go_to_all_of_them(t: TestStore) {
        world(&t).await;
        let start = t.now();
        for hour in 0..60 {
            t.clock.set(start.plus_millis(hour * HOUR));
            run(&t, &[said(&format!("a{hour}"), 100 + hour, t.now()).by(1), said(&format!("b{hour}"), 3, t.now()).by(2)])
                .await;
        }
        t.clock.set(start.plus_millis(25 * DAY));
        let fold = fold_all(&t).await;
        assert_eq!(fold.folded.hours.since(t.now()), -HOUR, "the hour that is over this instant may still get some");
        assert_eq!((fold.folded.months.to_rfc3339().as_str(), fold.sketched), ("2026-02-01T00:00:00Z", fold.last_fact));
        assert_agree(&t).await;
        let levels = t.texts("SELECT CAST(SUM(requests) AS TEXT) FROM rollups GROUP BY level ORDER BY level").await;
        assert_eq!(levels, ["120"; 4]);
        let sketches = t.texts("SELECT CAST(COUNT(*) AS TEXT) FROM rollup_sketches GROUP BY level ORDER BY level").await;
        assert_eq!(sketches, ["120", "6", "2"]);
        counted(&t, said("late", 1, start.plus_millis(90 * MINUTE)).by(1)).await;
        assert_eq!(
            t.texts("SELECT CAST(SUM(requests) AS TEXT) FROM rollups GROUP BY level ORDER BY level").await,
            ["121"; 4]
        );
        assert_agree(&t).await;
        fold_all(&t).await;
        assert_agree(&t).await;
        let [day, total] = [(start.plus_millis(DAY), 2), (Timestamp::EPOCH, 121)];
        let requests = t.store.requests_between(&Scope::Organization, day.0, day.0.plus_millis(HOUR)).await;
        assert_eq!(requests.expect("read"), day.1);
        assert_eq!(t.store.requests_between(&Scope::Organization, total.0, Timestamp::MAX).await.expect("read"), total.1);
    }

    async fn a_fact_that_changes_after_it_was_folded_takes_its_roll_ups_along(t: TestStore) {
        world(&t).await;
        let a = lease("a");
        done(&t, grant(1, &a, usd(50))).await;
        for (request, cost) in [("r1", 1), ("r2", 5), ("r3", 9)] {
            done(&t, report(&t, &a, request, usd(cost))).await;
        }
        t.clock.advance_millis(30 * DAY);
        fold_all(&t).await;
        let spread = "SELECT CAST(min_cost / 1000000000 AS TEXT) || '-' || CAST(max_cost / 1000000000 AS TEXT) FROM rollups";
        assert_eq!(t.texts(spread).await, ["1-9"; 4]);
        // The cheapest and the dearest turn out to have been other models, on another day
        for (event, request) in [("e1", "r1"), ("e3", "r3")] {
            let mut other = said(event, 1_000_000, START.plus_millis(DAY)).on(&a).of_request(request);
            other.facts.model = "o3".into();
            counted(&t, other.by(1)).await;
        }
        assert_eq!(t.texts(&format!("{spread} WHERE requests = 1")).await, ["5-5"; 4]);
        assert_agree(&t).await;
        counted(&t, said("e2", 6_000_000, START).on(&a).of_request("r2").by(1)).await;
        assert_eq!(t.texts(&format!("{spread} WHERE requests = 1")).await, ["6-6"; 4]);
        assert_agree(&t).await;
    }

    async fn a_call_that_changes_while_it_is_taken_into_the_sketches_is_in_them_once(t: TestStore) {
        world(&t).await;
        let a = lease("a");
        done(&t, grant(1, &a, usd(50))).await;
        for (request, cost) in [("r1", 1), ("r2", 5), ("r3", 9)] {
            done(&t, report(&t, &a, request, usd(cost))).await;
        }
        let whole = (Timestamp::EPOCH, t.now().plus_millis(DAY));
        let seen = async |t: &TestStore| {
            let mut inquiry = t.store.inquire(t.now()).await.expect("opened");
            let latency = inquiry.latency_spread(&QuestionFilter::default(), whole).await.expect("answered");
            let costs = inquiry.cost_spread(&QuestionFilter::default(), whole).await.expect("answered");
            (latency.p50, costs.median.nanos() / 990_000_000)
        };
        let last = t.store.fold().await.expect("read").last_fact;
        let step = t.store.next_sketches(t.now(), last).await.expect("read").expect("three facts");
        // Both of the calls that events tell more of cost more, and say how long they took
        for (event, request, latency) in [("e1", "r1", 100), ("e2", "r2", 300)] {
            let mut more = said(event, 7_000_000, t.now()).on(&a).of_request(request);
            more.facts.latency_ms = Some(latency);
            counted(&t, more.by(1)).await;
            assert_eq!(seen(&t).await.1, 7, "{event}");
        }
        t.store.put_sketches(t.now(), step).await.expect("written");
        let changes = "SELECT CAST(COUNT(*) AS TEXT) FROM sketch_changes";
        assert_eq!(t.texts(changes).await, ["4"], "what the calls were and are");
        let (latency, median) = seen(&t).await;
        assert!((98..=102).contains(&latency.unwrap_or(0)) && median == 7, "{latency:?} {median}");
        assert_agree(&t).await;
        fold_all(&t).await;
        assert_eq!(t.texts(changes).await, ["0"]);
        assert_eq!(seen(&t).await, (latency, median));
        assert_agree(&t).await;
    }

    async fn sketches_that_others_have_changed_are_not_written_over(t: TestStore) {
        world(&t).await;
        for n in 0..9 {
            counted(&t, said(&format!("e{n}"), n, t.now()).by(1)).await;
        }
        let next = async || t.store.next_sketches(t.now(), 9).await.expect("read").expect("nine facts");
        let (first, second) = (next().await, next().await);
        assert_eq!(t.store.put_sketches(t.now(), first).await.expect("written"), Folding::Done);
        t.store.put_sketches(t.now(), second).await.expect("left");
        assert_agree(&t).await;
        assert_eq!(t.store.next_sketches(t.now(), 9).await.expect("read").map(|_| ()), None);
        // So with a repair between the halves
        counted(&t, said("late", 1, t.now()).by(1)).await;
        let step = t.store.next_sketches(t.now(), 10).await.expect("read").expect("a fact");
        t.execute("DELETE FROM rollup_sketches WHERE level = 1").await;
        assert!(!t.store.check_rollups(true).await.expect("repaired").is_ok());
        t.store.put_sketches(t.now(), step).await.expect("left");
        assert_agree(&t).await;
        assert_eq!(fold_all(&t).await.sketched, 10);
        assert_agree(&t).await;
    }

    async fn damaged_roll_ups_are_found_and_made_anew(t: TestStore) {
        world(&t).await;
        for n in 0..50 {
            let at = START.plus_millis(-n * 7 * HOUR);
            counted(&t, said(&format!("e{n}"), n, at).by(1 + n % 2)).await;
        }
        fold_all(&t).await;
        assert_agree(&t).await;
        let before = cells(&t).await;
        t.execute(
            "UPDATE rollups SET cost = cost + 1 WHERE level = 3; DELETE FROM rollups WHERE level = 1; \
             UPDATE rollups SET min_cost = 0 WHERE level = 0; DELETE FROM rollup_sketches WHERE level = 2",
        )
        .await;
        let check = t.store.check_rollups(false).await.expect("checked");
        assert!(check.wrong_count > 50 && check.facts == 50, "{check:?}");
        assert!(!t.store.check_rollups(true).await.expect("repaired").is_ok());
        assert_eq!(cells(&t).await, before);
        assert_agree(&t).await;
        t.execute(
            "UPDATE rollup_agents SET requests = requests + 1; DELETE FROM rollup_overall WHERE level IN (2, 11, 12); \
             INSERT INTO rollup_overall SELECT 1, 0, 'p', 'm', 'completed', 1, 1, 1, 1, 1; \
             UPDATE rollup_owners SET usd = usd + 1 WHERE level = 1; DELETE FROM rollup_owners WHERE level = 2; \
             INSERT INTO rollup_owners SELECT 3, 0, 'u', '', 0, 'p', 'm', 'completed', 1, 1, 1, 1, 1",
        )
        .await;
        let check = t.store.check_rollups(false).await.expect("checked");
        let wrong: Vec<_> = check.wrong.iter().map(|cell| (cell.what, cell.series)).collect();
        for what in ["sums of agents", "sums over all agents", "sums of owners"] {
            assert!(wrong.contains(&(what, None)), "{what}: {wrong:?}");
        }
        t.store.check_rollups(true).await.expect("repaired");
        assert_agree(&t).await;
        t.execute("DELETE FROM rollups; DELETE FROM rollup_sketches").await;
        t.store.check_rollups(true).await.expect("repaired");
        assert_eq!(cells(&t).await, before);
        assert_agree(&t).await;
    }

    async fn old_facts_go_and_what_was_added_up_of_them_stays(t: TestStore) {
        world(&t).await;
        let mut failed = said("e0", 10, START);
        failed.facts.more = Some(Box::new(EventMore { error_code: Some("x".into()), ..EventMore::default() }));
        counted(&t, failed.by(1)).await;
        for n in 1..30 {
            t.clock.advance_millis(3 * DAY);
            counted(&t, said(&format!("e{n}"), 10, t.now()).by(1)).await;
        }
        let (before, now) = (all(&t).await, t.now());
        assert_eq!(t.store.prune_facts(now, now, 100).await.expect("pruned"), 0, "nothing is folded yet");
        fold_all(&t).await;
        let gone = t.store.prune_facts(now, now, 5).await.expect("pruned");
        let rest = t.store.prune_facts(now, now, 100).await.expect("pruned");
        assert_eq!((gone, rest), (5, 11), "those of 40 days ago and younger are kept");
        assert_eq!(all(&t).await, before);
        assert_eq!(t.texts("SELECT CAST(COUNT(*) AS TEXT) FROM facts").await, ["14"]);
        assert_eq!(t.texts("SELECT CAST(COUNT(*) AS TEXT) FROM fact_ids").await, ["14"]);
        assert_eq!(t.texts("SELECT CAST(COUNT(*) AS TEXT) FROM fact_extras").await, ["0"]);
        assert_agree(&t).await;
        t.store.check_rollups(true).await.expect("repaired");
        assert_eq!(all(&t).await, before);
    }

    async fn an_agent_that_invents_names_gets_no_series_for_each(t: TestStore) {
        world(&t).await;
        let mut items = Vec::new();
        for n in 0..300 {
            let mut event = said(&format!("e{n}"), 1, t.now());
            event.facts.model = format!("model-{n}");
            event.facts.provider = format!("provider-{}", n % 40);
            items.push(event.by(1));
        }
        for part in items.chunks(100) {
            run(&t, part).await;
        }
        let names = t.texts("SELECT CAST(COUNT(DISTINCT model) AS TEXT) FROM series").await;
        assert_eq!(names, ["201"], "the first two hundred, and one for all others");
        assert_eq!(t.texts("SELECT CAST(COUNT(DISTINCT provider) AS TEXT) FROM series").await, ["33"]);
        let said = t.texts(
            "SELECT x.model FROM facts f JOIN fact_extras x ON x.fact_id = f.id WHERE f.event_id = 'e299'",
        );
        assert_eq!(said.await, ["model-299"], "the fact has the name it was told");
        assert_eq!(all(&t).await.0, 300);
        assert_agree(&t).await;
    }

    async fn a_bad_event_spoils_no_other(t: TestStore) {
        world(&t).await;
        let now = t.now();
        let answers = run(&t, &[said("1", 1, now).by(1), said("2", 1, now).by(77), said("3", 1, now).by(1)]).await;
        assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(all(&t).await.0, 2);
        let mut bare = said("4", 1, now).by(1);
        bare.extra = Extra::None;
        try_run(&t, &[bare]).await.expect_err("an event without its facts is a defect of the program");
    }

    async fn sums_stand_still_at_the_end_of_the_range(t: TestStore) {
        world(&t).await;
        let most = 1_000_000_000_000;
        for n in 0..10 {
            let items: Vec<Item> =
                (0..1_000).map(|m| said(&format!("{n}-{m}"), most, t.now()).by(1)).collect();
            run(&t, &items).await;
        }
        let costs = t.texts("SELECT CAST(MAX(cost) AS TEXT) FROM rollups").await;
        assert_eq!(costs, [Money::MAX_BALANCE.nanos().to_string()]);
        counted(&t, said("one more", most, t.now()).by(1)).await;
        assert_eq!(all(&t).await.0, 10_001);
        t.clock.advance_millis(2 * DAY);
        fold_all(&t).await;
        assert_eq!(t.texts("SELECT CAST(COUNT(*) AS TEXT) FROM rollups").await, ["3"]);
    }

    async fn an_agent_with_many_leases_behind_it_is_attributed_all_the_same(t: TestStore) {
        world(&t).await;
        for n in 0..40 {
            done(&t, grant(1, &lease(n), usd(1))).await;
            t.clock.advance_millis(MINUTE);
            done(&t, give_back(&lease(n), None)).await;
            t.clock.advance_millis(MINUTE);
        }
        done(&t, grant(1, &lease("now"), usd(1))).await;
        t.clock.advance_millis(MINUTE);
        let within = START.plus_millis(2 * 17 * MINUTE + 30_000);
        let items = [
            said("old", 1, within).by(1),
            said("gap", 1, within.plus_millis(MINUTE)).by(1),
            said("new", 1, t.now()).by(1),
        ];
        let attributed: Vec<Option<String>> = run(&t, &items)
            .await
            .into_iter()
            .map(|answer| match answer.expect("counted").outcome {
                Outcome::Counted { lease, .. } => lease.map(|lease| lease.id.as_str().to_owned()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(attributed, [Some("lease_17".into()), None, Some("lease_now".into())]);
        assert_agree(&t).await;
    }
}
