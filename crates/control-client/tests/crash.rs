//! Processes that are killed: what they were lent is accounted for by whoever comes next.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use budget_protocol::LeaseState;
use control_client::{ControlClient, Ending};
use kernel::Money;

use crate::plane::{Fault, Plane};
use crate::{config, config_for, journals, micros, setting, usage, with_extension};

const URL: &str = "CONTROL_CLIENT_TEST_URL";
const DIR: &str = "CONTROL_CLIENT_TEST_DIR";

/// Not a test of its own: the process that the tests below start and kill. It settles one call at 70 µ$, leaves one of
/// at most 200 µ$ open, says so, and waits for its end.
#[tokio::test]
async fn the_process_that_is_killed() {
    let (Ok(url), Ok(dir)) = (std::env::var(URL), std::env::var(DIR)) else { return };
    let mut config = config_for(&url, Path::new(&dir));
    // It dies before it reports anything
    config.report_interval = std::time::Duration::from_secs(3_600);
    let session = ControlClient::connect(config).await.expect("connected");
    session.reserve(micros(100)).await.expect("reserved").commit(usage(micros(70)));
    let open = session.reserve(micros(200)).await.expect("reserved");
    let mut out = std::io::stdout();
    writeln!(out, "\nready {}", open.lease_id()).and_then(|()| out.flush()).expect("told the parent");
    std::future::pending::<()>().await;
}

/// Starts that process and kills it when it is ready; the lease it held.
fn killed(plane: &Plane, dir: &Path) -> String {
    let program = std::env::current_exe().expect("this test");
    let mut child: Child = Command::new(program)
        .args(["--exact", "crash::the_process_that_is_killed", "--nocapture"])
        .envs([(URL, plane.url.as_str()), (DIR, dir.to_str().expect("UTF-8"))])
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let lease = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("ready ").map(str::to_owned));
    child.kill().expect("killed");
    child.wait().expect("gone");
    lease.expect("the process got ready")
}

fn journal(dir: &Path) -> PathBuf {
    let mut entries = std::fs::read_dir(dir).expect("the directory").filter_map(|e| Some(e.ok()?.path()));
    entries.find(|p| p.extension().is_some_and(|e| e == "jsonl")).expect("a journal")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_committed_calls_are_reported_and_open_ones_charged_in_full() {
    let (dir, plane) = setting(1_500).await;
    let (p, d) = (plane.clone(), dir.path().to_owned());
    let lease = tokio::task::spawn_blocking(move || killed(&p, &d)).await.expect("killed");
    assert_eq!(plane.money(), (Money::ZERO, micros(1_000)));

    let session = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    let recovered = session.recovered();
    assert_eq!((recovered.len(), recovered[0].lease_id.as_str()), (1, lease.as_str()));
    assert_eq!((recovered[0].spent, recovered[0].returned), (micros(270), micros(730)));
    assert_eq!(session.status().granted, micros(1_000), "what flowed back can be borrowed again");
    {
        let books = plane.books();
        let dead = &books.leases[&lease];
        assert_eq!((dead.state, dead.reports.len()), (LeaseState::Closed, 2));
        assert!(dead.models.contains(&"gpt-5".to_owned()) && dead.models.contains(&"unknown".to_owned()));
    }
    session.close().await.expect("closed");
    assert_eq!((plane.books().spent(), journals(dir.path())), (micros(270), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_last_line_was_never_acknowledged_and_does_not_count() {
    let (dir, plane) = setting(10_000).await;
    let (p, d) = (plane.clone(), dir.path().to_owned());
    tokio::task::spawn_blocking(move || killed(&p, &d)).await.expect("killed");
    let path = journal(dir.path());
    let whole = std::fs::read_to_string(&path).expect("the journal");
    let last = whole.lines().last().expect("a record");
    let torn = &last[..last.len() - 9];
    OpenOptions::new().append(true).open(&path).and_then(|mut f| f.write_all(torn.as_bytes())).expect("torn");
    let over = ControlClient::recover(config(&plane, dir.path())).await.expect("recovered");
    assert_eq!((over.len(), over[0].ending, over[0].spent), (1, Ending::Returned, micros(270)));
    assert_eq!(journals(dir.path()), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovery_that_is_interrupted_can_be_repeated() {
    let (dir, plane) = setting(10_000).await;
    let (p, d) = (plane.clone(), dir.path().to_owned());
    tokio::task::spawn_blocking(move || killed(&p, &d)).await.expect("killed");
    // Reported, but the answer was lost; then nobody there to take the return
    plane.faults("report/batch", [Fault::AnswerLost]);
    plane.faults("return", [Fault::RequestLost; 400]);
    assert!(ControlClient::recover(config(&plane, dir.path())).await.is_err());
    assert_eq!((plane.books().spent(), journals(dir.path())), (micros(270), 1));
    plane.books().faults.clear();
    let over = ControlClient::recover(config(&plane, dir.path())).await.expect("recovered");
    assert_eq!((over[0].spent, over[0].returned), (micros(270), micros(730)));
    assert_eq!((plane.books().leased(), journals(dir.path())), (Money::ZERO, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_journal_reports_what_it_has_and_frees_nothing() {
    let (dir, plane) = setting(10_000).await;
    let (p, d) = (plane.clone(), dir.path().to_owned());
    let lease = tokio::task::spawn_blocking(move || killed(&p, &d)).await.expect("killed");
    let path = journal(dir.path());
    let mut bytes = std::fs::read(&path).expect("the journal");
    // The open reservation is the last whole line; its amount cannot be read any more
    let at = bytes.len() - 4;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).expect("damaged");
    let over = ControlClient::recover(config(&plane, dir.path())).await.expect("recovered");
    assert_eq!((over.len(), over[0].ending), (1, Ending::Damaged));
    let books = plane.books();
    assert_eq!((books.leases[&lease].state, books.spent()), (LeaseState::Active, micros(70)));
    assert_eq!((journals(dir.path()), with_extension(dir.path(), "set-aside")), (0, 1));
}

#[tokio::test]
async fn the_journal_of_a_living_process_is_left_alone() {
    let (dir, plane) = setting(10_000).await;
    let first = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    let reservation = first.reserve(micros(100)).await.expect("reserved");
    let second = ControlClient::connect(config(&plane, dir.path())).await.expect("connected");
    assert!(second.recovered().is_empty());
    second.close().await.expect("closed");
    assert_eq!(plane.books().in_state(LeaseState::Active), 1);
    reservation.commit(usage(micros(1)));
    first.close().await.expect("closed");
    assert_eq!(plane.books().spent(), micros(1));
}

#[tokio::test]
async fn journals_of_another_control_plane_are_left_alone() {
    let (dir, plane) = setting(10_000).await;
    let (_, other) = setting(10_000).await;
    plane.faults("handshake", [Fault::AnswerLost].into_iter().chain([Fault::RequestLost; 400]));
    assert!(ControlClient::connect(config(&plane, dir.path())).await.is_err());
    assert!(ControlClient::recover(config(&other, dir.path())).await.expect("looked").is_empty());
    assert_eq!((journals(dir.path()), other.books().requests.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_agent_may_settle_a_dead_process_of_the_same_directory() {
    let (dir, plane) = setting(10_000).await;
    let (p, d) = (plane.clone(), dir.path().to_owned());
    tokio::task::spawn_blocking(move || killed(&p, &d)).await.expect("killed");
    let mut other = config(&plane, dir.path());
    other.ic_token = kernel::Secret::new("of another agent".to_owned());
    let over = ControlClient::recover(other).await.expect("recovered");
    assert_eq!((over.len(), over[0].spent), (1, micros(270)), "a lease id is enough to report and return");
}
