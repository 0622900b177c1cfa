//! The server as a process would run it, but in this one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kernel::{Entropy, ManualClock, SystemEntropy, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::{Deps, Server};

struct Running {
    address: SocketAddr,
    directory: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl Running {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut random = [0; 8];
        SystemEntropy.fill(&mut random);
        let directory = std::env::temp_dir().join(format!("control-plane-{:016x}", u64::from_be_bytes(random)));
        let mut config = Config { data_dir: directory.clone(), ..Config::default() };
        config.server.port = 0;
        change(&mut config);
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let deps = Deps { clock, entropy: Arc::new(SystemEntropy) };
        let server = Server::build(&config, deps).await.expect("a server");
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(server.serve(async {
            let _ = stopped.await;
        }));
        Self { address, directory, stop: Some(stop), served }
    }

    async fn stop(mut self) -> Duration {
        let started = tokio::time::Instant::now();
        let _ = self.stop.take().map(|stop| stop.send(()));
        (&mut self.served).await.expect("ended well");
        started.elapsed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Sends text and reads to the end of the connection.
async fn exchange(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

#[tokio::test]
async fn a_server_answers_with_the_time_it_was_given() {
    let server = Running::start(|_| {}).await;
    let answer = exchange(server.address, "GET /api/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("\"timestamp\":1700000000"), "{answer}");
    assert!(answer.contains("x-request-id: req_"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_in_words_while_the_client_still_sends() {
    let server = Running::start(|_| {}).await;
    let body = "x".repeat(3 << 20);
    for path in ["/livez", "/nowhere"] {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        let answer = exchange(server.address, &(head + &body)).await;
        assert!(answer.contains("\"request_id\":\"req_"), "{path}: {answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_does_not_end_costs_its_sender_the_connection() {
    let server = Running::start(|config| config.server.header_timeout_s = 1).await;
    let answer = tokio::time::timeout(Duration::from_secs(10), exchange(server.address, "GET / HTTP/1.1\r\nho")).await;
    assert!(answer.expect("closed in time").is_empty());
    server.stop().await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_idle_connections_nor_for_ever_for_busy_ones() {
    let server = Running::start(|config| config.server.drain_timeout_s = 1).await;
    let mut idle = TcpStream::connect(server.address).await.expect("connected");
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.expect("answered");
    // A body that never comes keeps this one busy
    let mut busy = TcpStream::connect(server.address).await.expect("connected");
    busy.write_all(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n").await.expect("sent");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let took = server.stop().await;
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[tokio::test]
async fn more_connections_than_allowed_wait_their_turn() {
    let server = Running::start(|config| config.server.max_connections = 1).await;
    let first = TcpStream::connect(server.address).await.expect("connected");
    let request = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let waiting = tokio::spawn(exchange(server.address, request));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    drop(first);
    assert!(waiting.await.expect("answered").contains("200 OK"));
    server.stop().await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let server = Running::start(|_| {}).await;
    let config = Config { data_dir: server.directory.join("other"), ..Config::default() };
    let config = Config {
        server: crate::config::server::ServerConfig { port: server.address.port(), ..config.server },
        ..config
    };
    let error = Server::build(&config, Deps::default()).await.err().expect("refused");
    assert!(error.to_string().contains(&server.address.to_string()), "{error}");
    server.stop().await;
}
