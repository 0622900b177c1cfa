//! Questions about facts, against an answer that looks at each fact: whatever happened, whatever is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use analytics::{Bucket, BucketSize, CallStatus, Dimension, Level, Measures, Sketch, buckets};
use auth::Role;
use kernel::{AgentId, Money, ProviderKeyId, Timestamp, Zone};
use persistence::{Backend, Group, Key, NewAgent, Page, QuestionFilter, Visibility};

use crate::residents::{agent_as, new_agent, pid, project, uid, user};
use crate::support::{START, TestStore};

const DAY_MS: i64 = 86_400_000;
const ZONES: [&str; 6] =
    ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "Europe/Zurich"];
const SIZES: [BucketSize; 5] =
    [BucketSize::Quarter, BucketSize::Hour, BucketSize::Day, BucketSize::Week, BucketSize::Month];

/// A repeatable source of choices.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    pub(crate) fn int(&mut self, end: i64) -> i64 {
        self.below(end as u64) as i64
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn of<'s, T>(&mut self, things: &'s [T]) -> &'s T {
        &things[self.below(things.len() as u64) as usize]
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    agent: i64,
    owner: String,
    project: String,
    provider: String,
    key: i64,
    model: String,
    status: CallStatus,
}

#[derive(Clone, Debug)]
struct Fact {
    id: i64,
    series: usize,
    at: Timestamp,
    input: i64,
    output: i64,
    cost: i64,
    latency: Option<i64>,
    error: Option<&'static str>,
}

/// What happened, and who owns which agent now.
struct World {
    series: Vec<Series>,
    facts: Vec<Fact>,
    owners: BTreeMap<i64, String>,
}

impl World {
    /// Facts of the last hundred days, some of them dated a few minutes ahead, with roll-ups folded to random places.
    async fn random(t: &TestStore, dice: &mut Dice, count: i64) -> Self {
        let names = ["anna", "bert", "carl"];
        for name in names {
            user(t, name, Role::User).await;
        }
        for id in ["proj_a", "proj_b"] {
            project(t, id, id).await;
        }
        let mut owners = BTreeMap::new();
        let mut series = BTreeSet::new();
        for number in 0..7 {
            let owner = format!("user_{}", dice.of(&names));
            let project = *dice.of(&["", "proj_a", "proj_b"]);
            let new = NewAgent {
                project: (!project.is_empty()).then(|| pid(project)),
                ..new_agent(&format!("agent {number}"), &uid(&owner))
            };
            let agent = agent_as(t, &new, 1_000_000).await.0;
            for _ in 0..6 {
                // An agent may have belonged to somebody else before
                let owner = if dice.one_in(4) { "user_carl".to_owned() } else { owner.clone() };
                let status = if dice.one_in(4) { CallStatus::Failed } else { CallStatus::Completed };
                series.insert(Series {
                    agent,
                    owner,
                    project: project.to_owned(),
                    provider: (*dice.of(&["openai", "anthropic", "it's"])).to_owned(),
                    key: dice.int(3),
                    model: (*dice.of(&["gpt-5", "Sonnet", "sonnet", "ü"])).to_owned(),
                    status,
                });
            }
            owners.insert(agent, owner);
        }
        let series: Vec<Series> = series.into_iter().collect();
        let first = t.now().plus_millis(-100 * DAY_MS);
        let facts = (1..=count).map(|id| {
            let at = match dice.below(10) {
                0 => t.now().plus_millis(dice.int(300_000)),
                1 => t.now().plus_millis(-dice.int(1_800_000)),
                // On the edges of cells
                2 => first.plus_millis(dice.int(9_600) * 900_000 - first.millis().rem_euclid(900_000)),
                _ => first.plus_millis(dice.int(100 * DAY_MS)),
            };
            let at = at.max(first);
            let index = dice.below(series.len() as u64) as usize;
            let failed = series[index].status == CallStatus::Failed;
            Fact {
                id,
                series: index,
                at,
                input: dice.int(5_000),
                output: dice.int(1_000_000_000),
                // The largest there may be
                cost: if dice.one_in(200) { Money::MAX_CALL.nanos() } else { dice.int(5_000_000) },
                latency: (!dice.one_in(3)).then(|| 1 + dice.int(60_000)),
                error: if failed { *dice.of(&[None, Some("timeout"), Some("rate_limit")]) } else { None },
            }
        });
        let world = Self { facts: facts.collect(), series, owners };
        world.store(t, dice).await;
        world
    }

    async fn store(&self, t: &TestStore, dice: &mut Dice) {
        let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let mut sql = String::new();
        for (index, s) in self.series.iter().enumerate() {
            let (owner, project, provider, model) =
                (text(&s.owner), text(&s.project), text(&s.provider), text(&s.model));
            let (no, agent, key, status) = (index + 1, s.agent, s.key, s.status.as_str());
            let _ = writeln!(
                sql,
                "INSERT INTO series (no, agent_id, owner_id, project_id, provider, provider_key_id, model, status) \
                VALUES ({no}, {agent}, {owner}, {project}, {provider}, {key}, {model}, '{status}');"
            );
        }
        for f in &self.facts {
            let (series, at) = (f.series + 1, f.at.millis());
            let flags = if self.series[f.series].status == CallStatus::Failed { 5 } else { 1 };
            let latency = f.latency.map_or("NULL".to_owned(), |ms| ms.to_string());
            let Fact { id, input, output, cost, .. } = f;
            let _ = writeln!(
                sql,
                "INSERT INTO facts (id, series_no, occurred_at, received_at, flags, input_tokens, output_tokens, cost, \
                latency_ms, event_id) VALUES ({id}, {series}, {at}, {at}, {flags}, {input}, {output}, {cost}, {latency}, \
                'e{id}');"
            );
            if let Some(code) = f.error {
                let _ = writeln!(sql, "INSERT INTO fact_extras (fact_id, error_code) VALUES ({id}, '{code}');");
            }
        }
        let until = Level::ALL.map(|level| match level {
            Level::Quarter => Timestamp::MAX,
            _ => level.floor(t.now().plus_millis(-dice.int(if level == Level::Month {
                60 * DAY_MS
            } else {
                3 * DAY_MS
            }))),
        });
        for (level, until) in Level::ALL.into_iter().zip(until) {
            let mut cells: BTreeMap<(Timestamp, usize), Vec<&Fact>> = BTreeMap::new();
            for fact in self.facts.iter().filter(|fact| level.floor(fact.at) < until) {
                cells.entry((level.floor(fact.at), fact.series)).or_default().push(fact);
            }
            for ((start, series), facts) in cells {
                let sum = |of: fn(&Fact) -> i64| facts.iter().map(|fact| of(fact)).sum::<i64>();
                let (start, series, count) = (start.millis(), series + 1, facts.len());
                let (input, output, cost) = (sum(|f| f.input), sum(|f| f.output), sum(|f| f.cost));
                let min = facts.iter().map(|f| f.cost).min().expect("a fact");
                let max = facts.iter().map(|f| f.cost).max().expect("a fact");
                let level = level.number();
                let _ = writeln!(
                    sql,
                    "INSERT INTO rollups (level, bucket_start, series_no, requests, input_tokens, output_tokens, cost, \
                    min_cost, max_cost) VALUES ({level}, {start}, {series}, {count}, {input}, {output}, {cost}, {min}, {max});"
                );
            }
        }
        let last = self.facts.len();
        let sketched = dice.below(last as u64 + 1) as usize;
        let bytes = |sketch: &Sketch| match t.store.backend() {
            Backend::Sqlite => format!("X'{}'", hex(&sketch.to_bytes())),
            Backend::Postgres => format!("decode('{}', 'hex')", hex(&sketch.to_bytes())),
        };
        for level in [Level::Hour, Level::Day, Level::Month] {
            let mut sketches: BTreeMap<(Timestamp, usize), (Sketch, Sketch)> = BTreeMap::new();
            for fact in &self.facts[..sketched] {
                let (costs, latencies) = sketches.entry((level.floor(fact.at), fact.series)).or_default();
                costs.add(fact.cost, 1);
                fact.latency.into_iter().for_each(|latency| latencies.add(latency, 1));
            }
            for ((start, series), (costs, latencies)) in sketches {
                let (level, start, series) = (level.number(), start.millis(), series + 1);
                let (costs, latencies) = (bytes(&costs), bytes(&latencies));
                let _ = writeln!(
                    sql,
                    "INSERT INTO rollup_sketches (level, bucket_start, series_no, cost, latency) \
                    VALUES ({level}, {start}, {series}, {costs}, {latencies});"
                );
            }
        }
        let [_, hours, days, months] = until.map(Timestamp::millis);
        let _ = writeln!(
            sql,
            "UPDATE sketch_head SET fact = {sketched}; UPDATE rollup_head SET last_fact = {last}, sketching_fact = {sketched}, \
            hours_until = {hours}, days_until = {days}, months_until = {months};"
        );
        t.execute(&format!("BEGIN;\n{sql}COMMIT;")).await;
        // The sums over several series, which nobody has told of these cells
        let check = t.store.check_rollups(true).await.expect("made");
        assert!(check.wrong.iter().all(|wrong| wrong.series.is_none()), "{:?}", check.wrong);
    }

    fn sees(&self, filter: &QuestionFilter, series: &Series) -> bool {
        fn any<T>(values: &[T], fits: impl Fn(&T) -> bool) -> bool {
            values.is_empty() || values.iter().any(fits)
        }
        let visible = match &filter.visible_to {
            Visibility::All => true,
            Visibility::Of(user) => self.owners[&series.agent] == user.as_str(),
        };
        visible
            && any(&filter.agents, |agent| agent.0 == series.agent)
            && any(&filter.owners, |owner| owner.as_str() == series.owner)
            && any(&filter.projects, |project| project.as_str() == series.project)
            && any(&filter.providers, |provider| *provider == series.provider)
            && any(&filter.provider_keys, |key| key.0 == series.key)
            && any(&filter.models, |model| *model == series.model)
            && filter.status.is_none_or(|status| status == series.status)
    }

    /// The facts asked about.
    fn facts<'w>(&'w self, filter: &'w QuestionFilter, (from, to): (Timestamp, Timestamp)) -> Vec<&'w Fact> {
        let wanted = |fact: &&Fact| (from..to).contains(&fact.at) && self.sees(filter, &self.series[fact.series]);
        self.facts.iter().filter(wanted).collect()
    }

    /// The answer, fact by fact.
    fn sums(&self, filter: &QuestionFilter, by: &[Dimension], ranges: &[(Timestamp, Timestamp)]) -> Vec<Group> {
        let mut groups: BTreeMap<(usize, Vec<Key>), Measures> = BTreeMap::new();
        for (bucket, range) in ranges.iter().enumerate() {
            for fact in self.facts(filter, *range) {
                let series = &self.series[fact.series];
                let completed = i64::from(series.status == CallStatus::Completed);
                let key = by.iter().map(|dimension| key(series, *dimension)).collect();
                groups.entry((bucket, key)).or_default().add(&Measures {
                    completed,
                    failed: 1 - completed,
                    input_tokens: fact.input,
                    output_tokens: fact.output,
                    cost_nanos: fact.cost.into(),
                });
            }
        }
        groups.into_iter().map(|((bucket, key), measures)| Group { bucket, key, measures }).collect()
    }
}

fn key(series: &Series, dimension: Dimension) -> Key {
    let text = |text: &str| if text.is_empty() { Key::None } else { Key::Text(text.to_owned()) };
    match dimension {
        Dimension::Agent => Key::Int(series.agent),
        Dimension::Owner => text(&series.owner),
        Dimension::Project => text(&series.project),
        Dimension::Provider => text(&series.provider),
        Dimension::ProviderKey => {
            if series.key == 0 {
                Key::None
            } else {
                Key::Int(series.key)
            }
        }
        Dimension::Model => text(&series.model),
        Dimension::Status => text(series.status.as_str()),
    }
}

fn random_filter(dice: &mut Dice) -> QuestionFilter {
    let mut filter = QuestionFilter::default();
    // Of everybody, as administrators mostly ask
    if dice.one_in(4) {
        filter.models = if dice.one_in(2) { vec!["gpt-5".to_owned()] } else { Vec::new() };
        return filter;
    }
    if dice.one_in(2) {
        let people = ["user_anna", "user_bert", "user_carl", "user_none"];
        let person: &&str = dice.of(&people);
        filter.visible_to = Visibility::Of(uid(person));
    }
    if dice.one_in(4) {
        filter.agents = (0..1 + dice.int(3)).map(|_| AgentId(1 + dice.int(8))).collect();
    }
    if dice.one_in(6) {
        let owners = ["user_anna", "user_carl"];
        let owner: &&str = dice.of(&owners);
        filter.owners = vec![uid(owner)];
    }
    if dice.one_in(6) {
        filter.projects = vec![pid("proj_a"), pid("proj_none")];
    }
    if dice.one_in(6) {
        filter.providers = vec!["it's".to_owned()];
    }
    if dice.one_in(6) {
        filter.provider_keys = vec![ProviderKeyId(1)];
    }
    if dice.one_in(6) {
        filter.models = vec!["sonnet".to_owned(), "ü".to_owned()];
    }
    if dice.one_in(4) {
        filter.status = Some(*dice.of(&[CallStatus::Completed, CallStatus::Failed]));
    }
    filter
}

/// A range of up to a hundred days, its ends anywhere or on the edges of cells, often reaching to the present.
fn random_range(dice: &mut Dice, now: Timestamp, longest_ms: i64) -> (Timestamp, Timestamp) {
    let to = match dice.below(4) {
        0 => now.plus_millis(1),
        1 => Level::Quarter.floor(now.plus_millis(-dice.int(50 * DAY_MS))),
        2 => now.plus_millis(dice.int(600_000)),
        _ => now.plus_millis(-dice.int(100 * DAY_MS)),
    };
    let from = to.plus_millis(-dice.int(longest_ms));
    (if dice.one_in(3) { Level::Hour.floor(from) } else { from }, to)
}

fn random_dimensions(dice: &mut Dice) -> Vec<Dimension> {
    let mut by = Vec::new();
    for _ in 0..dice.below(4) {
        let dimension = *dice.of(&Dimension::ALL);
        if !by.contains(&dimension) {
            by.push(dimension);
        }
    }
    by
}

fn ranges_of(buckets: &[Bucket]) -> Vec<(Timestamp, Timestamp)> {
    buckets.iter().map(|bucket| (bucket.from, bucket.to)).collect()
}

/// A Thursday in the week after both New York and Zurich have put their clocks back, and Lord Howe forward.
fn autumn() -> Timestamp {
    Timestamp::from_rfc3339("2026-11-05T13:37:21.123Z").expect("a time")
}

on_both_backends! {
    async fn sums_are_those_of_the_facts_whatever_is_asked(t: TestStore) {
        for (seed, now) in [(1, START), (2, autumn())] {
            let t = if seed == 1 { &t } else { &TestStore::start(t.store.backend()).await };
            t.clock.set(now);
            let mut dice = Dice(seed);
            let world = World::random(t, &mut dice, 1_500).await;
            for round in 0..120 {
                let zone: Zone = dice.of(&ZONES).parse().expect("a zone");
                let size = *dice.of(&SIZES);
                let longest = [3, 10, 40, 100, 100][SIZES.iter().position(|s| *s == size).expect("a size")];
                let range = random_range(&mut dice, now, longest * DAY_MS);
                let (filter, by) = (random_filter(&mut dice), random_dimensions(&mut dice));
                let said = format!("seed {seed}, round {round}: {filter:?} by {by:?}, {size:?} of {zone:?}, {range:?}");
                let buckets = buckets(size, &zone, range.0, range.1).expect("few");
                let ranges = ranges_of(&buckets);
                let mut inquiry = t.store.inquire(now).await.expect("opened");
                let sums = inquiry.sums(&filter, &by, &ranges).await.expect("answered");
                assert_eq!(sums, world.sums(&filter, &by, &ranges), "{said}");
                let total = inquiry.total(&filter, range).await.expect("answered");
                assert_eq!(total, sums.iter().map(|group| group.measures).sum(), "{said}");

                let count = i64::try_from(inquiry.facts(&filter, range, Page::first(10_000)).await.expect("listed").len());
                assert_eq!(count.expect("few"), total.requests(), "{said}");
            }
        }
    }

    async fn pages_put_together_are_the_whole_answer(t: TestStore) {
        let mut dice = Dice(3);
        World::random(&t, &mut dice, 400).await;
        for round in 0..30 {
            let zone: Zone = dice.of(&ZONES).parse().expect("a zone");
            let range = random_range(&mut dice, t.now(), 100 * DAY_MS);
            let (filter, by) = (random_filter(&mut dice), random_dimensions(&mut dice));
            let buckets = buckets(BucketSize::Day, &zone, range.0, range.1).expect("few");
            let mut inquiry = t.store.inquire(t.now()).await.expect("opened");
            let whole = inquiry.sums(&filter, &by, &ranges_of(&buckets)).await.expect("answered");
            let (mut pages, limit) = (Vec::new(), 1 + dice.below(40) as usize);
            let mut after: Option<(Timestamp, Vec<Key>)> = None;
            loop {
                let place = after.as_ref().map(|(start, key)| (*start, key.as_slice()));
                let page = inquiry.group_page(&filter, &by, &buckets, place, limit).await.expect("answered");
                assert!(page.groups.len() == limit || !page.more, "a page that is not the last is full");
                after = page.groups.last().map(|last| (buckets[last.bucket].start, last.key.clone()));
                pages.extend(page.groups);
                if !page.more {
                    break;
                }
            }
            assert_eq!(pages, whole, "round {round}, {limit} at once: {filter:?} by {by:?}, {range:?}");
        }
    }

    async fn extremes_are_exact_and_quantiles_within_their_error(t: TestStore) {
        let mut dice = Dice(4);
        let world = World::random(&t, &mut dice, 1_500).await;
        for round in 0..40 {
            let range = random_range(&mut dice, t.now(), 100 * DAY_MS);
            let filter = QuestionFilter { status: None, ..random_filter(&mut dice) };
            let mut inquiry = t.store.inquire(t.now()).await.expect("opened");
            let spread = inquiry.cost_spread(&filter, range).await.expect("answered");
            let completed = filter.with_status(CallStatus::Completed);
            let mut costs: Vec<i64> = world.facts(&completed, range).iter().map(|fact| fact.cost).collect();
            costs.sort_unstable();
            let said = format!("round {round}: {filter:?}, {range:?}");
            assert_eq!(spread.min.nanos(), costs.first().copied().unwrap_or(0), "{said}");
            assert_eq!(spread.max.nanos(), costs.last().copied().unwrap_or(0), "{said}");
            assert_near(spread.median.nanos(), &costs, 500, &said);
            let latency = inquiry.latency_spread(&filter, range).await.expect("answered");
            let mut latencies: Vec<i64> = world.facts(&filter, range).iter().filter_map(|fact| fact.latency).collect();
            latencies.sort_unstable();
            assert_eq!(latency.p50.is_some(), !latencies.is_empty(), "{said}");
            for (found, thousandths) in [(latency.p50, 500), (latency.p95, 950), (latency.p99, 990)] {
                assert_near(found.unwrap_or(0), &latencies, thousandths, &said);
            }
        }
    }

    async fn where_facts_are_gone_a_cell_belongs_to_the_range_it_begins_in(t: TestStore) {
        let mut dice = Dice(6);
        let world = World::random(&t, &mut dice, 800).await;
        let kept = Level::Day.floor(t.now().plus_millis(-45 * DAY_MS)).millis();
        t.execute(&format!("DELETE FROM facts WHERE occurred_at < {kept}; UPDATE rollup_head SET facts_from = {kept};")).await;
        let all = QuestionFilter::default();
        for round in 0..30 {
            let (from, to) = random_range(&mut dice, t.now(), 100 * DAY_MS);
            let moved = |at: Timestamp| if at.millis() < kept { Level::Quarter.ceil(at) } else { at };
            let mut inquiry = t.store.inquire(t.now()).await.expect("opened");
            let sums = inquiry.sums(&all, &[Dimension::Model], &[(from, to)]).await.expect("answered");
            assert_eq!(sums, world.sums(&all, &[Dimension::Model], &[(moved(from), moved(to))]), "round {round}");
        }
    }

    async fn sums_over_several_series_that_are_not_those_of_their_cells_are_found_and_made_anew(t: TestStore) {
        let mut dice = Dice(7);
        let world = World::random(&t, &mut dice, 400).await;
        let all = QuestionFilter::default();
        let range = (Timestamp::EPOCH, t.now().plus_millis(DAY_MS));
        let by = [
            [Dimension::Model, Dimension::Provider].as_slice(),
            &[Dimension::Agent],
            &[Dimension::Project, Dimension::ProviderKey, Dimension::Owner],
        ];
        let expected = by.map(|by| world.sums(&all, by, &[range]));
        for damage in [
            "UPDATE rollup_overall SET nanos = nanos + 1 WHERE level = 0",
            "DELETE FROM rollup_overall WHERE level = 3",
            "UPDATE rollup_overall SET requests = requests - 1 WHERE level = 11",
            "UPDATE rollup_agents SET input_tokens = 0 WHERE level = 1",
            "DELETE FROM rollup_agents WHERE level = 12",
            "UPDATE rollup_owners SET output_tokens = 0",
            "DELETE FROM rollup_owners WHERE level = 2; \
             UPDATE rollup_owners SET project_id = project_id || '?' WHERE level = 1; \
             INSERT INTO rollup_owners SELECT 3, 0, 'user_anna', '', 0, 'openai', 'gpt-5', 'completed', 1, 1, 1, 1, 1",
            "UPDATE rollup_owners SET requests = requests + 1 WHERE level = 24",
            "DELETE FROM rollup_owners WHERE level = 21",
            "UPDATE rollups SET requests = requests + 1 WHERE level > 0 AND series_no % 3 = 0",
        ] {
            t.execute(damage).await;
            if damage == "UPDATE rollup_owners SET output_tokens = 0" {
                assert_ne!(answers(&t, &by, range).await, expected, "these are what is asked of owners");
            }
            for repair in [false, true] {
                assert!(!t.store.check_rollups(repair).await.expect("checked").is_ok(), "{damage}");
            }
            assert!(t.store.check_rollups(false).await.expect("checked").is_ok(), "{damage}");
            assert_eq!(answers(&t, &by, range).await, expected, "{damage}");
        }
    }

    async fn facts_are_listed_youngest_first_and_failures_by_their_number(t: TestStore) {
        let mut dice = Dice(5);
        let world = World::random(&t, &mut dice, 600).await;
        for round in 0..40 {
            let range = random_range(&mut dice, t.now(), 100 * DAY_MS);
            let filter = random_filter(&mut dice);
            let mut expected = world.facts(&filter, range);
            expected.sort_by_key(|fact| std::cmp::Reverse((fact.at, fact.id)));
            let page = Page { offset: dice.below(20), limit: 10 };
            let mut inquiry = t.store.inquire(t.now()).await.expect("opened");
            let listed = inquiry.facts(&filter, range, page).await.expect("listed");
            let ids: Vec<i64> = listed.iter().map(|fact| fact.id).collect();
            let wanted: Vec<i64> =
                expected.iter().map(|fact| fact.id).skip(page.offset as usize).take(10).collect();
            assert_eq!(ids, wanted, "round {round}: {filter:?}, {range:?}");
            for fact in &listed {
                let (told, known) = (fact, &world.facts[fact.id as usize - 1]);
                let series = &world.series[known.series];
                assert_eq!((told.agent.0, &told.model, told.cost.nanos()), (series.agent, &series.model, known.cost));
                assert_eq!(told.agent_name, format!("agent {}", series.agent - 1));
                assert_eq!((told.event_id.clone(), told.error_code.as_deref()), (Some(format!("e{}", fact.id)), known.error));
            }
            let failures = inquiry.failures(&filter, range).await.expect("answered");
            let mut counts: BTreeMap<(Option<&str>, &str, &str), (i64, Timestamp)> = BTreeMap::new();
            for fact in expected {
                let series = &world.series[fact.series];
                if series.status == CallStatus::Failed {
                    let entry = counts.entry((fact.error, &series.provider, &series.model)).or_insert((0, fact.at));
                    *entry = (entry.0 + 1, entry.1.max(fact.at));
                }
            }
            assert!(failures.is_sorted_by_key(|failure| std::cmp::Reverse(failure.count)));
            let found: BTreeMap<_, _> = failures
                .iter()
                .map(|f| ((f.error_code.as_deref(), f.provider.as_str(), f.model.as_str()), (f.count, f.last_seen)))
                .collect();
            assert_eq!((failures.len(), found), (counts.len(), counts));
        }
    }

    async fn agents_have_names_and_allocations_after_they_are_gone_the_name_alone(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let here = agent_as(&t, &new_agent("here", &anna), 7).await;
        let gone = agent_as(&t, &new_agent("gone", &anna), 8).await;
        let mut work = t.begin().await;
        work.delete_agent(gone).await.expect("deleted");
        t.commit(work).await;
        let mut inquiry = t.store.inquire(t.now()).await.expect("opened");
        let names = inquiry.agent_names([here, gone, AgentId(99)]).await.expect("read");
        assert_eq!((names[&here].as_str(), names[&gone].as_str(), names.len()), ("here", "gone", 2));
        let caps = inquiry.allocated([here, AgentId(99)]).await.expect("read");
        assert_eq!((caps.len(), caps[&here].nanos()), (1, 7_000));
        assert_eq!(inquiry.first_fact().await.expect("read"), None);
    }
}

/// What is asked of everybody along these dimensions.
async fn answers(t: &TestStore, by: &[&[Dimension]; 3], range: (Timestamp, Timestamp)) -> [Vec<Group>; 3] {
    let mut inquiry = t.store.inquire(t.now()).await.expect("opened");
    let mut answers = [const { Vec::new() }; 3];
    for (answer, by) in answers.iter_mut().zip(by) {
        *answer = inquiry.sums(&QuestionFilter::default(), by, &[range]).await.expect("answered");
    }
    answers
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the figure is that of the rank, within the error that is stated: 1 percent.
fn assert_near(found: i64, sorted: &[i64], thousandths: i64, said: &str) {
    if sorted.is_empty() {
        return assert_eq!(found, 0, "{said}");
    }
    let rank = (sorted.len() as i64 - 1) * thousandths / 1_000;
    let near = |exact: i64| (found - exact).abs() * 100 <= exact + 100;
    // Between two ranks either will do
    let next = sorted.get(rank as usize + 1).copied();
    let exact = sorted[rank as usize];
    assert!(near(exact) || next.is_some_and(near), "{found} instead of {exact} or {next:?}, {said}");
}
