//! Traces: which there are, in which order, in pages while calls go on, and for whose eyes.

use std::collections::BTreeSet;

use analytics::CallStatus;
use kernel::{AgentId, LeaseId, Money, ProjectId, ProviderKeyId, UserId};
use ledger::Spending;
use persistence::{EventFacts, EventMore, Item, Trace, TraceCursor, TraceFilter, Visibility};

use crate::calls::{Call, Calls, DAY, HOUR};
use crate::questions::Dice;
use crate::residents::{pid, uid};
use crate::support::{START, TestStore};
use crate::world::*;

fn all() -> TraceFilter {
    TraceFilter::default()
}

fn of(user: &str) -> TraceFilter {
    TraceFilter { visible_to: Visibility::Of(uid(user)), ..all() }
}

/// Whether a call fits, as the filter is described.
fn fits(calls: &Calls, wanted: &TraceFilter, call: &Call) -> bool {
    let any = |list: &[String], value: &str| list.is_empty() || list.iter().any(|one| one == value);
    let visible = match &wanted.visible_to {
        Visibility::All => true,
        Visibility::Of(user) => calls.belongs_to(call, user.as_str()),
    };
    let shown_micros = (call.cost.nanos() + 999) / 1_000;
    visible
        && (wanted.agents.is_empty() || wanted.agents.contains(&AgentId(call.agent)))
        && (wanted.projects.is_empty() || wanted.projects.iter().any(|project| project.as_str() == call.project))
        && any(&wanted.providers, &call.provider)
        && any(&wanted.models, &call.model)
        && (wanted.statuses.is_empty() || wanted.statuses.contains(&call.status))
        && (wanted.leases.is_empty() || call.lease.as_ref().is_some_and(|lease| wanted.leases.contains(lease)))
        && (wanted.requests.is_empty() || call.request.as_ref().is_some_and(|id| wanted.requests.contains(id)))
        && wanted.from.is_none_or(|from| call.at >= from)
        && wanted.to.is_none_or(|to| call.at < to)
        && wanted.min_cost_micros.is_none_or(|least| shown_micros >= least)
}

fn expected(calls: &Calls, wanted: &TraceFilter) -> Vec<i64> {
    calls.listed(|call| fits(calls, wanted, call))
}

async fn page(
    t: &TestStore,
    wanted: &TraceFilter,
    after: Option<TraceCursor>,
    limit: u32,
) -> (Vec<i64>, Option<TraceCursor>) {
    let slice = t.store.traces(wanted, after, limit).await.expect("listed");
    (slice.rows.iter().map(|trace| trace.id).collect(), slice.next)
}

async fn first(t: &TestStore, wanted: &TraceFilter) -> Vec<i64> {
    page(t, wanted, None, 1_000).await.0
}

/// The whole list, in pages of so many, each but the last of which must be full; places go through their text.
async fn in_pages(t: &TestStore, wanted: &TraceFilter, limit: u32) -> Vec<i64> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let (ids, next) = page(t, wanted, after, limit).await;
        assert!(ids.len() == limit as usize || next.is_none(), "a page that is not the last is full");
        found.extend(ids);
        let Some(next) = next else { return found };
        after = Some(next.to_string().parse().expect("a place"));
    }
}

/// A filter of each kind alone, with one value and with several, and with values that are nobody's.
fn each_filter(calls: &Calls) -> Vec<TraceFilter> {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let requests: Vec<String> = calls.all.iter().filter_map(|call| call.request.clone()).take(5).collect();
    let mut filters = vec![all(), of("user_1"), of("user_2"), of("user_3")];
    for agents in [&[1][..], &[2, 4], &[99], &[1, 99]] {
        filters.push(TraceFilter { agents: agents.iter().copied().map(AgentId).collect(), ..all() });
    }
    for projects in [&["proj_1"][..], &["proj_1", "proj_2"], &["proj_none"]] {
        filters.push(TraceFilter { projects: projects.iter().copied().map(ProjectId::new).collect(), ..all() });
    }
    for providers in [&["openai"][..], &["anthropic", "mistral"], &["OpenAI"]] {
        filters.push(TraceFilter { providers: texts(providers), ..all() });
    }
    for models in [&["sonnet"][..], &["Sonnet", "it's ü"], &["nothing"]] {
        filters.push(TraceFilter { models: texts(models), ..all() });
    }
    for statuses in [&[CallStatus::Failed][..], &[CallStatus::Completed], &[CallStatus::Failed, CallStatus::Completed]]
    {
        filters.push(TraceFilter { statuses: statuses.to_vec(), ..all() });
    }
    for leases in [&["a"][..], &["b", "x"], &["none"], &["y", "none"]] {
        filters.push(TraceFilter { leases: leases.iter().map(lease).collect(), ..all() });
    }
    filters.push(TraceFilter { requests: requests[..1].to_vec(), ..all() });
    // An event's own id is not the id of a request
    filters.push(TraceFilter { requests: texts(&["nobody", "e0"]), ..all() });
    filters.push(TraceFilter { requests, ..all() });
    for least in [0, 1, 2, 3, 4, 5] {
        filters.push(TraceFilter { min_cost_micros: Some(least), ..all() });
    }
    let instant = calls.all[0].at;
    for (from, to) in [(Some(instant), None), (None, Some(instant)), (Some(instant), Some(instant.plus_millis(1)))] {
        filters.push(TraceFilter { from, to, ..all() });
    }
    filters.push(TraceFilter { from: Some(instant), to: Some(instant), ..all() });
    filters
}

fn random_filter(dice: &mut Dice, calls: &Calls) -> TraceFilter {
    let mut each = each_filter(calls);
    each.push(TraceFilter { from: Some(START.plus_millis(-dice.int(10 * DAY))), ..all() });
    each.push(TraceFilter { to: Some(START.plus_millis(-dice.int(10 * DAY))), ..all() });
    let mut wanted = all();
    for _ in 0..2 + dice.below(3) {
        let more = dice.of(&each).clone();
        let keep = |old: Vec<String>, new: Vec<String>| if new.is_empty() { old } else { new };
        wanted = TraceFilter {
            visible_to: if more.visible_to == Visibility::All { wanted.visible_to } else { more.visible_to },
            agents: if more.agents.is_empty() { wanted.agents } else { more.agents },
            projects: if more.projects.is_empty() { wanted.projects } else { more.projects },
            providers: keep(wanted.providers, more.providers),
            models: keep(wanted.models, more.models),
            statuses: if more.statuses.is_empty() { wanted.statuses } else { more.statuses },
            leases: if more.leases.is_empty() { wanted.leases } else { more.leases },
            requests: keep(wanted.requests, more.requests),
            from: more.from.or(wanted.from),
            to: more.to.or(wanted.to),
            min_cost_micros: more.min_cost_micros.or(wanted.min_cost_micros),
        };
    }
    wanted
}

/// So many models of one agent that their traces are found by time and no longer series by series.
async fn many_series(t: &TestStore, calls: &mut Calls) {
    let many = (0..90).map(|n| {
        let at = START.plus_millis(-HOUR * (n % 9));
        Call { model: format!("model {n}"), ..Call::new(4, format!("many{n}"), at) }
    });
    let many: Vec<Call> = many.collect();
    calls.tell(t, many).await;
}

on_both_backends! {
    async fn a_connection_that_reads_is_opened_while_somebody_writes(t: TestStore) {
        let work = t.begin().await;
        // Holds the one reader that is there
        let _inquiry = t.store.inquire(t.now()).await.expect("opened");
        t.store.traces(&TraceFilter::default(), None, 1).await.expect("listed");
        t.commit(work).await;
    }

    async fn each_filter_leaves_the_traces_that_fit_and_no_others(t: TestStore) {
        let calls = Calls::some(&t, &mut Dice(11)).await;
        for wanted in each_filter(&calls) {
            assert_eq!(first(&t, &wanted).await, expected(&calls, &wanted), "{wanted:?}");
        }
    }

    async fn filters_combine(t: TestStore) {
        let mut dice = Dice(12);
        let calls = Calls::some(&t, &mut dice).await;
        let mut found = 0;
        for round in 0..120 {
            let wanted = random_filter(&mut dice, &calls);
            let ids = first(&t, &wanted).await;
            assert_eq!(ids, expected(&calls, &wanted), "round {round}: {wanted:?}");
            found += usize::from(!ids.is_empty());
        }
        assert!(found > 20, "filters that leave something: {found}");
    }

    async fn names_beyond_those_that_are_added_up_are_found_by_what_they_are(t: TestStore) {
        let mut calls = Calls::none(&t).await;
        let call = |agent, name, n: i64| Call::new(agent, format!("{name}{n}"), START.plus_millis(-n));
        let model = |n: i64| Call { model: format!("model {n}"), ..call(1, "m", n) };
        calls.tell(&t, (0..205).map(model)).await;
        let provider = |n: i64| Call { provider: format!("p{n}"), ..call(3, "p", n) };
        calls.tell(&t, (0..35).map(provider)).await;
        let said = Call { model: "other".to_owned(), ..Call::new(1, "said", START) };
        calls.tell(&t, [said, Call::new(2, "e", START)]).await;
        let in_series = t.texts("SELECT DISTINCT model FROM series WHERE agent_id = 1 ORDER BY model").await;
        assert!(in_series.len() < 205 && in_series.iter().any(|model| model == "other"), "{}", in_series.len());
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for models in [&["model 204"][..], &["model 0", "model 203", "model 204"], &["other"], &["model 999"]] {
            let wanted = TraceFilter { models: texts(models), ..all() };
            assert_eq!(first(&t, &wanted).await, expected(&calls, &wanted), "{wanted:?}");
        }
        let many: Vec<String> = (100..205).map(|n| format!("model {n}")).collect();
        for wanted in [
            TraceFilter { providers: texts(&["p34"]), ..all() },
            TraceFilter { providers: texts(&["p34", "p0", "openai"]), ..of("user_2") },
            TraceFilter { models: many, ..all() },
        ] {
            assert!(!expected(&calls, &wanted).is_empty());
            assert_eq!(in_pages(&t, &wanted, 7).await, expected(&calls, &wanted), "{wanted:?}");
        }
    }

    async fn a_fact_keeps_the_project_it_had_when_its_agent_moves(t: TestStore) {
        let mut calls = Calls::none(&t).await;
        calls.tell(&t, [Call::new(1, "before", START)]).await;
        calls.move_agent(&t, 1, "user_1", "proj_2").await;
        calls.tell(&t, [Call::new(1, "after", START)]).await;
        for (project, event) in [("proj_1", "before"), ("proj_2", "after")] {
            let wanted = TraceFilter { projects: vec![pid(project)], ..all() };
            let rows = t.store.traces(&wanted, None, 10).await.expect("listed").rows;
            assert_eq!(rows.iter().map(|trace| trace.event_id.as_deref()).collect::<Vec<_>>(), [Some(event)]);
            assert_eq!(rows[0].project, Some(pid(project)));
        }
    }

    async fn traces_go_with_their_agent_to_its_new_owner(t: TestStore) {
        let mut calls = Calls::none(&t).await;
        calls.tell(&t, [Call::new(1, "e1", START), Call::new(3, "e2", START)]).await;
        let (mine, theirs) = (calls.all[0].id, calls.all[1].id);
        assert_eq!((first(&t, &of("user_1")).await, first(&t, &of("user_2")).await), (vec![mine], vec![theirs]));
        calls.move_agent(&t, 1, "user_2", "proj_1").await;
        assert_eq!((first(&t, &of("user_1")).await, first(&t, &of("user_2")).await), (vec![], vec![theirs, mine]));
        let trace = t.store.trace(mine).await.expect("read").expect("there");
        assert_eq!((trace.owner, trace.agent_owner), (uid("user_1"), uid("user_2")), "then and now");
    }

    async fn no_filter_shows_what_is_not_ones_own(t: TestStore) {
        let calls = Calls::some(&t, &mut Dice(13)).await;
        let theirs = |call: &Call| !calls.belongs_to(call, "user_1");
        let requests = calls.all.iter().filter(|call| theirs(call)).filter_map(|call| call.request.clone());
        let requests: Vec<String> = requests.take(20).collect();
        for wanted in [
            TraceFilter { agents: vec![AgentId(3), AgentId(4)], ..of("user_1") },
            TraceFilter { projects: vec![pid("proj_2")], ..of("user_1") },
            TraceFilter { leases: vec![lease("x"), lease("y")], ..of("user_1") },
            TraceFilter { requests, ..of("user_1") },
        ] {
            assert!(!first(&t, &TraceFilter { visible_to: Visibility::All, ..wanted.clone() }).await.is_empty());
            assert_eq!(first(&t, &wanted).await, expected(&calls, &wanted), "{wanted:?}");
            for id in first(&t, &wanted).await {
                assert!(!calls.all.iter().any(|call| call.id == id && theirs(call)), "{id} by {wanted:?}");
            }
        }
    }

    async fn pages_put_together_are_the_whole_list_within_one_instant_too(t: TestStore) {
        let mut calls = Calls::some(&t, &mut Dice(14)).await;
        many_series(&t, &mut calls).await;
        assert!(calls.ties() > 100, "{}", calls.ties());
        let requests: Vec<String> = calls.all.iter().filter_map(|call| call.request.clone()).collect();
        // Found by time, series by series, by names, by leases, and of many series by time
        for wanted in [
            all(),
            TraceFilter { models: vec!["sonnet".to_owned()], ..all() },
            TraceFilter { requests, ..all() },
            TraceFilter { leases: vec![lease("a"), lease("b"), lease("x")], ..all() },
            TraceFilter { agents: vec![AgentId(4)], ..all() },
            of("user_2"),
        ] {
            let whole = expected(&calls, &wanted);
            assert!(whole.len() > 20, "{}: {wanted:?}", whole.len());
            for limit in [1, 7, 50] {
                assert_eq!(in_pages(&t, &wanted, limit).await, whole, "{limit} at once: {wanted:?}");
            }
        }
    }

    async fn the_last_page_says_that_it_is_the_last_be_it_full(t: TestStore) {
        let mut calls = Calls::none(&t).await;
        calls.tell(&t, (0..4).map(|n| Call::new(1, format!("e{n}"), START))).await;
        let (_, next) = page(&t, &all(), None, 2).await;
        let (ids, end) = page(&t, &all(), next, 2).await;
        assert_eq!((ids.len(), end), (2, None));
        assert_eq!(page(&t, &all(), None, 4).await.1, None);
        assert_eq!(page(&t, &TraceFilter { models: vec!["none".to_owned()], ..all() }, None, 4).await, (vec![], None));
    }

    async fn calls_told_of_between_pages_neither_shift_nor_repeat_the_others(t: TestStore) {
        let mut calls = Calls::some(&t, &mut Dice(15)).await;
        for wanted in [all(), TraceFilter { agents: vec![AgentId(1)], ..all() }, of("user_2")] {
            let before = expected(&calls, &wanted);
            let (mut found, mut after, mut number) = (Vec::new(), None, 0);
            loop {
                let (ids, next) = page(&t, &wanted, after, 9).await;
                let last = ids.last().and_then(|id| calls.all.iter().find(|call| call.id == *id)).map(|call| call.at);
                found.extend(ids);
                let (Some(next), Some(last)) = (next, last) else { break };
                after = Some(next);
                // Now, at the very instant that the page ended at, and at a time that is still to come
                for at in [t.now(), last, last.plus_millis(-HOUR).max(START.plus_millis(-20 * DAY))] {
                    number += 1;
                    let name = format!("late {} {number}", before.len());
                    calls.tell(&t, [Call::new(if number % 2 == 0 { 1 } else { 4 }, name, at)]).await;
                }
            }
            let distinct: BTreeSet<i64> = found.iter().copied().collect();
            assert_eq!(distinct.len(), found.len(), "none twice: {wanted:?}");
            let place = |id: &i64| calls.all.iter().find(|call| call.id == *id).map(|call| (call.at, call.id));
            assert!(found.is_sorted_by(|a, b| place(a) > place(b)), "in order: {wanted:?}");
            let kept: Vec<i64> = found.iter().copied().filter(|id| before.contains(id)).collect();
            assert_eq!(kept, before, "each of those there were: {wanted:?}");
            assert!(found.len() > before.len(), "what came after the place is seen: {wanted:?}");
        }
    }

    async fn traces_that_go_between_pages_are_left_out_and_the_list_goes_on(t: TestStore) {
        let mut calls = Calls::none(&t).await;
        calls.tell(&t, (0..9).map(|n| Call::new(1, format!("e{n}"), START.plus_millis(-n / 3)))).await;
        let whole = expected(&calls, &all());
        let (ids, next) = page(&t, &all(), None, 3).await;
        assert_eq!(ids, whole[..3]);
        // The one the place names, one that was given, and one that was to come
        let gone = [whole[2], whole[0], whole[4]];
        t.execute(&format!("DELETE FROM facts WHERE id IN ({}, {}, {})", gone[0], gone[1], gone[2])).await;
        let (ids, next) = page(&t, &all(), next, 3).await;
        assert_eq!(ids, [whole[3], whole[5], whole[6]]);
        assert_eq!(page(&t, &all(), next, 3).await, (vec![whole[7], whole[8]], None));
        assert_eq!(t.store.trace(gone[0]).await.expect("read"), None);
    }

    async fn a_file_is_the_list_read_in_large_stretches(t: TestStore) {
        let mut calls = Calls::none(&t).await;
        for batch in 0..5 {
            let many = (0..450).map(|n| Call::new(1 + n % 4, format!("e{batch}_{n}"), START.plus_millis(-n / 50)));
            calls.tell(&t, many).await;
        }
        for wanted in [all(), of("user_1"), TraceFilter { projects: vec![pid("proj_1")], ..all() }] {
            let whole = expected(&calls, &wanted);
            assert!(whole.len() > 1_000, "more than one stretch");
            assert_eq!(in_pages(&t, &wanted, 1_000).await, whole, "{wanted:?}");
        }
    }

    async fn a_trace_tells_all_that_an_event_said(t: TestStore) {
        Calls::none(&t).await;
        let more = EventMore {
            error_code: Some("timeout".into()),
            error_message: Some("it \"took\" long\n".into()),
            trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
            span_id: Some("b7ad6b7169203331".into()),
            cached_tokens: Some(3),
            reasoning_tokens: Some(4),
            tags: Some(r#"{"team":"blue"}"#.into()),
        };
        let facts = EventFacts {
            status: CallStatus::Failed,
            model: "it's ü".into(),
            provider: "mistral".into(),
            provider_key: Some(ProviderKeyId(7)),
            input_tokens: 5,
            output_tokens: 6,
            latency_ms: Some(800),
            request_id: Some("r1".into()),
            more: Some(Box::new(more)),
        };
        let at = START.plus_millis(-HOUR);
        let spending = Spending { id: "e1".into(), cost: Money::from_nanos(1_001), occurred_at: at };
        done(&t, Item::event(AgentId(3), Some(lease("x")), spending, facts)).await;
        let listed = t.store.traces(&all(), None, 2).await.expect("listed").rows;
        let expected = Trace {
            id: listed[0].id,
            event_id: Some("e1".into()),
            request_id: Some("r1".into()),
            lease: Some(lease("x")),
            agent: AgentId(3),
            agent_name: "agent 3".into(),
            agent_owner: uid("user_2"),
            owner: uid("user_2"),
            project: Some(pid("proj_1")),
            provider: "mistral".into(),
            provider_key: Some(ProviderKeyId(7)),
            model: "it's ü".into(),
            status: CallStatus::Failed,
            error_code: Some("timeout".into()),
            error_message: Some("it \"took\" long\n".into()),
            input_tokens: 5,
            output_tokens: 6,
            cached_tokens: Some(3),
            reasoning_tokens: Some(4),
            cost: Money::from_nanos(1_001),
            latency_ms: Some(800),
            occurred_at: at,
            received_at: START,
            source: "event",
            trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
            span_id: Some("b7ad6b7169203331".into()),
            tags: Some(r#"{"team":"blue"}"#.into()),
        };
        assert_eq!(listed, std::slice::from_ref(&expected));
        assert_eq!(t.store.trace(expected.id).await.expect("read"), Some(expected));
    }

    async fn what_an_event_left_unsaid_is_not_there(t: TestStore) {
        let mut calls = Calls::none(&t).await;
        calls.tell(&t, [Call::new(2, "e1", START)]).await;
        let trace = t.store.trace(calls.all[0].id).await.expect("read").expect("there");
        let (nothing, nobody): (Option<String>, Option<LeaseId>) = (None, None);
        assert_eq!((&trace.request_id, &trace.lease, &trace.project), (&nothing, &nobody, &None));
        assert_eq!((trace.provider_key, trace.latency_ms, trace.cached_tokens), (None, None, None));
        let texts = [&trace.error_code, &trace.error_message, &trace.trace_id, &trace.span_id, &trace.tags];
        assert_eq!(texts, [&nothing; 5]);
    }

    async fn a_report_is_a_trace_and_with_its_event_one_trace(t: TestStore) {
        Calls::none(&t).await;
        for request in ["r1", "r2"] {
            done(&t, report(&t, &lease("a"), request, Money::from_nanos(3_000))).await;
        }
        let event = Call { request: Some("r1".into()), lease: Some(lease("a")), ..Call::new(1, "e1", START) };
        let spending = Spending { id: event.event, cost: Money::from_nanos(2_000), occurred_at: START };
        let facts = EventFacts {
            status: CallStatus::Completed,
            model: "gpt-4o".into(),
            provider: "openai".into(),
            provider_key: None,
            input_tokens: 1,
            output_tokens: 2,
            latency_ms: None,
            request_id: event.request,
            more: None,
        };
        done(&t, Item::event(AgentId(1), event.lease, spending, facts)).await;
        let wanted = TraceFilter { requests: vec!["r1".into(), "r2".into()], ..all() };
        let mut rows = t.store.traces(&wanted, None, 10).await.expect("listed").rows;
        rows.sort_by(|a, b| a.request_id.cmp(&b.request_id));
        let shown: Vec<_> = rows
            .iter()
            .map(|row| (row.request_id.as_deref(), row.event_id.as_deref(), row.source, row.cost.nanos(), &row.lease))
            .collect();
        let paid = Some(lease("a"));
        let expected = [(Some("r1"), Some("e1"), "both", 3_000, &paid), (Some("r2"), None, "report", 3_000, &paid)];
        assert_eq!(shown, expected, "one call each, at the most that was said of it");
    }

    async fn a_trace_that_was_never_there_is_none(t: TestStore) {
        Calls::none(&t).await;
        for id in [0, 1, -1, i64::MAX] {
            assert_eq!(t.store.trace(id).await.expect("read"), None, "{id}");
        }
        assert_eq!(page(&t, &all(), "99.1".parse().ok(), 10).await, (vec![], None));
    }

    async fn a_lease_of_somebody_else_is_not_what_an_event_was_paid_from(t: TestStore) {
        let mut calls = Calls::none(&t).await;
        calls.tell(&t, [Call { lease: Some(lease("x")), ..Call::new(1, "e1", START) }]).await;
        for leases in [vec![lease("x")], vec![lease("a"), lease("b")]] {
            assert_eq!(first(&t, &TraceFilter { leases, ..all() }).await, Vec::<i64>::new());
        }
        let trace = t.store.trace(calls.all[0].id).await.expect("read").expect("there");
        assert_eq!((trace.lease, trace.owner), (None, UserId::new("user_1")));
    }
}
