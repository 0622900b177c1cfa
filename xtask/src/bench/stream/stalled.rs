//! Readers that never read: how long the server puts up with them, what it tells them, and what the others notice.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::{JoinSet, spawn_local},
    time::{sleep, timeout},
};

use super::{Connection, Got, Load, PATIENCE, Plan, frame_in};
use crate::http;

/// Longest wait for readers that do not read to be cut off.
const LIMIT: Duration = Duration::from_secs(180);
/// Bytes that such a reader's own socket may hold, so that it is the server that has to.
const RECEIVE_BUFFER: u32 = 4 << 10;

/// How a stalled reader is connected.
#[derive(Clone, Copy)]
enum Kind {
    WebSocket,
    ServerSent,
}

/// The same load without and with them.
pub(super) async fn measure(
    address: SocketAddr,
    token: &str,
    plan: &Plan,
    load: &mut Load,
    got: &RefCell<Got>,
) -> Result<()> {
    println!(
        "{:<24} {:>9} {:>9} {:>9} {:>8}   at {} reports/s; the figures are the others'",
        "readers that stall", "p50 ms", "p99 ms", "max ms", "cut off", plan.stalled_rate
    );
    got.borrow_mut().reset();
    let from = Instant::now();
    load.run(plan.stalled_rate, || from.elapsed() < plan.time).await?;
    show("none", got, "").await;
    for (kind, name) in [(Kind::WebSocket, "WebSockets"), (Kind::ServerSent, "server-sent events")] {
        let before = cut(address).await?;
        let mut readers = Vec::new();
        for _ in 0..plan.stalled {
            readers.push(open(kind, address, token).await?);
        }
        got.borrow_mut().reset();
        let from = Instant::now();
        let times = Rc::new(RefCell::new(Vec::new()));
        let watching = {
            let (times, most) = (Rc::clone(&times), plan.stalled);
            spawn_local(async move {
                while times.borrow().len() < most {
                    sleep(Duration::from_millis(100)).await;
                    let now = cut(address).await?.saturating_sub(before).min(most);
                    times.borrow_mut().resize(now, from.elapsed());
                }
                anyhow::Ok(())
            })
        };
        let all = || times.borrow().len() == plan.stalled;
        load.run(plan.stalled_rate, || from.elapsed() < LIMIT && !(all() && watching.is_finished())).await?;
        watching.abort();
        // Now they read, while they are still given time to
        let mut reading = JoinSet::new();
        for reader in readers {
            reading.spawn_local(timeout(PATIENCE, last_words(kind, reader)));
        }
        let mut ends = BTreeMap::<String, usize>::new();
        while let Some(end) = reading.join_next().await {
            let end = end?.unwrap_or_else(|_| "goes on".to_owned());
            *ends.entry(end).or_default() += 1;
        }
        let ends = ends.iter().map(|(end, count)| format!("{count} × {end}")).collect::<Vec<_>>().join(", ");
        let end = match (times.borrow().first(), times.borrow().last()) {
            (Some(first), Some(last)) => format!(
                "{} of {} cut off after {:.1} to {:.1} s: {ends}",
                times.borrow().len(),
                plan.stalled,
                first.as_secs_f64(),
                last.as_secs_f64()
            ),
            _ => format!("none was cut off within {LIMIT:?}: {ends}"),
        };
        show(&format!("{} {name}", plan.stalled), got, &end).await;
    }
    Ok(())
}

/// Prints what the others have seen.
async fn show(name: &str, got: &RefCell<Got>, end: &str) {
    // What is on its way
    sleep(Duration::from_secs(1)).await;
    let mut got = got.borrow_mut();
    got.waits.sort_unstable();
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| got.quantile(share));
    println!("{name:<24} {p50:>9.1} {p99:>9.1} {max:>9.1} {:>8}   {end}", got.closed);
}

/// Connections that the server has ended so far, for whatever reason.
async fn cut(address: SocketAddr) -> Result<usize> {
    let mut connection = http::Connection::new(address);
    let answer = connection.exchange(&http::request("GET", "/metrics", None, None)).await?;
    let text = String::from_utf8_lossy(answer.body);
    let lines = text.lines().filter(|line| line.starts_with("stream_cut_total{"));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum())
}

/// A reader that has been let in, and reads nothing from now on.
async fn open(kind: Kind, address: SocketAddr, token: &str) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    let mut stream = timeout(PATIENCE, socket.connect(address)).await??;
    match kind {
        Kind::WebSocket => {
            let connection = Connection::over(stream, address, token, None).await?;
            if !connection.buffer.is_empty() {
                bail!("an event came before the load began");
            }
            Ok(connection.stream)
        }
        Kind::ServerSent => {
            let request = http::request("GET", "/api/v1/events/stream", Some(token), None);
            stream.write_all(&request).await?;
            let mut start = [0; 12];
            stream.read_exact(&mut start).await?;
            if &start != b"HTTP/1.1 200" {
                bail!("refused: {}", String::from_utf8_lossy(&start));
            }
            Ok(stream)
        }
    }
}

/// Reads to the end, and says what that was.
async fn last_words(kind: Kind, mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut close = None;
    let mut chunk = [0; 16 << 10];
    let mut at = 0;
    while close.is_none() {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
        match kind {
            Kind::WebSocket => {
                while let Some((start, end)) = frame_in(&bytes[at..]) {
                    if bytes[at] & 0x0f == 8 && end >= start + 2 {
                        let code = u16::from_be_bytes([bytes[at + start], bytes[at + start + 1]]);
                        close = Some(format!("close {code}"));
                    }
                    at += end;
                }
            }
            Kind::ServerSent if bytes.ends_with(b"\r\n0\r\n\r\n") => close = Some("end".to_owned()),
            Kind::ServerSent => {}
        }
    }
    let tail = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(1_000)..]).into_owned();
    let why = tail.split_once("\"code\":\"").and_then(|(_, rest)| rest.split('"').next());
    format!("{} ({})", close.as_deref().unwrap_or("broken off"), why.unwrap_or("no reason"))
}
