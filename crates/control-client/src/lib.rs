//! What an agent runtime links: a client of the budget protocol that cannot spend more than it was lent.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use control_client::{ClientConfig, ControlClient, Usage};
//! use kernel::{Money, Secret};
//!
//! let ic_token = Secret::new(std::env::var("IC_TOKEN")?);
//! let session = ControlClient::connect(ClientConfig::new("http://127.0.0.1:3001", ic_token, "journal")).await?;
//! // The most this call can cost: journaled on disk before it is made
//! let reservation = session.reserve(Money::from_nanos(40_000_000)).await?;
//! let key = reservation.access().key.clone();
//! // … call the provider with `key` …
//! # let _ = key;
//! reservation.commit(Usage::new("gpt-5", "openai", 1_200, Money::from_nanos(11_500_000)));
//! session.close().await?;
//! # Ok(()) }
//! ```
//!
//! # The guarantee
//!
//! **What is really spent at the provider is at most what the control plane granted**, through crashes, retries and
//! lost reports, provided that every call is covered by a [`Reservation`] of at least its cost. It rests on these rules:
//!
//! 1. *Reserve before the call.* A reservation is taken from what is left of a lease, and its worst case is on disk
//!    (`fsync`) before [`Session::reserve`] returns. What does not fit is refused locally.
//! 2. *An unknown outcome costs the worst case.* A reservation that is dropped, or found open in the journal of a dead
//!    process, is charged in full. Only [`Reservation::cancel`] (the call was certainly never sent) gives it back.
//! 3. *A lease that is given up is never drawn on again.* Before a return or refresh is sent, no reservation is open on
//!    that lease and none can be made; if the answer to a refresh is lost, the old lease stays closed for new calls
//!    until the outcome is known.
//! 4. *Figures only grow.* What is stated as spent never counts an open reservation: the control plane merges
//!    statements by maximum, so a figure stated too high could not be taken back.
//!
//! # Money running low
//!
//! Below [`ClientConfig::refresh_below_percent`] of the lease, the client looks for more: a lease on which no
//! reservation is open is *refreshed* (settled and exchanged in one transaction of the server). A lease with open
//! reservations cannot be: its final figure is not known yet, stating the worst case would overcharge, stating less
//! would free money that is being spent. Then an *additional lease* is taken by handshake, the old one serves what
//! still fits, and it is returned as soon as its last reservation is settled. Both are safe because of rule 3: money
//! is always covered by exactly one open lease.
//!
//! # The journal
//!
//! One append-only file per lease in [`ClientConfig::journal_dir`], one record per line with a checksum, locked by the
//! living process. It is written before the handshake is sent and deleted once the lease is settled, so a directory
//! without journals means that nothing is owed. [`ControlClient::connect`] first recovers what dead processes left:
//! reports what was committed, reports open reservations at their worst case, and returns the lease. Journals are
//! confidential (mode 0600): a lease id is enough to report on the lease. The directory must be on a local file system,
//! where locks and `fsync` mean what they say.
//!
//! # The live stream
//!
//! [`Subscription`] tells what happens to an agent (or, with a user's token, to whatever that user may see) as it happens,
//! and comes back by itself where it was.
//!
//! # What is not here
//!
//! Prices (the runtime knows what a call can cost), the calls to the provider themselves, and analytics events.

mod access;
mod backoff;
mod book;
mod config;
mod error;
mod finish;
mod http;
mod journal;
mod lease;
mod recover;
mod reporter;
mod reservation;
mod session;
mod stream;
mod supply;

pub use access::ProviderAccess;
pub use budget_protocol as protocol;
pub use config::{ClientConfig, RetryPolicy};
pub use error::{ControlError, Denied, ReserveError};
pub use finish::{Ending, LeaseSummary};
pub use http::http_client;
pub use reservation::{Committed, Reservation, Usage};
pub use session::{BudgetStatus, ControlClient, Session};
pub use stream::{StreamConfig, StreamError, StreamEvent, StreamGap, StreamItem, StreamKind, Subscription, What};
