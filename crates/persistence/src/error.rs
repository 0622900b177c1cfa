//! What can go wrong between the control plane and its database.

/// What a database's driver complained of; for the log.
pub type DriverError = Box<dyn std::error::Error + Send + Sync>;

/// A failure of the store. None of its texts may reach a client.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is full, locked or shutting down: nothing was written, the caller may try again. Or
    /// its disk failed: then what was written may be lost, and nothing more is taken.
    #[error("the database is unavailable")]
    Unavailable(#[source] DriverError),
    /// A row with this key exists; holds the name of the violated constraint or its columns.
    #[error("a row with the same key exists ({0})")]
    Duplicate(String),
    /// Two transactions waited for each other, or one could not be serialised: nothing was written, try again.
    #[error("the transaction collided with another")]
    Collision,
    /// The database holds, or was asked to hold, something it must not; a defect here or a tampered database.
    #[error("the database contents are not as expected: {0}")]
    Corrupt(String),
    /// Any other complaint of the database; a defect here.
    #[error("the database refused a statement")]
    Refused(#[source] DriverError),
    /// Another server has the embedded database open.
    #[error("the database {0} is in use by another server; the embedded database is opened by exactly one")]
    InUse(String),
    /// The URL is not one the store understands.
    #[error("unusable database URL: {0}")]
    BadUrl(String),
    /// A migration failed, or one that was applied has since been edited.
    #[error("the schema cannot be brought up to date: {0}")]
    Migration(String),
    /// The write pipeline is full: nothing was written, the caller may try again.
    #[error("too many writes are waiting")]
    Overloaded,
    /// The server is shutting down.
    #[error("the store is closing")]
    Closing,
}

impl StoreError {
    /// Whether the same request may succeed a moment later without anybody mending anything.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Collision | Self::Overloaded | Self::Closing)
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(database) = &error else {
            return match error {
                sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::ColumnIndexOutOfBounds { .. }
                | sqlx::Error::Decode(_)
                | sqlx::Error::TypeNotFound { .. } => Self::Corrupt(error.to_string()),
                other => Self::Unavailable(other.into()),
            };
        };
        if database.is_unique_violation() {
            let name = database.constraint().map_or_else(|| database.message().to_owned(), str::to_owned);
            return Self::Duplicate(name);
        }
        match database.code().as_deref() {
            // PostgreSQL: deadlock, serialization failure
            Some("40P01" | "40001") => Self::Collision,
            // PostgreSQL: a standby, to which a failover may leave us connected for a while
            Some("25006") => Self::Unavailable(error.into()),
            // PostgreSQL classes: connection, resources, operator intervention, system error
            Some(code) if code.len() == 5 && ["08", "53", "57", "58"].contains(&&code[..2]) => {
                Self::Unavailable(error.into())
            }
            Some(code) if code.len() < 5 && code.parse().is_ok_and(passes) => Self::Unavailable(error.into()),
            _ => Self::Refused(error.into()),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error().map(|failure| failure.extended_code) {
            Some(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY) => {
                Self::Duplicate(error.to_string())
            }
            Some(code) if passes(code) => Self::Unavailable(error.into()),
            _ => Self::Refused(error.into()),
        }
    }
}

/// Whether a result code of SQLite is about the state of the machine: PERM, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR,
/// FULL, CANTOPEN.
const fn passes(code: i32) -> bool {
    matches!(code & 0xff, 3 | 5..=10 | 13 | 14)
}
