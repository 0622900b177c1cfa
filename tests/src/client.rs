//! The client that agent runtimes link, against the real server: both sides come to the same totals.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use control_client::{ClientConfig, ControlClient, ControlError, Ending, ReserveError, RetryPolicy, Session, Usage};
use kernel::{Money, Secret};

use crate::books::{Books, books, journal, verify};
use crate::harness::*;

/// How a process under test is told what to do.
const URL: &str = "IRON_TEST_CLIENT_URL";
const IC_TOKEN: &str = "IRON_TEST_CLIENT_IC_TOKEN";
const DIR: &str = "IRON_TEST_CLIENT_DIR";

fn micros(amount: i64) -> Money {
    Money::from_micros(amount).expect("in range")
}

/// An impatient client that borrows 10 000 µ$ at a time.
fn config(url: &str, ic_token: &str, dir: &Path) -> ClientConfig {
    let retry = RetryPolicy {
        first: Duration::from_millis(5),
        longest: Duration::from_millis(100),
        give_up_after: Duration::from_secs(20),
    };
    ClientConfig {
        tranche: micros(10_000),
        report_interval: Duration::from_millis(20),
        denial_pause: Duration::from_millis(1),
        drain_timeout: Duration::from_millis(200),
        retry,
        ..ClientConfig::new(url, Secret::new(ic_token.to_owned()), dir)
    }
}

async fn connect(world: &World, agent: &Agent, dir: &Path) -> Session {
    let config = config(&world.server.url(), &agent.ic_token, dir);
    ControlClient::connect(config).await.expect("connected")
}

fn usage(cost: Money) -> Usage {
    Usage::new("gpt-4o", "openai", 100, cost)
}

/// Nano-dollars that the journal has charged to the agent.
async fn charged(world: &World, agent: &Agent) -> i64 {
    let mut sum = 0;
    for entry in journal(world, &format!("agent_id={}", agent.id)).await {
        for posting in entry.list("postings").iter().filter(|posting| posting["scope"]["kind"] == "agent") {
            if matches!(posting.text("account"), "spent" | "overrun") {
                sum += posting.text("delta_nanos").parse::<i64>().expect("a decimal number");
            }
        }
    }
    sum
}

/// What the server has charged to the agent is what its runtimes have spent. A lease that is exchanged while calls are not
/// reported yet states its figure in whole micro-dollars, rounded up: never less than was spent, and less than one
/// micro-dollar more for each lease.
async fn agrees(world: &World, agent: &Agent, spent: Money) {
    let exchanged = journal(world, &format!("agent_id={}&kind=refresh", agent.id)).await.len() as i64;
    let more = charged(world, agent).await - spent.nanos();
    assert!((0..=999 * exchanged).contains(&more), "{more} nano-dollars more, {exchanged} leases exchanged");
    let books = books(world, agent).await;
    assert_eq!(books.spent, Money::from_nanos(spent.nanos() + more).micros_ceil());
    assert_eq!((books.leased, books.suspense), (0, 0));
}

/// Spends odd amounts, each below what was reserved for it, until the control plane lends no more.
async fn spend_until_refused(session: &Session) -> Money {
    let mut spent = Money::ZERO;
    let mut refused = 0;
    for call in 1_i64.. {
        let worst = micros(1_500);
        match session.reserve(worst).await {
            Ok(reservation) => {
                let cost = Money::from_nanos((call * 7_919_993) % 1_500_000);
                spent = spent.plus(reservation.commit(usage(cost)).charged).expect("in range");
                refused = 0;
            }
            // What is on its way to the control plane, on a busy machine, is what it cannot lend again yet
            Err(ReserveError::Refused { .. }) if refused < 3 => {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(ReserveError::Refused { .. }) => return spent,
            Err(error) => panic!("{error}"),
        }
    }
    spent
}

/// An address that stays while the server behind it comes and goes.
struct Front {
    url: String,
    behind: Arc<std::sync::Mutex<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Front {
    async fn before(world: &World) -> Self {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", socket.local_addr().expect("an address"));
        let behind = Arc::<std::sync::Mutex<String>>::default();
        let server = behind.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = socket.accept().await {
                let address = server.lock().expect("nobody panicked").clone();
                tokio::spawn(async move {
                    // Where nobody is behind it, whoever comes is turned away
                    if let Ok(mut server) = tokio::net::TcpStream::connect(address).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        let front = Self { url, behind, task };
        front.leads_to(world);
        front
    }

    fn leads_to(&self, world: &World) {
        let address = world.server.url().trim_start_matches("http://").to_owned();
        *self.behind.lock().expect("nobody panicked") = address;
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How many journals are left in a directory.
fn journals(dir: &Path) -> usize {
    let files = std::fs::read_dir(dir).expect("the directory").filter_map(Result::ok);
    files.filter(|file| file.path().extension().is_some_and(|extension| extension == "jsonl")).count()
}

/// Not a test of its own: the runtime that a test below starts and kills. It settles one call at 70.5 µ$, leaves one of
/// at most 200 µ$ open, says so, and waits for its end.
#[tokio::test]
async fn the_runtime_that_is_killed() {
    let told = |name| std::env::var(name).ok();
    let (Some(url), Some(token), Some(dir)) = (told(URL), told(IC_TOKEN), told(DIR)) else { return };
    let mut config = config(&url, &token, Path::new(&dir));
    // It dies before it reports anything
    config.report_interval = Duration::from_secs(3_600);
    let session = ControlClient::connect(config).await.expect("connected");
    session.reserve(micros(100)).await.expect("reserved").commit(usage(Money::from_nanos(70_500)));
    let open = session.reserve(micros(200)).await.expect("reserved");
    let mut out = std::io::stdout();
    writeln!(out, "\nready {}", open.lease_id()).and_then(|()| out.flush()).expect("told the test");
    std::future::pending::<()>().await;
}

/// Starts that runtime and kills it when it is ready; the lease it held.
fn killed(url: &str, ic_token: &str, dir: &Path) -> String {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "client::the_runtime_that_is_killed", "--nocapture"])
        .envs([(URL, url), (IC_TOKEN, ic_token), (DIR, dir.to_str().expect("UTF-8"))])
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let lease = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("ready ").map(str::to_owned));
    child.kill().expect("killed");
    child.wait().expect("gone");
    lease.expect("the runtime got ready")
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

on_both_backends! {
    async fn a_runtime_spends_until_it_is_refused_and_the_totals_agree(world: World) {
        let (agent, dir) = (world.agent(100_000).await, directory());
        let session = connect(&world, &agent, dir.path()).await;
        let spent = spend_until_refused(&session).await;
        assert_eq!(session.status().charged_in_session, spent);
        for lease in session.close().await.expect("closed") {
            assert_eq!(lease.ending, Ending::Returned);
        }
        assert!(spent > micros(98_000) && spent <= micros(100_000), "{spent:?}");
        agrees(&world, &agent, spent).await;
        assert_eq!(journals(dir.path()), 0);
        verify(&world).await;
    }

    async fn on_one_lease_the_totals_agree_to_the_nano_dollar(world: World) {
        let (agent, dir) = (world.agent(100_000).await, directory());
        let mut settings = config(&world.server.url(), &agent.ic_token, dir.path());
        settings.tranche = micros(100_000);
        settings.refresh_below_percent = 0;
        let session = ControlClient::connect(settings).await.expect("connected");
        let mut spent = 0;
        for call in 1..=50_i64 {
            let cost = Money::from_nanos(call * 7_919);
            spent += session.reserve(micros(500)).await.expect("reserved").commit(usage(cost)).charged.nanos();
        }
        session.close().await.expect("closed");
        assert_eq!(charged(&world, &agent).await, spent);
        assert_eq!(books(&world, &agent).await, Books::of(100_000, Money::from_nanos(spent).micros_ceil(), 0, 0));
    }

    async fn the_key_that_was_lent_is_the_stored_one(world: World) {
        let (agent, dir) = (world.agent(100_000).await, directory());
        let session = connect(&world, &agent, dir.path()).await;
        let access = session.access().expect("lent");
        assert_eq!((access.key.expose().as_str(), access.provider.as_str()), ("sk-test-0123456789abcdef", "openai"));
        session.close().await.expect("closed");
        // Sealed for the holder of the IC token and this lease, and for nobody else
        let lease = agent.borrow(10).await;
        let sealed = lease.body.text("ip_token");
        let open = |token: &str, lease: &str| {
            let (token, lease) = (Secret::new(token.to_owned()), kernel::LeaseId::new(lease));
            control_client::protocol::ip_token::open(&token, &lease, "openai", sealed).is_ok()
        };
        assert!(open(&agent.ic_token, &lease.id));
        let stranger = world.agent(1).await;
        assert!(!open(&stranger.ic_token, &lease.id) && !open(&agent.ic_token, "lease_other"));
    }

    async fn four_runtimes_under_one_cap_spend_what_it_allows_and_not_more(world: World) {
        let ada = world.user("ada").await.id;
        world.cap(json!({"kind": "owner", "id": ada}), 150_000).await;
        let mut agents = Vec::new();
        for _ in 0..2 {
            agents.push(world.agent_with(json!({"owner_id": ada})).await);
        }
        // Two processes for each agent
        let url = world.server.url();
        let spent = at_once(4, |number| {
            let (url, agent, dir) = (url.clone(), agents[number / 2].clone(), directory());
            async move {
                let session = ControlClient::connect(config(&url, &agent.ic_token, dir.path())).await;
                let session = session.expect("connected");
                let spent = spend_until_refused(&session).await;
                session.close().await.expect("closed");
                spent
            }
        })
        .await;
        for (agent, spent) in agents.iter().zip(spent.chunks(2)) {
            agrees(&world, agent, spent[0].plus(spent[1]).expect("in range")).await;
        }
        let shown = world.exposure(&format!("scope_kind=owner&scope_id={ada}")).await;
        let charged = charged(&world, &agents[0]).await + charged(&world, &agents[1]).await;
        assert_eq!((shown.int("spent"), shown.int("leased")), (Money::from_nanos(charged).micros_ceil(), 0));
        assert!(spent.into_iter().sum::<Money>() <= micros(150_000) && charged <= 150_000_000);
        verify(&world).await;
    }

    async fn what_agents_spend_is_the_same_in_analytics_and_in_the_ledger(world: World) {
        let mut agents = Vec::new();
        for _ in 0..4 {
            agents.push(world.agent(1_000_000).await);
        }
        let url = world.server.url();
        let spent = at_once(agents.len(), |number| {
            let (url, agent, dir) = (url.clone(), agents[number].clone(), directory());
            async move {
                let session = ControlClient::connect(config(&url, &agent.ic_token, dir.path())).await;
                let session = session.expect("connected");
                let (mut spent, number) = (0, number as i64);
                for call in 1..=100 + 10 * number {
                    let cost = (call * 7_919 + number) % 997;
                    let reservation = session.reserve(micros(1_000)).await.expect("there is enough");
                    let usage = Usage::new(["gpt-4o", "o4-mini"][call as usize % 2], "openai", 100, micros(cost));
                    spent += reservation.commit(usage).charged.micros_ceil();
                }
                session.close().await.expect("closed");
                spent
            }
        })
        .await;
        let told = world.admin().await.get("analytics/query?group_by=agent&period=all-time").await.expect(200);
        for ((agent, spent), number) in agents.iter().zip(&spent).zip(0..) {
            assert_eq!(books(&world, agent).await.spent, *spent);
            let row = told.list("data").iter().find(|row| row.int("agent_id") == agent.id).expect("the agent's sums");
            assert_eq!((row.int("cost_microdollars"), row.int("request_count")), (*spent, 100 + 10 * number), "{row}");
        }
        assert_eq!(told["totals"].int("cost_microdollars"), spent.iter().sum::<i64>(), "{told}");
        verify(&world).await;
        world.server.stop().await;
        let analytics = world.command(&["analytics", "verify"]).await.ok();
        assert!(analytics.contains("analytics ok: 460 facts"), "{analytics}");
        world.server.start_again().await;
    }

    async fn after_a_kill_what_was_open_is_charged_in_full_and_the_rest_comes_back(world: World) {
        let (agent, dir) = (world.agent(15_000).await, directory());
        let (url, token, path) = (world.server.url(), agent.ic_token.clone(), dir.path().to_owned());
        let lease = tokio::task::spawn_blocking(move || killed(&url, &token, &path)).await.expect("killed");
        assert_eq!(books(&world, &agent).await, Books::of(15_000, 0, 10_000, 0), "nothing was reported");

        let session = connect(&world, &agent, dir.path()).await;
        let recovered = session.recovered();
        assert_eq!((recovered.len(), recovered[0].lease_id.as_str()), (1, lease.as_str()));
        // 70.5 committed and 200 that may have been spent
        assert_eq!((recovered[0].ending, recovered[0].spent), (Ending::Returned, micros(271)));
        assert_eq!(charged(&world, &agent).await, 270_500);
        let shown = world.lease(&lease).await;
        assert_eq!((shown.text("state"), shown.int("report_count"), shown.int("spent")), ("closed", 2, 271));
        assert_eq!(session.status().granted, micros(10_000), "what flowed back can be borrowed again");
        session.close().await.expect("closed");
        assert_eq!((books(&world, &agent).await.spent, journals(dir.path())), (271, 0));
    }

    async fn a_runtime_outlives_a_server_that_is_killed_again_and_again(world: World) {
        let (agent, dir) = (world.agent(1_000_000).await, directory());
        let front = Front::before(&world).await;
        let session = ControlClient::connect(config(&front.url, &agent.ic_token, dir.path())).await;
        let session = Arc::new(session.expect("connected"));
        let spenders = (0..4).map(|number| {
            let session = session.clone();
            tokio::spawn(async move {
                let mut spent = Money::ZERO;
                for call in 0..60_i64 {
                    let reservation = session.reserve(micros(900)).await.expect("the server comes back");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    let cost = Money::from_nanos(1_001 * (call + 1) + number);
                    spent = spent.plus(reservation.commit(usage(cost)).charged).expect("in range");
                }
                spent
            })
        });
        let spenders = spenders.collect::<Vec<_>>();
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            world.server.kill().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            world.server.start_again().await;
            front.leads_to(&world);
        }
        let mut spent = Money::ZERO;
        for spender in spenders {
            spent = spent.plus(spender.await.expect("spent")).expect("in range");
        }
        session.close().await.expect("closed");
        agrees(&world, &agent, spent).await;
        assert_eq!(journals(dir.path()), 0);
        verify(&world).await;
    }

    async fn a_freeze_stops_a_runtime_when_its_lease_is_used_up(world: World) {
        let (agent, dir) = (world.agent(100_000).await, directory());
        let session = connect(&world, &agent, dir.path()).await;
        let scope = json!({"kind": "agent", "id": agent.id});
        session.reserve(micros(1_000)).await.expect("reserved").commit(usage(micros(1_000)));
        world.freeze(scope.clone()).await;
        let refused = session.reserve(micros(9_500)).await.expect_err("no more money");
        assert!(matches!(refused, ReserveError::Control(ControlError::Frozen { .. })), "{refused}");
        world.unfreeze(scope).await;
        // The lease is of an older epoch: the client takes a new one by itself
        session.reserve(micros(9_500)).await.expect("reserved").commit(usage(micros(9_500)));
        session.close().await.expect("closed");
        assert_eq!(books(&world, &agent).await, Books::of(100_000, 10_500, 0, 0));
    }

    async fn a_revoked_lease_leaves_the_clients_figure_for_the_operator(world: World) {
        let (agent, dir) = (world.agent(100_000).await, directory());
        let session = connect(&world, &agent, dir.path()).await;
        let reservation = session.reserve(micros(2_000)).await.expect("reserved");
        let lease = reservation.lease_id().to_owned();
        world.revoke(&lease).await;
        reservation.commit(usage(micros(1_200)));
        session.close().await.expect("closed");
        let shown = world.lease(&lease).await;
        assert_eq!((shown.text("state"), shown.int("spent"), shown.int("claimed_spent")), ("revoked", 1_200, 1_200));
        assert_eq!(books(&world, &agent).await, Books::of(100_000, 1_200, 0, 8_800));
    }

    async fn refusals_at_the_start_are_told_apart(world: World) {
        let dir = directory();
        let connect = async |agent: &Agent| {
            let config = config(&world.server.url(), &agent.ic_token, dir.path());
            ControlClient::connect(config).await.expect_err("refused")
        };
        let poor = world.agent(5).await;
        poor.borrow(5).await;
        let error = connect(&poor).await;
        let ControlError::Denied(denied) = error else { panic!("{error}") };
        assert_eq!((denied.total_allocated, denied.budget_remaining), (Some(micros(5)), Some(Money::ZERO)));
        let keyless = world.agent_with(json!({"provider_key_id": null})).await;
        assert!(matches!(connect(&keyless).await, ControlError::NoProviderKey(_)));
        assert!(matches!(connect(&poor.with_ic_token("a.b.c")).await, ControlError::InvalidToken));
        assert_eq!(journals(dir.path()), 0);
    }
}
