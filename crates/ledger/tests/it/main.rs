//! The tests of the ledger, one binary.
//!
//! * scenarios, one behaviour each: [`states`], [`money`], [`scopes`], [`windows`], [`life`], [`retries`], [`range`],
//!   [`chain`];
//! * properties over generated input: [`facts`] and [`histories`];
//! * [`simulate`]: seeded random histories run against [`model`], a second, naive implementation of the same rules.

mod chain;
mod facts;
mod histories;
mod history;
mod life;
mod model;
mod money;
mod random;
mod range;
mod retries;
mod scopes;
mod simulate;
mod states;
mod windows;
mod world;
