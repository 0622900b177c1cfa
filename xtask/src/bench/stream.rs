//! The live stream: many connections that see every event, and many that come back at once.

mod stalled;

use std::{
    cell::RefCell,
    net::SocketAddr,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::{LocalSet, spawn_local},
    time::{sleep, timeout},
};

use crate::{
    http::Caller,
    process::interrupted,
    server::{Server, create_agent, create_provider_key, log_in, sqlite_url, text},
};

/// Clients that come back at once.
const RETURNING: usize = 1_000;
/// One connection in so many looks at the times in what it gets: looking costs the machine that is measured.
const SAMPLE: usize = 50;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// The live stream: connections that see every event, at several rates, and 1000 that come back at once.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Connections that see everything
    #[arg(long, default_value_t = 5_000)]
    connections: usize,
    /// Reports per second, one measurement after the other
    #[arg(long, value_delimiter = ',', default_values_t = [20, 60, 120])]
    rates: Vec<u32>,
    /// Length of each measurement
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Readers that never read, first that many WebSockets, then that many streams of server-sent events; 0 leaves it out
    #[arg(long, default_value_t = 5)]
    stalled: usize,
    /// Reports per second while they are there
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    stalled_rate: u32,
    /// Where the data goes
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,
}

/// How the stream is measured.
struct Plan {
    connections: usize,
    rates: Vec<u32>,
    time: Duration,
    stalled: usize,
    stalled_rate: u32,
}

/// `cargo xtask bench stream`.
pub(super) fn run(args: &Args) -> Result<()> {
    let (program, dir, runtime) = super::prepare(&args.dir)?;
    let rates = args.rates.iter().copied().filter(|rate| *rate > 0).collect();
    let plan = Plan {
        connections: args.connections.max(1),
        rates,
        time: Duration::from_secs(args.seconds),
        stalled: args.stalled,
        stalled_rate: args.stalled_rate,
    };
    println!("{}", super::machine(dir.path()));
    runtime.block_on(measure(&program, dir.path(), &plan))
}

/// Who makes things happen, and since when the clock runs.
struct Load {
    caller: Caller,
    lease: String,
    start: Instant,
    sent: u64,
}

impl Load {
    /// So many reports a second for as long as is wanted.
    async fn run(&mut self, rate: u32, wanted: impl Fn() -> bool) -> Result<()> {
        let mut due = Instant::now();
        while wanted() && !interrupted() {
            // What is due by now goes in one request, as a runtime would send it
            let mut reports = Vec::new();
            while due <= Instant::now() && reports.len() < 200 {
                self.sent += 1;
                let id = format!("s-{}-{}", self.start.elapsed().as_micros(), self.sent);
                reports.push(json!({
                    "request_id": id, "tokens": 150, "cost_microdollars": 1, "model": "gpt-4o", "provider": "openai",
                }));
                due += Duration::from_secs(1) / rate;
            }
            if reports.is_empty() {
                sleep(due - Instant::now()).await;
                continue;
            }
            let body = json!({"lease_id": self.lease, "reports": reports});
            self.caller.expect("POST", "budget/report/batch", Some(&body)).await?;
        }
        Ok(())
    }
}

/// What all connections have got together.
#[derive(Default)]
struct Got {
    events: u64,
    bytes: u64,
    /// Microseconds from the request that caused an event to its arrival, of the connections that look.
    waits: Vec<u64>,
    /// The last place that the first connection has seen.
    last: i64,
    closed: usize,
}

/// Measures a server of its own.
async fn measure(program: &Path, dir: &Path, plan: &Plan) -> Result<()> {
    let server = Server::start(program, dir, &sqlite_url(dir))?;
    LocalSet::new().run_until(rates_and_returns(&server, plan)).await?;
    server.stop()
}

async fn rates_and_returns(server: &Server, plan: &Plan) -> Result<()> {
    let address = server.address();
    let mut admin = log_in(address).await?;
    let token = admin.token().context("logged in")?.to_owned();
    let key = create_provider_key(&mut admin, "sk-bench-0123456789").await?;
    let agent = create_agent(&mut admin, "bench", key, super::BUDGET).await?;
    let mut caller = Caller::new(address);
    let body = json!({"ic_token": agent.ic_token, "requested_budget": super::LEASE});
    let lease = text(&caller.expect("POST", "budget/handshake", Some(&body)).await?, "lease_id")?;

    let before = server.resident()?;
    let got = Rc::new(RefCell::new(Got::default()));
    let (started, start) = (Instant::now(), Instant::now());
    let slots = Rc::new(Semaphore::new(100));
    let opened = Rc::new(RefCell::new(0_usize));
    for number in 0..plan.connections {
        let (got, slots, opened, token) = (Rc::clone(&got), Rc::clone(&slots), Rc::clone(&opened), token.clone());
        spawn_local(async move {
            let connection = {
                let _slot = slots.acquire().await;
                Connection::open(address, &token, None).await
            };
            let Ok(mut connection) = connection else { return };
            *opened.borrow_mut() += 1;
            while let Ok(frames) = connection.read().await {
                let now = start.elapsed();
                let mut got = got.borrow_mut();
                for frame in &frames {
                    got.take(frame, number, now);
                }
            }
            got.borrow_mut().closed += 1;
        });
    }
    wait("all connections are open", || *opened.borrow() == plan.connections).await?;
    sleep(Duration::from_secs(1)).await;
    let after = server.resident()?;
    println!(
        "{} connections opened in {:.1} s; {:.1} KiB of memory a connection ({:.0} MiB before, {:.0} MiB after)",
        plan.connections,
        started.elapsed().as_secs_f64() - 1.0,
        (after.saturating_sub(before)) as f64 / 1024.0 / plan.connections as f64,
        before as f64 / 1_048_576.0,
        after as f64 / 1_048_576.0,
    );

    println!(
        "{:>10} {:>12} {:>14} {:>9} {:>9} {:>9} {:>8}   request-to-client; the commit is in it",
        "reports/s", "events/s", "deliveries/s", "p50 ms", "p99 ms", "max ms", "cut off"
    );
    let mut load = Load { caller, lease, start, sent: 0 };
    for rate in &plan.rates {
        got.borrow_mut().reset();
        let from = Instant::now();
        load.run(*rate, || from.elapsed() < plan.time).await?;
        // What is on its way
        sleep(Duration::from_secs(2)).await;
        let mut got = got.borrow_mut();
        got.waits.sort_unstable();
        let seconds = plan.time.as_secs_f64();
        println!(
            "{:>10} {:>12.0} {:>14.0} {:>9.1} {:>9.1} {:>9.1} {:>8}",
            rate,
            got.events as f64 / seconds / plan.connections as f64,
            got.events as f64 / seconds,
            got.quantile(0.5),
            got.quantile(0.99),
            got.quantile(1.0),
            got.closed,
        );
    }
    let full = server.resident()?;
    println!(
        "{:.1} KiB of memory a connection after all that; targets: >= 300000 deliveries/s, p99 <= 100 ms at 20 events/s, <= 20 KiB",
        (full.saturating_sub(before)) as f64 / 1024.0 / plan.connections as f64
    );
    if plan.stalled > 0 {
        stalled::measure(address, &token, plan, &mut load, &got).await?;
    }
    come_back(address, &token, &mut load.caller, &load.lease).await
}

/// Everybody comes back at once and wants what was missed.
async fn come_back(address: SocketAddr, token: &str, caller: &mut Caller, lease: &str) -> Result<()> {
    let mut first = Connection::open(address, token, None).await?;
    let since = first.cursor.clone();
    const MISSED: i64 = 200;
    let reports = (0..MISSED).map(|n| {
        json!({"request_id": format!("missed-{n}"), "tokens": 1, "cost_microdollars": 1, "model": "m", "provider": "p"})
    });
    let body = json!({"lease_id": lease, "reports": reports.collect::<Vec<_>>()});
    caller.expect("POST", "budget/report/batch", Some(&body)).await?;
    let mut head = 0;
    let (mut seen, mut quiet) = (0, false);
    while !quiet {
        match timeout(Duration::from_secs(1), first.read()).await {
            Ok(frames) => {
                for place in frames?.iter().filter_map(|frame| place(frame)) {
                    head = place.0;
                    seen += 1;
                }
            }
            Err(_) => quiet = seen >= MISSED,
        }
    }
    let started = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..RETURNING {
        let (token, since) = (token.to_owned(), since.clone());
        running.spawn_local(async move {
            let mut connection = Connection::open(address, &token, Some(&since)).await?;
            let mut last: i64 = since.rsplit(':').next().context("a cursor")?.parse()?;
            while last < head {
                for (seq, prev) in connection.read().await?.iter().filter_map(|frame| place(frame)) {
                    if prev != last {
                        bail!("a hole or a duplicate: {seq} after {prev}, seen {last}");
                    }
                    last = seq;
                }
            }
            Ok(())
        });
    }
    while let Some(client) = timeout(PATIENCE, running.join_next()).await? {
        client??;
    }
    println!(
        "{RETURNING} clients came back with cursors and caught up with {seen} events each in {:.2} s (target <= 2 s), no gap, no duplicate",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn wait(what: &str, done: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > deadline || interrupted() {
            bail!("not within {PATIENCE:?}: {what}");
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

impl Got {
    fn reset(&mut self) {
        (self.events, self.bytes) = (0, 0);
        self.waits.clear();
    }

    fn take(&mut self, frame: &[u8], number: usize, now: Duration) {
        if !is_event(frame) {
            return;
        }
        self.events += 1;
        self.bytes += frame.len() as u64;
        if number.is_multiple_of(SAMPLE)
            && let Some(sent) = number_after(frame, b"\"request_id\":\"s-")
        {
            let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
            self.waits.push(now.saturating_sub(sent.unsigned_abs()));
        }
        if number == 0 {
            self.last = place(frame).map_or(self.last, |place| place.0);
        }
    }

    /// In milliseconds; the waits are sorted.
    fn quantile(&self, share: f64) -> f64 {
        let index = (self.waits.len() as f64 * share).ceil() as usize;
        let wait = self.waits.get(index.clamp(1, self.waits.len().max(1)) - 1);
        wait.copied().unwrap_or_default() as f64 / 1_000.0
    }
}

fn is_event(frame: &[u8]) -> bool {
    [&b"{\"type\":\"AGENT_EVENT\""[..], b"{\"type\":\"STATE_UPDATE\"", b"{\"type\":\"COST_ALERT\""]
        .iter()
        .any(|start| frame.starts_with(start))
}

/// `seq` and `prev` of an event.
fn place(frame: &[u8]) -> Option<(i64, i64)> {
    if !is_event(frame) {
        return None;
    }
    Some((number_after(frame, b"\"seq\":")?, number_after(frame, b"\"prev\":")?))
}

fn number_after(frame: &[u8], key: &[u8]) -> Option<i64> {
    let at = frame.windows(key.len()).position(|window| window == key)? + key.len();
    let digits = frame[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&frame[at..at + digits]).ok()?.parse().ok()
}

/// A WebSocket that is read as fast as can be: whole frames out of one buffer.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Where it stood when it was subscribed.
    cursor: String,
}

impl Connection {
    /// Opens it and waits until it is subscribed, after `since` if that is given.
    async fn open(address: SocketAddr, token: &str, since: Option<&str>) -> Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
        Self::over(stream, address, token, since).await
    }

    /// The same over a connection that is open.
    async fn over(stream: TcpStream, address: SocketAddr, token: &str, since: Option<&str>) -> Result<Self> {
        let mut connection = Self { stream, buffer: Vec::with_capacity(2 << 10), cursor: String::new() };
        let request = format!(
            "GET /ws HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        connection.stream.write_all(request.as_bytes()).await?;
        let head = loop {
            if connection.stream.read_buf(&mut connection.buffer).await? == 0 {
                bail!("refused: {}", String::from_utf8_lossy(&connection.buffer));
            }
            if let Some(end) = connection.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        if !connection.buffer.starts_with(b"HTTP/1.1 101") {
            bail!("refused: {}", String::from_utf8_lossy(&connection.buffer));
        }
        connection.buffer.drain(..head);
        connection.subscribed().await?;
        if let Some(since) = since {
            connection.say(&format!(r#"{{"type":"SUBSCRIBE","since":"{since}"}}"#)).await?;
            connection.subscribed().await?;
        }
        Ok(connection)
    }

    /// Waits for `SUBSCRIBED`; what comes right behind it stays in the buffer.
    async fn subscribed(&mut self) -> Result<()> {
        loop {
            while let Some((start, end)) = frame_in(&self.buffer) {
                let frame = self.buffer[start..end].to_vec();
                self.buffer.drain(..end);
                if frame.starts_with(b"{\"") && frame.windows(12).any(|window| window == b"\"SUBSCRIBED\"") {
                    let frame: serde_json::Value = serde_json::from_slice(&frame)?;
                    self.cursor = text(&frame, "cursor")?;
                    return Ok(());
                }
            }
            if timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await?? == 0 {
                bail!("the connection ended before it was subscribed");
            }
        }
    }

    async fn say(&mut self, text: &str) -> Result<()> {
        // Masked with zeros, which changes nothing
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).context("a short frame")?, 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        Ok(self.stream.write_all(&frame).await?)
    }

    /// The frames that have come; at least one.
    async fn read(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        loop {
            let mut from = 0;
            while let Some((start, end)) = frame_in(&self.buffer[from..]) {
                let (opcode, frame) = (self.buffer[from] & 0x0f, &self.buffer[from + start..from + end]);
                match opcode {
                    1 => frames.push(frame.to_vec()),
                    8 => bail!("closed"),
                    // A ping: any frame is a sign of life
                    9 => {
                        self.stream.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await?;
                    }
                    _ => {}
                }
                from += end;
            }
            self.buffer.drain(..from);
            if !frames.is_empty() {
                return Ok(frames);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("closed");
            }
        }
    }
}

/// Where the payload of the first frame lies, if all of it is there.
fn frame_in(bytes: &[u8]) -> Option<(usize, usize)> {
    let short = usize::from(*bytes.get(1)? & 0x7f);
    let (start, length) = match short {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => return None,
        _ => (2, short),
    };
    (bytes.len() >= start + length).then_some((start, start + length))
}

#[cfg(test)]
mod tests {
    use super::{frame_in, is_event, place};

    #[test]
    fn frames_are_found_once_they_are_whole() {
        assert_eq!(frame_in(&[0x81, 2, b'h', b'i', 0x81]), Some((2, 4)));
        assert_eq!(frame_in(&[0x81, 2, b'h']), None);
        let mut long = vec![0x81, 126, 1, 0];
        long.extend([b'x'; 256]);
        assert_eq!((frame_in(&long), frame_in(&long[..200])), (Some((4, 260)), None));
    }

    #[test]
    fn places_are_read_from_events_only() {
        let event = br#"{"type":"AGENT_EVENT","seq":12,"prev":7,"epoch":"e"}"#;
        assert_eq!((is_event(event), place(event)), (true, Some((12, 7))));
        assert_eq!(place(br#"{"type":"HEARTBEAT","seq":12,"prev":7}"#), None);
    }
}
