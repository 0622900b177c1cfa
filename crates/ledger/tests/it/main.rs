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
mod lean;
mod life;
mod model;
mod money;
mod random;
mod range;
mod retries;
mod run;
mod scopes;
mod simulate;
mod states;
mod verbs;
mod verdict;
mod windows;
mod world;
