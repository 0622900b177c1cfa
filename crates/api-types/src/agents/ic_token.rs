//! The IC token, by which an agent's runtime is known.

use kernel::AgentId;
use kernel::validate::{Fields, FromFields};
use serde::{Deserialize, Serialize};

/// How a token is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssueIcToken {
    /// After how many days it ends; never unless given.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 3650))]
    pub expires_in_days: Option<i64>,
}

impl FromFields for IssueIcToken {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        Some(Self { expires_in_days: f.optional_int("expires_in_days", 1, 3_650) })
    }
}

/// A new token. Shown once.
// No `Debug`: it must not reach a log.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssuedIcToken {
    /// The agent.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub agent_id: AgentId,
    /// The token.
    pub ic_token: String,
    /// Seconds since the epoch.
    pub created_at: i64,
    /// When it ends, seconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub expires_at: Option<i64>,
    /// What to do with it.
    pub warning: String,
}

/// A new token in place of the one the agent had, if it had one.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegeneratedIcToken {
    /// The token.
    #[serde(flatten)]
    pub issued: IssuedIcToken,
    /// Whether there was an old one, which is refused from now on.
    pub old_token_invalidated: bool,
}

/// What is known of an agent's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IcTokenInfo {
    /// The agent.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub agent_id: AgentId,
    /// Whether it has one.
    pub has_ic_token: bool,
    /// When it was made, seconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub created_at: Option<i64>,
    /// When it ends, seconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub expires_at: Option<i64>,
    /// The agent's last sign of life with it, milliseconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub last_used_at: Option<i64>,
}

#[cfg(test)]
mod tests {
    use kernel::AgentId;
    use kernel::validate::read;
    use serde_json::json;

    use super::{IssueIcToken, IssuedIcToken, RegeneratedIcToken};

    #[test]
    fn a_token_lasts_for_good_or_for_one_to_3650_days() {
        let days = |body| read::<IssueIcToken>(&body).map(|request| request.expires_in_days);
        assert_eq!((days(json!({})), days(json!({"expires_in_days": 3_650}))), (Ok(None), Ok(Some(3_650))));
        for bad in [json!(0), json!(3_651), json!(1.5), json!("7")] {
            assert!(days(json!({"expires_in_days": bad})).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_regenerated_token_is_written_flat() {
        let issued = IssuedIcToken {
            agent_id: AgentId(1),
            ic_token: "t".to_owned(),
            created_at: 2,
            expires_at: None,
            warning: "w".to_owned(),
        };
        let written = serde_json::to_value(RegeneratedIcToken { issued, old_token_invalidated: true });
        let expected = json!({"agent_id": 1, "ic_token": "t", "created_at": 2, "expires_at": null, "warning": "w",
            "old_token_invalidated": true});
        assert_eq!(written.ok(), Some(expected));
    }
}
