//! Many calls at once, with faults on the way: the cap holds and not a nano-dollar is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use control_client::{ControlClient, ReserveError, Session};
use kernel::entropy::SeededEntropy;
use kernel::{Entropy, Money};

use crate::plane::Fault;
use crate::{config, journals, micros, setting, usage};

/// A number below `limit`.
fn below(entropy: &SeededEntropy, limit: i64) -> i64 {
    let mut bytes = [0; 4];
    entropy.fill(&mut bytes);
    i64::from(u32::from_le_bytes(bytes)) % limit
}

/// Calls until the budget is gone; returns what was charged in nano-dollars, and adds to `spent` what the provider
/// really charged.
async fn agent(session: Arc<Session>, seed: u64, spent: Arc<AtomicI64>) -> i64 {
    let (entropy, mut charged, mut refused) = (SeededEntropy::new(seed), 0, 0);
    while refused < 3 {
        let worst = Money::from_nanos(1 + below(&entropy, 200_000));
        let reservation = match session.reserve(worst).await {
            Ok(reservation) => reservation,
            Err(ReserveError::Refused { .. } | ReserveError::Control(_)) => {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(3)).await;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        if below(&entropy, 8) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        match below(&entropy, 10) {
            0 => reservation.cancel(),
            1 => {
                // The provider charged something, but nobody knows what
                spent.fetch_add(below(&entropy, worst.nanos() + 1), Ordering::SeqCst);
                charged += worst.nanos();
                drop(reservation);
            }
            _ => {
                let cost = below(&entropy, worst.nanos() + 1);
                spent.fetch_add(cost, Ordering::SeqCst);
                charged += cost;
                reservation.commit(usage(Money::from_nanos(cost)));
            }
        }
    }
    charged
}

async fn spend_everything(faults: bool, seed: u64) {
    let (dir, plane) = setting(8_000).await;
    if faults {
        let entropy = SeededEntropy::new(seed);
        for verb in ["handshake", "refresh", "report/batch", "return"] {
            let kinds =
                [Fault::None, Fault::AnswerLost, Fault::RequestLost, Fault::Status503("OVERLOADED"), Fault::None];
            let random = |_| kinds[usize::try_from(below(&entropy, 5)).expect("small")];
            plane.faults(verb, (0..60).map(random).collect::<Vec<_>>());
        }
    }
    let spent = Arc::new(AtomicI64::new(0));
    // Two processes of one agent
    let mut sessions = Vec::new();
    for _ in 0..2 {
        sessions.push(Arc::new(ControlClient::connect(config(&plane, dir.path())).await.expect("connected")));
    }
    let agents: Vec<_> = (0..16_u64)
        .map(|n| {
            let session = sessions[usize::try_from(n % 2).expect("small")].clone();
            tokio::spawn(agent(session, seed * 100 + n, spent.clone()))
        })
        .collect();
    let mut charged = 0;
    for agent in agents {
        charged += agent.await.expect("an agent");
    }
    for session in sessions {
        session.close().await.expect("closed");
    }
    // What was given up in doubt is found by whoever comes next
    ControlClient::recover(config(&plane, dir.path())).await.expect("recovered");
    let (books, really) = (plane.books(), spent.load(Ordering::SeqCst));
    assert_eq!(books.leased(), Money::ZERO, "nothing is left lent");
    assert!(really <= charged && charged <= books.cap.nanos(), "{really} {charged}");
    assert!(books.spent() <= books.cap);
    // Where an item was booked late, the stated figure may have rounded up once per lease
    let difference = books.spent().nanos() - charged;
    let leases = i64::try_from(books.leases.len()).expect("few");
    assert!((0..=1_000 * leases).contains(&difference), "{difference}");
    assert_eq!(journals(dir.path()), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_agents_in_two_sessions_spend_exactly_their_budget() {
    spend_everything(false, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_requests_and_answers_do_not_break_the_cap() {
    for seed in 1..=4 {
        spend_everything(true, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_give_up_waiting_leave_nothing_reserved() {
    let (dir, plane) = setting(100_000).await;
    let session = Arc::new(ControlClient::connect(config(&plane, dir.path())).await.expect("connected"));
    let entropy = SeededEntropy::new(5);
    for n in 0..200 {
        let session = session.clone();
        let worst = micros(1 + below(&entropy, 1_500));
        let call = tokio::spawn(async move { session.reserve(worst).await.map(|r| r.cancel()).is_ok() });
        tokio::time::sleep(Duration::from_micros(u64::try_from(below(&entropy, 900)).expect("small"))).await;
        if n % 3 != 0 {
            call.abort();
        }
        // Aborted or done, as it came
        let _ = call.await;
    }
    let status = session.status();
    assert_eq!((status.outstanding, status.charged_in_session), (Money::ZERO, Money::ZERO));
    session.close().await.expect("closed");
    assert_eq!(plane.money(), (Money::ZERO, Money::ZERO));
}
