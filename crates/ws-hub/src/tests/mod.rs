//! The stream on in-memory connections, with time that stands still until everybody waits for it.

mod replay;
mod session;
mod world;
