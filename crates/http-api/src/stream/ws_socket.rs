//! A WebSocket as the hub sees it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use bytes::Bytes;
use futures_util::{Sink, Stream};
use ws_hub::{Gone, Incoming, MAX_FRAME_BYTES, Outgoing, Transport};

/// Bytes that are read at a time: clients say little.
const READ_BUFFER: usize = 2 << 10;
/// Bytes from which on frames are written without waiting for more.
const WRITE_BUFFER: usize = 8 << 10;
/// Up to this length a frame that is too long is read, and refused politely.
const MAX_READ: usize = 2 * MAX_FRAME_BYTES;

/// Buffers fit for thousands of connections that hear much and say little.
pub(super) fn lean(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(MAX_READ)
        .max_frame_size(MAX_READ)
}

pub(super) struct Socket(pub(super) WebSocket);

impl Transport for Socket {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        Pin::new(&mut self.0).poll_next(cx).map(|message| match message {
            Some(Ok(Message::Text(text))) if text.len() > MAX_FRAME_BYTES => Incoming::TooLong,
            Some(Ok(Message::Text(text))) => Incoming::Text(text.as_str().to_owned()),
            Some(Ok(Message::Binary(_))) => Incoming::Strange("frames are text"),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Incoming::Life,
            Some(Err(error)) if is_too_long(&error) => Incoming::TooLong,
            Some(Ok(Message::Close(_)) | Err(_)) | None => Incoming::End,
        })
    }

    fn send(&mut self, frame: Outgoing) -> Result<(), Gone> {
        let message = match frame {
            Outgoing::Event { frame, .. } | Outgoing::Heartbeat { frame, .. } | Outgoing::Notice { frame, .. } => {
                Message::Text(Utf8Bytes::try_from(frame).map_err(|_| Gone)?)
            }
            Outgoing::Ping => Message::Ping(Bytes::new()),
            Outgoing::Close { code, reason } => {
                Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }))
            }
        };
        // Buffered, whether or not the socket takes it now
        Pin::new(&mut self.0).start_send(message).map_err(|_| Gone)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        Pin::new(&mut self.0).poll_flush(cx).map_err(|_| Gone)
    }
}

/// The library's type of this error is not within reach, its text is.
fn is_too_long(error: &axum::Error) -> bool {
    error.to_string().contains("too long")
}
