//! Settings: which there are, what they take, who may write them, and whose word counts.
//!
//! Everything about a setting stands in one line of [`table`](mod@table). A *level* (the system, a project, a user) has
//! [`Overrides`]: what somebody has set there. [`Settings`] are the levels that apply to somebody, stacked: the value is the
//! user's, else the project's, else the system's, else the built-in one.
//!
//! Nothing here knows where overrides are stored or who asks.

mod change;
mod kind;
mod stack;
mod table;

pub use change::{Change, Overrides};
pub use stack::Settings;
pub use table::{Audience, KEYS, Key, key};

/// Where a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For the whole installation.
    System,
    /// For a project and its agents.
    Project,
    /// For one user.
    User,
}

impl Level {
    /// A word for it: `system`, `project` or `user`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Project => "project",
            Self::User => "user",
        }
    }
}
