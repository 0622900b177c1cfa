//! The vocabulary of the control plane: what every other crate may name without depending on anything else of ours.
//!
//! | module | holds |
//! |---|---|
//! | [`money`] | [`Money`], integer nano-dollars with checked arithmetic |
//! | [`id`] | one type for every kind of identifier |
//! | [`time`] | [`Timestamp`], [`Clock`]: time arrives as an argument |
//! | [`calendar`] | IANA time zones and budget windows |
//! | [`entropy`] | [`Entropy`]: randomness arrives as an argument |
//! | [`code`] | [`ErrorCode`], the closed list of error codes of the HTTP contract |
//! | [`lease`] | the states of a lease |
//! | [`validate`] | reading untrusted JSON and collecting *every* failing field |
//! | [`secret`] | [`Secret`], a value that cannot be printed or serialised |
//!
//! The kernel knows nothing of HTTP frameworks, databases or async runtimes, and it contains no floating point.

pub mod calendar;
pub mod code;
pub mod entropy;
pub mod id;
pub mod lease;
pub mod money;
pub mod secret;
pub mod time;
pub mod validate;

pub use calendar::{Window, Zone};
pub use code::ErrorCode;
pub use entropy::{Entropy, SystemEntropy};
pub use id::*;
pub use lease::{EndedBy, LeaseState};
pub use money::{Money, MoneyOverflow};
pub use secret::Secret;
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use validate::{FieldErrors, Fields};
