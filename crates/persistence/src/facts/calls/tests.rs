use std::sync::Arc;

use analytics::CallStatus;
use kernel::{AgentId, LeaseId, Timestamp};
use proptest::prelude::*;

use super::{Call, Calls, EventHalf, ReportHalf, Told};

fn told(cost: i64) -> Told {
    Told {
        owner: "".into(),
        project: "".into(),
        key: 0,
        provider: "openai".into(),
        model: "m".into(),
        status: CallStatus::Completed,
        input: 0,
        output: 0,
        cost,
        latency: None,
        occurred_at: Timestamp::EPOCH,
        received_at: Timestamp::EPOCH,
    }
}

/// An event `(id, request id, lease)` or a report `(id, lease)`.
#[derive(Clone, Debug)]
enum Side {
    Event(u8, Option<u8>, Option<u8>),
    Report(u8, u8),
}

fn name(n: u8) -> Arc<str> {
    format!("id{n}").into()
}

fn lease(n: u8) -> LeaseId {
    LeaseId::new(format!("lease_{n}"))
}

fn call(side: &Side) -> Call {
    let call = |event, report| Call::new(AgentId(1), None, event, report, true);
    match side {
        Side::Event(id, request, of) => {
            let request = request.map(name).filter(|request| *request != name(*id));
            let event = EventHalf { id: name(*id), request, lease: of.map(lease), told: told(1), more: None };
            call(Some(event), None)
        }
        Side::Report(id, of) => {
            let report = ReportHalf { lease: lease(*of), request: name(*id), cost: 1, told: Some(told(1)) };
            call(None, Some(Box::new(report)))
        }
    }
}

/// Who belongs together after the sides came in this order, `together` at a time.
fn arranged(sides: &[Side], together: usize) -> Vec<String> {
    let mut calls = Calls::default();
    for side in sides.chunks(together) {
        for side in side {
            let call = call(side);
            calls.asked.extend(call.names().iter());
            calls.add(call);
        }
        assert!(calls.settle().is_empty(), "all is in memory");
    }
    let there = calls.all.iter().filter(|call| !call.is_gone());
    let mut shown: Vec<String> = there
        .map(|call| {
            let event = call.event.as_ref().map(|event| event.id.clone());
            let report = call.report.as_ref().map(|report| format!("{} {}", report.lease, report.request));
            format!("{event:?} {report:?}")
        })
        .collect();
    shown.sort();
    shown
}

#[test]
fn an_event_and_the_report_of_the_same_call_are_one_fact_whichever_comes_first() {
    let sides = [Side::Event(1, None, None), Side::Report(1, 7)];
    let expected = [r#"Some("id1") Some("lease_7 id1")"#];
    assert_eq!(arranged(&sides, 1), expected);
    assert_eq!(arranged(&[sides[1].clone(), sides[0].clone()], 1), expected);
    assert_eq!(arranged(&[Side::Event(2, Some(1), None), Side::Report(1, 7)], 1).len(), 1, "by its request id");
    assert_eq!(arranged(&[Side::Event(2, Some(3), None), Side::Report(2, 7)], 1).len(), 1, "by its own id");
    assert_eq!(arranged(&[Side::Report(1, 7), Side::Report(1, 8)], 1).len(), 2, "reports on two leases are two facts");
}

#[test]
fn an_event_belongs_to_the_report_on_its_own_lease() {
    let sides = [Side::Report(1, 3), Side::Event(9, Some(1), Some(5)), Side::Report(1, 5)];
    let expected = [r#"None Some("lease_3 id1")"#, r#"Some("id9") Some("lease_5 id1")"#];
    assert_eq!(arranged(&sides, 1), expected);
    let per_lease =
        [Side::Event(8, Some(1), Some(3)), Side::Event(9, Some(1), Some(5)), Side::Report(1, 5), Side::Report(1, 3)];
    assert_eq!(arranged(&per_lease, 1).len(), 2, "requests counted anew on each lease");
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![
        (0..5_u8, prop::option::of(0..5_u8), prop::option::of(0..3_u8)).prop_map(|(id, r, l)| Side::Event(id, r, l)),
        (0..5_u8, 0..3_u8).prop_map(|(id, l)| Side::Report(id, l)),
    ]
}

proptest! {
    #[test]
    fn who_belongs_together_does_not_depend_on_who_came_first(
        sides in prop::collection::vec(side(), 1..12),
        order in any::<prop::sample::Index>(),
        together in 1..4_usize,
        seed in any::<u64>(),
    ) {
        // An event's id is used once, a report's once on each lease
        let mut seen = std::collections::HashSet::new();
        let sides: Vec<Side> = sides
            .into_iter()
            .filter(|side| match side {
                Side::Event(id, ..) => seen.insert((*id, None)),
                Side::Report(id, lease) => seen.insert((*id, Some(*lease))),
            })
            .collect();
        let mut other = sides.clone();
        let mut state = seed;
        for at in (1..other.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            other.swap(at, (state >> 33) as usize % (at + 1));
        }
        other.rotate_left(order.index(sides.len()));
        prop_assert_eq!(arranged(&sides, 1), arranged(&other, together));
    }
}
