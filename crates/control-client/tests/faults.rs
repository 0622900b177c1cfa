//! Lost requests, lost answers, failing servers: one effect each, and no doubt is spent.

use budget_protocol::LeaseState;
use control_client::{ControlClient, ControlError, Ending, ReserveError};
use kernel::Money;

use crate::plane::Fault::{AnswerLost, None as Fine, RequestLost, Status503};
use crate::{config, journals, micros, setting, usage, with_extension};

#[tokio::test]
async fn a_handshake_whose_answer_was_lost_borrows_once() {
    let (dir, plane) = setting(10_000).await;
    plane.faults("handshake", [AnswerLost, RequestLost, Status503("OVERLOADED")]);
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    {
        let books = plane.books();
        assert_eq!((books.count("handshake"), books.leases.len()), (4, 1));
        let ids: std::collections::BTreeSet<String> =
            books.requests.iter().map(|(_, body)| body["request_id"].to_string()).collect();
        assert_eq!(ids.len(), 1, "the request id is stable across repetitions");
    }
    session.close().await.expect("closed");
    assert_eq!(plane.books().leased(), Money::ZERO);
}

#[tokio::test]
async fn reports_whose_answers_were_lost_charge_once() {
    let (dir, plane) = setting(10_000).await;
    plane.faults("report/batch", [AnswerLost, AnswerLost, RequestLost, Status503("SERVICE_UNAVAILABLE")]);
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    for _ in 0..5 {
        session.reserve(micros(50)).await.expect("reserved").commit(usage(micros(10)));
    }
    plane.until("every report is there", |b| b.leases.values().any(|l| l.reports.len() == 5)).await;
    session.close().await.expect("closed");
    assert_eq!(plane.books().spent(), micros(50));
}

#[tokio::test]
async fn a_return_whose_answer_was_lost_credits_once() {
    let (dir, plane) = setting(10_000).await;
    plane.faults("return", [AnswerLost, AnswerLost]);
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    session.reserve(micros(50)).await.expect("reserved").commit(usage(micros(10)));
    let over = session.close().await.expect("closed");
    assert_eq!((over[0].spent, over[0].returned), (micros(10), micros(990)));
    assert_eq!(plane.money(), (micros(10), Money::ZERO));
    assert_eq!(journals(dir.path()), 0);
}

#[tokio::test]
async fn a_refresh_whose_answer_was_lost_is_repeated_and_its_lease_used() {
    let (dir, plane) = setting(10_000).await;
    let mut config = config(&plane, dir.path());
    config.refresh_below_percent = 0;
    let session = ControlClient::connect(config).await.expect("connected");
    plane.faults("refresh", [AnswerLost]);
    let reservation = session.reserve(micros(1_200)).await.expect("from the successor");
    assert_eq!((plane.leases(), plane.borrowed()), (2, (1, 2)), "one successor, asked for twice");
    reservation.commit(usage(micros(1_100)));
    session.close().await.expect("closed");
    assert_eq!(plane.money(), (micros(1_100), Money::ZERO));
}

#[tokio::test]
async fn after_a_refresh_without_any_answer_the_old_lease_is_not_drawn_on() {
    let (dir, plane) = setting(1_500).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    plane.faults("refresh", [AnswerLost].into_iter().chain([RequestLost; 400]));
    plane.faults("return", [RequestLost; 400]);
    let error = session.reserve(micros(1_200)).await.expect_err("no answer");
    assert!(matches!(error, ReserveError::Control(ControlError::Unavailable { .. })), "{error}");
    // The server has exchanged it: 1000 are free again and may be lent to somebody else at any moment
    assert_eq!(plane.books().leases["lease_00000001"].state, LeaseState::Closed);
    assert_eq!(session.status().left, Money::ZERO);
    plane.books().faults.clear();
    plane.until("the lost successor is found and returned", |b| b.leased().is_zero()).await;
    let reservation = session.reserve(micros(100)).await.expect("from a new lease");
    reservation.commit(usage(micros(60)));
    session.close().await.expect("closed");
    assert_eq!(plane.money(), (micros(60), Money::ZERO));
    assert_eq!(journals(dir.path()), 0);
}

#[tokio::test]
async fn a_denial_after_a_lost_request_does_not_reopen_the_old_lease() {
    // The lost request may still arrive, when there is money again: the old lease would be closed under our feet
    let (dir, plane) = setting(1_000).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    plane.faults("refresh", [RequestLost, Fine]);
    assert!(matches!(session.reserve(micros(1_001)).await, Err(ReserveError::Refused { .. })));
    plane.until("the old lease is given up", |b| b.in_state(LeaseState::Closed) == 1).await;
    session.reserve(micros(500)).await.expect("from a new lease").cancel();
    session.close().await.expect("closed");
    assert_eq!(plane.books().leased(), Money::ZERO);
}

#[tokio::test]
async fn a_clear_denial_leaves_the_old_lease_usable() {
    let (dir, plane) = setting(1_000).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    assert!(matches!(session.reserve(micros(1_001)).await, Err(ReserveError::Refused { .. })));
    session.reserve(micros(900)).await.expect("the old lease").commit(usage(micros(800)));
    session.close().await.expect("closed");
    let books = plane.books();
    assert_eq!((books.leases.len(), books.spent()), (1, micros(800)));
}

#[tokio::test]
async fn a_control_plane_that_is_away_at_the_end_is_told_by_the_next_process() {
    let (dir, plane) = setting(10_000).await;
    let mut quick = config(&plane, dir.path());
    quick.close_timeout = std::time::Duration::from_millis(50);
    quick.report_interval = std::time::Duration::from_secs(60);
    let session = ControlClient::connect(quick).await.expect("connected");
    session.reserve(micros(50)).await.expect("reserved").commit(usage(micros(10)));
    plane.faults("report/batch", [Status503("SERVICE_UNAVAILABLE"); 500]);
    let error = session.close().await.expect_err("away");
    assert!(matches!(error, ControlError::Unavailable { .. }), "{error}");
    assert_eq!((journals(dir.path()), plane.books().spent()), (1, Money::ZERO));
    plane.books().faults.clear();
    let over = ControlClient::recover(config(&plane, dir.path())).await.expect("recovered");
    assert_eq!((over.len(), over[0].spent, over[0].ending), (1, micros(10), Ending::Returned));
    assert_eq!((journals(dir.path()), plane.books().leased()), (0, Money::ZERO));
}

#[tokio::test]
async fn a_handshake_given_up_in_doubt_is_found_and_returned_by_the_next_process() {
    let (dir, plane) = setting(10_000).await;
    plane.faults("handshake", [AnswerLost].into_iter().chain([RequestLost; 400]));
    let error = ControlClient::connect(config(&plane, dir.path())).await.expect_err("no answer");
    assert!(matches!(error, ControlError::Unavailable { .. }), "{error}");
    assert_eq!((journals(dir.path()), plane.books().leased()), (1, micros(1_000)));
    plane.books().faults.clear();
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    assert_eq!(session.recovered().len(), 1);
    assert_eq!(plane.books().leased(), micros(1_000), "only the new lease");
    session.close().await.expect("closed");
    assert_eq!((journals(dir.path()), plane.books().leased()), (0, Money::ZERO));
}

#[tokio::test]
async fn nobody_listening_is_unavailable_and_leaves_no_journal() {
    let (dir, plane) = setting(10_000).await;
    let mut config = config(&plane, dir.path());
    // A port that was just free
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    config.base_url = format!("http://127.0.0.1:{port}");
    let error = ControlClient::connect(config).await.expect_err("nobody there");
    assert!(matches!(error, ControlError::Unavailable { .. }), "{error}");
    assert_eq!(journals(dir.path()), 0, "nothing was sent, so nothing is owed");
}

#[tokio::test]
async fn a_lease_the_control_plane_does_not_know_keeps_its_journal_as_evidence() {
    let (dir, plane) = setting(10_000).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    session.reserve(micros(50)).await.expect("reserved").commit(usage(micros(10)));
    plane.books().leases.clear();
    let over = session.close().await.expect("closed");
    assert!(over.iter().all(|l| l.ending == Ending::Unknown), "{over:?}");
    assert_eq!((journals(dir.path()), with_extension(dir.path(), "set-aside")), (0, 1));
}

#[tokio::test]
async fn a_frozen_agent_still_spends_what_it_holds_and_settles_it() {
    let (dir, plane) = setting(10_000).await;
    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    plane.books().refuse = Some("AGENT_FROZEN");
    let error = session.reserve(micros(1_001)).await.expect_err("frozen");
    assert!(matches!(error, ReserveError::Control(ControlError::Frozen { .. })), "{error}");
    session.reserve(micros(100)).await.expect("what was lent").commit(usage(micros(90)));
    session.close().await.expect("closed");
    assert_eq!(plane.money(), (micros(90), Money::ZERO));
}
