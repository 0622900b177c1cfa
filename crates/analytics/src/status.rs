//! How an LLM request ended.

/// How an LLM request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallStatus {
    /// With an answer.
    Completed,
    /// Without one; it may have cost something all the same.
    Failed,
}

impl CallStatus {
    /// The name in the contract: `completed` or `failed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// Reads the name of the contract.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Completed, Self::Failed].into_iter().find(|s| s.as_str() == text)
    }

    /// The type of the event that tells of it: `llm_request_completed` or `llm_request_failed`.
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::Completed => "llm_request_completed",
            Self::Failed => "llm_request_failed",
        }
    }

    /// Reads the type of an event.
    pub fn of_event_type(text: &str) -> Option<Self> {
        [Self::Completed, Self::Failed].into_iter().find(|s| s.event_type() == text)
    }
}
