//! The parts of a path.
//!
//! Reading is separate from extraction, so that a caller without rights learns that (401, 403) before learning that an id
//! cannot be one (400 `INVALID_PARAMETER`).

use std::convert::Infallible;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use kernel::validate::checked_text;
use kernel::{AgentId, ProjectId};

use crate::error::ApiError;

/// The named parts of the path, percent-decoded. An extractor that never fails.
#[derive(Debug)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// The text of a part: 1 to `max` characters without control characters.
    pub fn text(&self, name: &str, max: usize) -> Result<&str, ApiError> {
        let text = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let text = text.ok_or_else(|| ApiError::parameter(name, "is not valid"))?;
        let checked = checked_text(text, 1, max).map_err(|why| ApiError::parameter(name, &why))?;
        if checked.trim().is_empty() {
            return Err(ApiError::parameter(name, "must not be blank"));
        }
        Ok(checked)
    }

    /// A positive number, as ids of keys, tokens and limits are.
    pub fn int(&self, name: &str) -> Result<i64, ApiError> {
        let text = self.text(name, 20)?;
        let plain = text.bytes().all(|b| b.is_ascii_digit());
        let number = if plain { text.parse::<i64>().ok().filter(|n| *n > 0) } else { None };
        number.ok_or_else(|| ApiError::parameter(name, "must be a positive number"))
    }

    /// An agent, `12` or `agent_12`.
    pub fn agent_id(&self, name: &str) -> Result<AgentId, ApiError> {
        AgentId::parse(self.text(name, 40)?)
            .ok_or_else(|| ApiError::parameter(name, "must be a number, or agent_<number>"))
    }

    /// A project's id, `[A-Za-z0-9_.-]{1,100}`.
    pub fn project_id(&self, name: &str) -> Result<ProjectId, ApiError> {
        let text = self.text(name, 100)?;
        if ProjectId::is_well_formed(text) {
            Ok(ProjectId::new(text))
        } else {
            Err(ApiError::parameter(name, "must consist of letters, digits, _, . and -"))
        }
    }

    /// A text id (`user_…`, `lease_…`), made into its type: `params.id("id", UserId::new)`.
    pub fn id<T>(&self, name: &str, make: impl FnOnce(String) -> T) -> Result<T, ApiError> {
        self.text(name, 255).map(|text| make(text.to_owned()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let raw = RawPathParams::from_request_parts(parts, state).await;
        // A part that is not UTF-8 when decoded is as good as absent: reading it says so
        Ok(Self(raw.map_or_else(|_| Vec::new(), |raw| raw.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect())))
    }
}

#[cfg(test)]
mod tests {
    use kernel::{AgentId, ErrorCode, UserId};

    use super::Params;

    fn params(value: &str) -> Params {
        Params(vec![("id".into(), value.into())])
    }

    #[test]
    fn agents_are_named_by_number_or_prefixed_number() {
        for good in ["12", "agent_12"] {
            assert_eq!(params(good).agent_id("id").expect("an id"), AgentId(12));
        }
        for bad in ["", "x", "agent_", "-1", "1.5", "0", "99999999999999999999", "1\u{0}"] {
            let error = params(bad).agent_id("id").expect_err(bad);
            assert_eq!(error.code(), ErrorCode::InvalidParameter, "{bad}");
        }
    }

    #[test]
    fn numeric_ids_are_plain_positive_numbers() {
        assert_eq!(params("7").int("id").expect("an id"), 7);
        for bad in ["+7", "0", " 7", "7e1", "9223372036854775808"] {
            assert!(params(bad).int("id").is_err(), "{bad}");
        }
    }

    #[test]
    fn text_ids_are_taken_as_they_are_within_reason() {
        assert_eq!(params("user_admin").id("id", UserId::new).expect("an id"), UserId::new("user_admin"));
        assert!(params(&"x".repeat(256)).id("id", UserId::new).is_err());
        assert!(params("  ").text("id", 10).is_err());
        assert!(params("a/b").project_id("id").is_err());
        assert!(params("a").text("other", 10).is_err());
    }
}
