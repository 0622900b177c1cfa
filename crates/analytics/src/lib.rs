//! Questions about spending: which time they are about, into which stretches it falls, and from what they are answered.
//!
//! Days and months are the caller's, in an IANA zone; what is stored is cut along UTC. A question names a range of time
//! and perhaps a size of bucket ([`buckets`](mod@buckets)); each bucket is put together from as few stored sums as will do
//! ([`pieces`](mod@pieces)), so that an answer costs as much as it has buckets and groups, whatever the number of facts.

pub mod buckets;
mod measures;
mod period;
pub mod pieces;
mod sketch;
mod status;

pub use buckets::{Bucket, BucketSize, buckets};
pub use measures::{Dimension, Measures};
pub use period::Period;
pub use pieces::{Folded, Level, Piece, QUARTER_MS, Sign, additive_pieces, pieces};
pub use sketch::{Sketch, UnreadableSketch};
pub use status::CallStatus;
