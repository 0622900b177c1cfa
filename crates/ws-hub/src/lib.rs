//! The live stream: every event, in order, once.
//!
//! Events are numbered without holes in the order of their commits, within an epoch that changes only if the store is
//! restored or replaced. A subscriber that comes back with its [`Cursor`] gets exactly what it missed, or is told of an
//! honest gap.
//!
//! ```text
//!   Log ──tail──▶ Hub: ring of the youngest events ──▶ Subscription ──▶ Session ──▶ Transport
//!    ▲                                                     │ (behind the ring)
//!    └─────────────────────────── pages ──────────────────┘
//! ```
//!
//! | part | its job |
//! |---|---|
//! | [`Log`] | where events come from; a database, or a list in a test |
//! | [`Hub`] | reads the log once for everybody, and only while somebody listens |
//! | [`Event`] | an event with its frame, written once; only `prev` differs between subscribers |
//! | [`Sight`], [`Filter`] | what somebody may see, what somebody asked for |
//! | [`Pass`], [`Passes`] | what a credential lets its holder see, kept up to date while it is used |
//! | [`Subscription`] | a place in the stream that moves on: from the ring, or from the log where the ring does not reach |
//! | [`Session`] | the protocol of one connection: credential, subscription, heartbeats, cut-offs |
//! | [`Transport`] | how frames reach the other side; a WebSocket, a stream of server-sent events, a channel in a test |
//!
//! # Why a ring and places, and not a queue for each subscriber
//! Five thousand subscribers see the same event. With queues it would be put into five thousand of them; here each
//! subscriber is woken and reads on from its place, and what gathered meanwhile goes out in one write. A reader that does
//! not read holds at most [`MAX_WAITING_FRAMES`] references to shared events before it is cut off; nobody waits for it.
//! Replay and live are the same thing, a place and where to read on from it, so there is no seam between them at which an
//! event could be lost or doubled.
//!
//! Nothing here knows HTTP or a database.

mod cursor;
mod event;
mod hub;
mod log;
mod pass;
mod protocol;
mod ring;
mod session;
mod sight;
mod subscription;

#[cfg(test)]
mod tests;

pub use cursor::{BadCursor, Cursor};
pub use event::{Entry, Event, Kind};
pub use hub::{ConnectionSlot, Cut, Hub, HubSettings, HubStats};
pub use log::{Boxed, Log, LogError, Page};
pub use pass::{Check, Pass, Passes, Refusal, Standing};
pub use protocol::{ClientFrame, FrameError, close};
pub use session::{Admission, Gate, Gone, Incoming, Manner, Outgoing, Session, Transport};
pub use sight::{Filter, Sight};
pub use subscription::{Gap, GapReason, MAX_WAITING_BYTES, MAX_WAITING_FRAMES, StartError, Started, Subscription};

/// The longest frame, in either direction.
pub const MAX_FRAME_BYTES: usize = 64 << 10;
