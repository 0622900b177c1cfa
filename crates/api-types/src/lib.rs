//! Bodies of the REST surface: what a client sends and what it gets.
//!
//! Requests read themselves from untrusted JSON ([`kernel::validate::FromFields`]) and name every field that will not do.
//! Responses can be written and read, so that clients share them. With the feature `openapi` both describe themselves.
//! Nothing here knows an HTTP framework or a database.
//!
//! One module for each kind of thing; what several of them share is in [`shared`], [`figures`] and [`paging`].

pub mod agents;
pub mod analytics;
pub mod audit;
pub mod auth;
pub mod budget_requests;
pub mod budgets;
pub mod control;
pub mod events;
mod fields;
pub mod figures;
pub mod limits;
pub mod paging;
pub mod projects;
pub mod providers;
pub mod settings;
pub mod shared;
pub mod traces;
pub mod usage;
pub mod users;
