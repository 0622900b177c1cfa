//! The IC token, by which an agent runtime is known.
//!
//! A signed JWT without a fixed end: it is taken as long as its hash is the one stored with its agent. An agent has one
//! at a time, so a new one ends the old one at once. The signature keeps guesses away from the database, the hash
//! decides.

use kernel::entropy::random_uuid;
use kernel::{AgentId, BudgetId, Entropy, Secret, Timestamp};
use serde::{Deserialize, Serialize};

use crate::jwt;
use crate::keys::SigningKey;
use crate::session;
use crate::token_hash::TokenHash;

/// The longest IC token that is looked at, in bytes.
pub const MAX_BYTES: usize = 2_000;
/// Marks an IC token among tokens signed with the same key.
pub const ISSUER: &str = "iron-control-panel";
/// What the token says its bearer may do. Told to clients; the server decides by what is stored.
pub const PERMISSIONS: [&str; 1] = ["llm:call"];

#[derive(Serialize)]
struct NewClaims<'a> {
    agent_id: String,
    budget_id: &'a BudgetId,
    iat: i64,
    jti: String,
    iss: &'static str,
    permissions: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
}

/// Only what decides is read. Tokens of earlier issuers lack `jti` or `permissions`, or have `exp: null`.
#[derive(Deserialize)]
struct Claims {
    agent_id: String,
    iss: String,
    #[serde(default)]
    exp: Option<i64>,
    #[serde(default)]
    typ: Option<String>,
}

/// A new IC token. Shown once.
pub struct NewIcToken {
    /// The token.
    pub token: Secret<String>,
    /// What is stored of it.
    pub hash: TokenHash,
    /// When it was made, on a whole second.
    pub created_at: Timestamp,
    /// Its end, on a whole second.
    pub expires_at: Option<Timestamp>,
}

/// What a correctly signed IC token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcToken {
    /// The agent.
    pub agent: AgentId,
    /// From this instant on it is no longer taken.
    pub expires_at: Option<Timestamp>,
    /// To be compared with the hash stored with the agent.
    pub hash: TokenHash,
}

/// Why an IC token is not taken. Callers of the HTTP surface are told the same in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IcTokenError {
    /// It is not an IC token of ours.
    #[error("the IC token is not valid")]
    Invalid,
    /// It was one.
    #[error("the IC token has expired")]
    Expired {
        /// Since when it is not taken.
        at: Timestamp,
    },
}

/// Makes the token of an agent.
pub fn issue(
    key: &SigningKey,
    agent: AgentId,
    budget: &BudgetId,
    expires_at: Option<Timestamp>,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> NewIcToken {
    let claims = NewClaims {
        agent_id: agent.prefixed(),
        budget_id: budget,
        iat: now.secs(),
        // Two tokens of one second must differ
        jti: random_uuid(entropy).to_string(),
        iss: ISSUER,
        permissions: PERMISSIONS,
        exp: expires_at.map(Timestamp::secs),
    };
    let token = jwt::sign(key, &claims);
    NewIcToken {
        hash: TokenHash::of(&token),
        token: Secret::new(token),
        created_at: Timestamp::from_secs(claims.iat),
        expires_at: claims.exp.map(Timestamp::from_secs),
    }
}

/// Reads an IC token that may be taken now. The caller must still compare [`IcToken::hash`] with the agent's.
///
/// # Errors
/// If it is not an IC token signed with this key, or its end has come.
pub fn verify(key: &SigningKey, token: &str, now: Timestamp) -> Result<IcToken, IcTokenError> {
    let ic_token = verify_signed(key, token).ok_or(IcTokenError::Invalid)?;
    match ic_token.expires_at {
        Some(at) if now >= at => Err(IcTokenError::Expired { at }),
        _ => Ok(ic_token),
    }
}

/// Reads an IC token whether or not it is still taken: it proves that its bearer had the token of that agent once.
pub fn verify_signed(key: &SigningKey, token: &str) -> Option<IcToken> {
    if token.len() > MAX_BYTES || !token.is_ascii() {
        return None;
    }
    let claims: Claims = jwt::open(key, token)?;
    if claims.iss != ISSUER || claims.typ.as_deref() == Some(session::TYP) {
        return None;
    }
    // In paths an agent may be named by its bare number, in a token it may not
    let agent = claims.agent_id.starts_with("agent_").then(|| AgentId::parse(&claims.agent_id)).flatten()?;
    Some(IcToken { agent, expires_at: claims.exp.map(Timestamp::from_secs), hash: TokenHash::of(token) })
}

impl IcToken {
    /// Whether this is the token that the agent has now. `stored` is `None` if it has none.
    pub fn is_current(&self, stored: Option<&str>) -> bool {
        stored.is_some_and(|stored| &self.hash == stored)
    }
}

#[cfg(test)]
mod tests {
    use kernel::{AgentId, BudgetId, Secret, SessionId, SystemEntropy, Timestamp, UserId};
    use serde_json::{Value, json};

    use super::{IcTokenError, NewIcToken, issue, verify, verify_signed};
    use crate::jwt;
    use crate::keys::SigningKey;
    use crate::role::Role;
    use crate::session::{self, AccessError, Lifetimes, Subject};

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_250);

    fn key() -> SigningKey {
        SigningKey::new(Secret::new(b"one key for everything, as some do".to_vec())).expect("not empty")
    }

    fn new(expires_at: Option<Timestamp>) -> NewIcToken {
        issue(&key(), AgentId(12), &BudgetId::new("bud_1"), expires_at, NOW, &SystemEntropy)
    }

    fn signed(claims: &Value) -> Option<AgentId> {
        verify(&key(), &jwt::sign(&key(), claims), NOW).ok().map(|token| token.agent)
    }

    #[test]
    fn a_token_names_its_agent() {
        let new = new(None);
        let read = verify(&key(), new.token.expose(), NOW).expect("valid");
        assert_eq!((read.agent, read.expires_at, &read.hash), (AgentId(12), None, &new.hash));
        assert_eq!(new.created_at, Timestamp::from_secs(1_700_000_000));
    }

    #[test]
    fn the_claims_are_those_runtimes_read() {
        let claims: Value = jwt::open(&key(), new(None).token.expose()).expect("signed");
        let expected = json!({
            "agent_id": "agent_12", "budget_id": "bud_1", "iat": 1_700_000_000, "jti": claims["jti"],
            "iss": "iron-control-panel", "permissions": ["llm:call"],
        });
        assert_eq!(claims, expected);
    }

    #[test]
    fn two_tokens_of_one_second_differ() {
        assert_ne!(new(None).hash, new(None).hash);
    }

    #[test]
    fn the_end_is_exact_and_an_ended_token_still_names_its_agent() {
        let new = new(Some(NOW.plus_millis(60_000)));
        let at = Timestamp::from_secs(1_700_000_060);
        assert_eq!(new.expires_at, Some(at));
        assert!(verify(&key(), new.token.expose(), at.plus_millis(-1)).is_ok());
        assert_eq!(verify(&key(), new.token.expose(), at), Err(IcTokenError::Expired { at }));
        assert_eq!(verify_signed(&key(), new.token.expose()).map(|token| token.agent), Some(AgentId(12)));
    }

    #[test]
    fn only_the_token_the_agent_has_now_is_current() {
        let [old, new] = [new(None), new(None)].map(|new| verify_signed(&key(), new.token.expose()).expect("signed"));
        assert!(new.is_current(Some(new.hash.as_str())));
        assert!(!old.is_current(Some(new.hash.as_str())));
        assert!(!new.is_current(None));
    }

    #[test]
    fn missing_jti_and_permissions_and_a_null_exp_are_tolerated() {
        let bare = json!({"iss": "iron-control-panel", "agent_id": "agent_7"});
        let full =
            json!({"exp": null, "permissions": null, "x": 1, "agent_id": "agent_7", "iss": "iron-control-panel"});
        assert_eq!((signed(&bare), signed(&full)), (Some(AgentId(7)), Some(AgentId(7))));
    }

    #[test]
    fn a_token_of_another_issuer_or_without_an_agent_is_refused() {
        for claims in [
            json!({"agent_id": "agent_7"}),
            json!({"agent_id": "agent_7", "iss": "iron-control-panel "}),
            json!({"agent_id": "agent_7", "iss": ["iron-control-panel"]}),
            json!({"agent_id": "7", "iss": "iron-control-panel"}),
            json!({"agent_id": 7, "iss": "iron-control-panel"}),
            json!({"agent_id": "agent_0", "iss": "iron-control-panel"}),
            json!({"agent_id": "agent_7", "iss": "iron-control-panel", "exp": "never"}),
            json!({"agent_id": "agent_7", "iss": "iron-control-panel", "typ": "access"}),
        ] {
            assert_eq!(signed(&claims), None, "{claims}");
        }
    }

    #[test]
    fn a_token_over_two_thousand_bytes_or_not_ascii_is_refused() {
        let padded = json!({"agent_id": "agent_7", "iss": "iron-control-panel", "pad": "x".repeat(1_500)});
        let token = jwt::sign(&key(), &padded);
        assert!(token.len() > 2_000 && verify_signed(&key(), &token).is_none());
        assert!(verify_signed(&key(), "é.é.é").is_none());
    }

    #[test]
    fn the_kinds_of_token_stay_apart_under_one_key() {
        let (user, session) = (UserId::new("agent_12"), SessionId::new("sess_1"));
        let subject = Subject { user: &user, role: Role::Admin, email: "a@b.c", session: &session };
        let pair = session::issue(&key(), subject, Lifetimes::default(), NOW, &SystemEntropy);
        for token in [pair.access.expose(), pair.refresh.expose()] {
            assert_eq!(verify(&key(), token, NOW), Err(IcTokenError::Invalid));
        }
        assert_eq!(session::verify(&key(), new(None).token.expose(), NOW), Err(AccessError::Invalid));
    }
}
