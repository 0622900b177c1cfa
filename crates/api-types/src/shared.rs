//! Words that several bodies use.

use serde::{Deserialize, Serialize};

/// What a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May do everything.
    Admin,
    /// Reads and writes what is theirs.
    User,
    /// Reads what is theirs.
    Viewer,
}

impl Role {
    /// The words of a request.
    pub const WORDS: [(&'static str, Self); 3] =
        [("admin", Self::Admin), ("user", Self::User), ("viewer", Self::Viewer)];
}
