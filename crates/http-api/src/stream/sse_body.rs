//! Server-sent events as the hub sees them: a response body that is written while it is sent.
//!
//! The session writes into a slot, the connection takes what is in it when it has room; a slot that is not emptied is a
//! reader that does not read.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use axum::body::HttpBody;
use bytes::Bytes;
use http_body::Frame;
use ws_hub::{Cursor, Gone, Incoming, Outgoing, Transport};

/// Milliseconds after which clients come back.
const RETRY_MS: u32 = 1_000;

#[derive(Default)]
struct Slot {
    text: String,
    /// Nothing more will be written.
    ended: bool,
    /// Nobody reads any more.
    gone: bool,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

type Shared = Arc<Mutex<Slot>>;

fn lock(slot: &Shared) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writing end.
pub(super) struct Writer(Shared);

/// The body of the response.
pub(super) struct Reader(Shared);

/// Both ends of a stream that begins at `cursor`.
pub(super) fn channel(cursor: &Cursor) -> (Writer, Reader) {
    let slot = Slot { text: format!("retry: {RETRY_MS}\nid: {cursor}\n\n"), ..Slot::default() };
    let slot = Arc::new(Mutex::new(slot));
    (Writer(Arc::clone(&slot)), Reader(slot))
}

impl Transport for Writer {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        let mut slot = lock(&self.0);
        if slot.gone {
            return Poll::Ready(Incoming::End);
        }
        slot.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn send(&mut self, frame: Outgoing) -> Result<(), Gone> {
        let mut slot = lock(&self.0);
        if slot.gone {
            return Err(Gone);
        }
        let text = &mut slot.text;
        // Writing to a string does not fail
        let _ = match &frame {
            Outgoing::Event { event, frame, epoch } => {
                let _ = writeln!(text, "id: {epoch}:{}", event.seq());
                write_event(text, event.kind().as_str(), frame)
            }
            Outgoing::Notice { kind, frame, cursor } => {
                if let Some(cursor) = cursor {
                    let _ = writeln!(text, "id: {cursor}");
                }
                write_event(text, kind, frame)
            }
            // A place without data is remembered and makes no event
            Outgoing::Heartbeat { cursor: Some(cursor), .. } => write!(text, ": heartbeat\nid: {cursor}\n\n"),
            Outgoing::Heartbeat { cursor: None, .. } => text.write_str(": heartbeat\n\n"),
            Outgoing::Ping => Ok(()),
            Outgoing::Close { .. } => {
                slot.ended = true;
                Ok(())
            }
        };
        if let Some(reader) = slot.reader.take() {
            reader.wake();
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut slot = lock(&self.0);
        if slot.gone {
            return Poll::Ready(Err(Gone));
        }
        if slot.text.is_empty() {
            return Poll::Ready(Ok(()));
        }
        slot.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn write_event(text: &mut String, kind: &str, frame: &Bytes) -> std::fmt::Result {
    // Frames are UTF-8
    let frame = std::str::from_utf8(frame).unwrap_or("{}");
    write!(text, "event: {kind}\ndata: {frame}\n\n")
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut slot = lock(&self.0);
        slot.ended = true;
        if let Some(reader) = slot.reader.take() {
            reader.wake();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut slot = lock(&self.0);
        slot.gone = true;
        if let Some(writer) = slot.writer.take() {
            writer.wake();
        }
    }
}

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut slot = lock(&self.0);
        if !slot.text.is_empty() {
            let text = std::mem::take(&mut slot.text);
            if let Some(writer) = slot.writer.take() {
                writer.wake();
            }
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))));
        }
        if slot.ended {
            return Poll::Ready(None);
        }
        slot.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}
