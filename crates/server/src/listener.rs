//! The listening socket: accepting connections, serving requests on them, and ending well.
//!
//! The loop is ours rather than the framework's for what a server in the open needs: a bound on connections, a time limit
//! for the head of a request, and an end that waits, but not for ever.

mod impatient;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use http_api::App;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::config::server::ServerConfig;
use impatient::Impatient;

/// How long a client may take nothing of what it is sent. Longer than the live stream's own patience with its readers,
/// which tells them why before it ends.
const WRITE_STALL: Duration = Duration::from_secs(45);

/// Limits of the socket.
#[derive(Clone, Copy, Debug)]
struct Limits {
    connections: usize,
    header_timeout: Duration,
    drain: Duration,
}

/// A socket that is bound and not yet served.
pub(crate) struct Listener {
    socket: TcpListener,
    limits: Limits,
}

impl Listener {
    pub(crate) async fn bind(config: &ServerConfig) -> io::Result<Self> {
        let limits = Limits {
            connections: usize::try_from(config.max_connections).unwrap_or(Semaphore::MAX_PERMITS),
            header_timeout: Duration::from_secs(config.header_timeout_s.into()),
            drain: Duration::from_secs(config.drain_timeout_s.into()),
        };
        Ok(Self { socket: TcpListener::bind(config.listen()).await?, limits })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop` is ready, then lets the requests under way finish for as long as was configured.
    pub(crate) async fn serve(self, app: App, stop: impl Future<Output = ()>) {
        let Self { socket, limits } = self;
        let permits = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
        let (stopping, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                // Finished ones are taken out as they finish
                Some(_) = connections.join_next() => continue,
                accepted = accept(&socket, &permits) => accepted,
            };
            let (stream, peer, permit) = accepted;
            let connection = connection(stream, peer, app.clone(), limits.header_timeout, stopped.clone());
            connections.spawn(async move {
                connection.await;
                drop(permit);
            });
        }
        drop(socket);
        tracing::info!(connections = connections.len(), "no longer accepting connections");
        // Receivers are held by the connections
        let _ = stopping.send(true);
        let drained = tokio::time::timeout(limits.drain, async { while connections.join_next().await.is_some() {} });
        if drained.await.is_err() {
            tracing::warn!(connections = connections.len(), "cutting connections that did not finish in time");
            connections.shutdown().await;
        }
    }
}

/// The next connection, once there is room for it.
async fn accept(
    socket: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<tokio::sync::OwnedSemaphorePermit>) {
    // The semaphore is never closed
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                // Out of file descriptors or memory: connections that end make room
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The connection was gone before it was taken.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: App,
    header_timeout: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    // Small answers are sent at once; where that cannot be set they are a little late
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let app = app.clone();
        async move {
            let request = request.map(|body| if body.is_end_stream() { Body::empty() } else { Body::new(body) });
            Ok::<_, Infallible>(app.handle(request, peer.ip()).await)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(Impatient::new(stream, WRITE_STALL)), service)
        .with_upgrades();
    let mut served = pin!(served);
    let told_to_stop = async {
        // An error means that the sender is gone, which only happens at the end, too
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = told_to_stop => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended badly");
    }
}
