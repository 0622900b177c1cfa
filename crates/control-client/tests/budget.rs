//! What is borrowed, reserved, reported and returned when nothing goes wrong.

use std::time::Duration;

use budget_protocol::LeaseState;
use control_client::{ControlClient, ControlError, Ending, ReserveError};
use kernel::{Clock, ManualClock, Money, SystemClock};

use crate::plane::KEY;
use crate::{config, journals, micros, setting, usage};

#[tokio::test]
async fn a_session_charges_exactly_what_was_committed_and_returns_the_rest() {
    let (dir, plane) = setting(10_000).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    for cost in [1_001, 2_002, 3_003] {
        let reservation = session.reserve(micros(50)).await.expect("reserved");
        let committed = reservation.commit(usage(Money::from_nanos(cost)));
        assert_eq!(committed.charged, Money::from_nanos(cost));
    }
    let over = session.close().await.expect("closed");
    assert_eq!((over.len(), over[0].ending), (1, Ending::Returned));
    assert_eq!((over[0].granted, over[0].returned), (micros(1_000), micros(993)), "what is returned rounds down");
    let books = plane.books();
    assert_eq!((books.spent(), books.leased()), (Money::from_nanos(6_006), Money::ZERO), "to the nano-dollar");
    assert_eq!(books.leases.values().next().map(|l| l.seqs.clone()), Some(vec![1, 2, 3]));
    assert_eq!(journals(dir.path()), 0);
}

#[tokio::test]
async fn the_provider_key_is_opened_with_the_ic_token() {
    let (dir, plane) = setting(10_000).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    let key = session.provider_key().expect("a key");
    assert_eq!(key.expose(), &format!("{KEY}-1"));
    let reservation = session.reserve(micros(1)).await.expect("reserved");
    assert_eq!((reservation.access().key.expose(), reservation.access().provider.as_str()), (key.expose(), "openai"));
    reservation.cancel();
    assert!(!format!("{session:?}").contains(KEY), "nothing that is printed shows the key");
    session.close().await.expect("closed");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_without_any_money_moving() {
    let (dir, plane) = setting(700).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    assert_eq!(session.status().left, micros(700), "a partial grant");
    let error = session.reserve(micros(701)).await.expect_err("refused");
    let ReserveError::Refused { left, denied, .. } = error else { panic!("{error}") };
    assert_eq!(left, micros(700));
    assert_eq!(denied.binding_scope.map(|s| s.to_string()).as_deref(), Some("agent 7"));
    session.reserve(micros(700)).await.expect("what is left can still be used").cancel();
    for bad in [Money::from_nanos(-1), Money::from_nanos(Money::MAX_CALL.nanos() + 1)] {
        assert!(matches!(session.reserve(bad).await, Err(ReserveError::NotAnAmount(_))));
    }
    session.close().await.expect("closed");
    assert_eq!(plane.books().spent(), Money::ZERO);
    assert!(matches!(session.reserve(micros(1)).await, Err(ReserveError::Closed)));
}

#[tokio::test]
async fn a_refusal_is_remembered_for_a_moment() {
    let (dir, plane) = setting(100).await;
    let mut config = config(&plane, dir.path());
    config.denial_pause = Duration::from_secs(60);
    let session = ControlClient::connect(config).await.expect("connected");
    for _ in 0..20 {
        assert!(matches!(session.reserve(micros(101)).await, Err(ReserveError::Refused { .. })));
    }
    assert!(plane.books().count("refresh") <= 2, "the control plane is not asked again and again");
    session.close().await.expect("closed");
}

#[tokio::test]
async fn an_agent_without_money_cannot_connect_and_leaves_nothing_behind() {
    let (dir, plane) = setting(0).await;
    let error = ControlClient::connect(config(&plane, dir.path())).await.expect_err("denied");
    let ControlError::Denied(denied) = error else { panic!("{error}") };
    assert_eq!(denied.total_allocated, Some(Money::ZERO));
    assert_eq!(journals(dir.path()), 0);
}

#[tokio::test]
async fn refusals_are_typed() {
    let (dir, plane) = setting(1_000).await;
    for (code, typed) in [("AGENT_FROZEN", "frozen"), ("INVALID_IC_TOKEN", "token"), ("QUOTA_EXCEEDED", "quota")] {
        plane.books().refuse = Some(code);
        let error = ControlClient::connect(config(&plane, dir.path())).await.expect_err("refused");
        let found = match error {
            ControlError::Frozen { details: Some(details), .. } if details.reason == "drill" => "frozen",
            ControlError::InvalidToken => "token",
            ControlError::Quota { .. } => "quota",
            _ => "something else",
        };
        assert_eq!(found, typed);
    }
    assert_eq!(journals(dir.path()), 0);
}

#[tokio::test]
async fn a_dropped_reservation_is_charged_in_full_and_a_cancelled_one_not_at_all() {
    let (dir, plane) = setting(10_000).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    session.reserve(micros(300)).await.expect("reserved").cancel();
    assert_eq!(session.status().left, micros(1_000));
    drop(session.reserve(micros(200)).await.expect("reserved"));
    assert_eq!(session.status().charged, micros(200));
    session.close().await.expect("closed");
    let books = plane.books();
    assert_eq!(books.spent(), micros(200));
    assert_eq!(books.leases.values().flat_map(|l| l.models.clone()).collect::<Vec<_>>(), ["unknown"]);
}

#[tokio::test]
async fn a_call_above_its_reservation_is_booked_in_full() {
    let (dir, plane) = setting(10_000).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    let committed = session.reserve(micros(10)).await.expect("reserved").commit(usage(micros(25)));
    assert_eq!((committed.charged, committed.beyond), (micros(25), micros(15)));
    session.close().await.expect("closed");
    assert_eq!(plane.books().spent(), micros(25));
}

#[tokio::test]
async fn closing_with_a_call_under_way_charges_its_worst_case() {
    let (dir, plane) = setting(10_000).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    let reservation = session.reserve(micros(120)).await.expect("reserved");
    let over = session.close().await.expect("closed");
    assert_eq!((over[0].spent, over[0].returned), (micros(120), micros(880)));
    reservation.commit(usage(micros(5)));
    assert_eq!(plane.books().spent(), micros(120), "too late to change anything");
}

#[tokio::test]
async fn closing_waits_for_calls_that_end_in_time() {
    let (dir, plane) = setting(10_000).await;
    let mut config = config(&plane, dir.path());
    config.drain_timeout = Duration::from_secs(10);
    let session = ControlClient::connect(config).await.expect("connected");
    let reservation = session.reserve(micros(120)).await.expect("reserved");
    let call = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        reservation.commit(usage(micros(5)));
    });
    session.close().await.expect("closed");
    call.await.expect("the call");
    assert_eq!(plane.books().spent(), micros(5));
}

#[tokio::test]
async fn dropping_the_session_returns_the_lease_in_the_background() {
    let (dir, plane) = setting(10_000).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    session.reserve(micros(50)).await.expect("reserved").commit(usage(micros(7)));
    drop(session);
    plane.until("the lease is returned", |b| b.in_state(LeaseState::Closed) == 1).await;
    assert_eq!(plane.money(), (micros(7), Money::ZERO));
}

#[tokio::test]
async fn a_lease_that_runs_low_is_refreshed_ahead_of_need() {
    let (dir, plane) = setting(10_000).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    session.reserve(micros(900)).await.expect("reserved").commit(usage(micros(850)));
    plane.until("a refresh", |b| b.count("refresh") == 1 && b.in_state(LeaseState::Closed) == 1).await;
    assert_eq!(plane.books().count("handshake"), 1, "refreshed, not borrowed anew");
    plane.until("the old lease's report", |b| b.leases.values().any(|l| l.reports.len() == 1)).await;
    assert_eq!(plane.money(), (micros(850), micros(1_000)));
    session.close().await.expect("closed");
    assert_eq!(plane.money(), (micros(850), Money::ZERO));
    assert_eq!(journals(dir.path()), 0);
}

#[tokio::test]
async fn with_calls_under_way_an_additional_lease_is_taken_and_the_old_one_returned_later() {
    let (dir, plane) = setting(10_000).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    let slow = session.reserve(micros(900)).await.expect("reserved");
    let next = session.reserve(micros(500)).await.expect("from an additional lease");
    assert_eq!(plane.borrowed(), (2, 0));
    assert_ne!(slow.lease_id(), next.lease_id());
    next.commit(usage(micros(400)));
    assert_eq!(plane.books().in_state(LeaseState::Active), 2, "the first lease has a call under way");
    slow.commit(usage(micros(850)));
    plane.until("the used-up lease is returned", |b| b.count("return") == 1).await;
    session.close().await.expect("closed");
    assert_eq!(plane.money(), (micros(1_250), Money::ZERO));
}

#[tokio::test]
async fn a_call_larger_than_the_tranche_borrows_what_it_needs() {
    let (dir, plane) = setting(10_000).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    let reservation = session.reserve(micros(4_000)).await.expect("reserved");
    reservation.commit(usage(micros(3_500)));
    session.close().await.expect("closed");
    assert_eq!(plane.books().spent(), micros(3_500));
}

#[tokio::test]
async fn another_provider_key_after_a_refresh_needs_a_handshake() {
    let (dir, plane) = setting(10_000).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    plane.books().key = 2;
    let reservation = session.reserve(micros(1_500)).await.expect("reserved");
    assert_eq!(reservation.access().key.expose(), &format!("{KEY}-2"), "never a call with the old key");
    reservation.commit(usage(micros(10)));
    session.close().await.expect("closed");
    assert_eq!(plane.money(), (micros(10), Money::ZERO));
}

#[tokio::test]
async fn a_revoked_lease_is_not_drawn_on_any_more_and_its_figure_is_kept_as_a_claim() {
    let (dir, plane) = setting(10_000).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    let first = session.reserve(micros(50)).await.expect("reserved");
    let revoked = first.lease_id().to_owned();
    plane.books().leases.get_mut(&revoked).expect("there").state = LeaseState::Revoked;
    first.commit(usage(micros(7)));
    session.flush().await.expect("reported");
    let next = session.reserve(micros(50)).await.expect("reserved");
    assert_ne!(next.lease_id(), revoked);
    next.cancel();
    session.close().await.expect("closed");
    let books = plane.books();
    assert_eq!(books.leases[&revoked].claimed, Some(micros(7)));
    assert_eq!(books.spent(), micros(7));
}

#[tokio::test]
async fn a_silent_lease_is_not_drawn_on_after_its_time() {
    let (dir, plane) = setting(10_000).await;
    let clock = std::sync::Arc::new(ManualClock::new(SystemClock.now()));
    let mut config = config(&plane, dir.path());
    config.clock = clock.clone();
    let session = ControlClient::connect(config).await.expect("connected");
    let first = session.reserve(micros(1)).await.expect("reserved");
    clock.advance_millis(60_000);
    assert_eq!(session.status().left, Money::ZERO);
    let second = session.reserve(micros(1)).await.expect("from a new lease");
    assert_ne!(first.lease_id(), second.lease_id());
    first.cancel();
    second.cancel();
    session.close().await.expect("closed");
    assert_eq!(plane.books().leased(), Money::ZERO);
}

#[tokio::test]
async fn calls_do_not_pile_up_unreported_without_bound() {
    let (dir, plane) = setting(10_000).await;
    let mut config = config(&plane, dir.path());
    (config.most_unreported, config.report_interval) = (3, Duration::from_secs(3_600));
    let session = ControlClient::connect(config).await.expect("connected");
    for _ in 0..3 {
        session.reserve(Money::ZERO).await.expect("free").commit(usage(Money::ZERO));
    }
    let error = session.reserve(Money::ZERO).await.expect_err("too many");
    assert!(matches!(error, ReserveError::Control(ControlError::Unavailable { .. })), "{error}");
    session.flush().await.expect("reported");
    session.reserve(Money::ZERO).await.expect("room again").cancel();
    session.close().await.expect("closed");
}
