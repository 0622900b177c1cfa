//! A connection that is given up when its client stops taking what it is sent.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream whose writes fail with `TimedOut` once it has taken nothing for as long as `patience`.
///
/// Whoever writes a response waits for room without a limit of its own: a client that does not read would hold its
/// connection, and what is buffered for it, for as long as it likes.
pub(super) struct Impatient<S> {
    stream: S,
    patience: Duration,
    /// Runs while a write waits; most connections never have one.
    limit: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, limit: None }
    }

    /// What a write came to, unless it has waited for too long.
    fn bounded<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.limit = None;
            return written;
        }
        let patience = self.patience;
        ready!(self.limit.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of what it is sent")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.bounded(written, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, parts);
        this.bounded(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io::ErrorKind;
    use std::time::Duration;

    use axum::body::Body;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::{Instant, sleep};

    use super::Impatient;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_a_little_now_and_then_is_waited_for() {
        let (near, mut far) = duplex(8);
        let writing = tokio::spawn(async move { Impatient::new(near, PATIENCE).write_all(&[7; 64]).await });
        let mut taken = [0; 8];
        for _ in 0..8 {
            sleep(PATIENCE - Duration::from_secs(1)).await;
            far.read_exact(&mut taken).await.expect("it goes on");
        }
        writing.await.expect("it ends").expect("all of it was taken");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_given_up() {
        let (near, _far) = duplex(8);
        let started = Instant::now();
        let error = Impatient::new(near, PATIENCE).write_all(&[7; 64]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!((PATIENCE..PATIENCE + Duration::from_secs(1)).contains(&started.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_has_nothing_to_take_is_left_alone() {
        let (near, mut far) = duplex(8);
        let mut near = Impatient::new(near, PATIENCE);
        near.write_all(&[7; 8]).await.expect("there is room");
        sleep(PATIENCE * 10).await;
        far.read_exact(&mut [0; 8]).await.expect("still there");
        near.write_all(&[7; 8]).await.expect("still good");
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_nobody_reads_ends_its_connection() {
        let (near, mut far) = duplex(256);
        let service =
            service_fn(async |_: Request<_>| Ok::<_, Infallible>(Response::new(Body::from(vec![b'x'; 1 << 20]))));
        let served = http1::Builder::new().serve_connection(TokioIo::new(Impatient::new(near, PATIENCE)), service);
        far.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("there is room");
        let error = served.await.expect_err("not read to its end");
        assert!(format!("{error:?}").contains("TimedOut"), "{error:?}");
        // What was in the pipe, and then nothing
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.expect("closed");
        assert!(rest.len() <= 256);
    }
}
