//! Login sessions.
//!
//! A login starts a *session*. Each session has a short-lived **access token**, a signed JWT sent with every request,
//! and a long-lived **refresh token**, an opaque random string that is stored only as its hash and is spent when it is
//! exchanged for the next pair (see [`crate::refresh`]). All pairs that descend from one login belong to its session and die with it.
//!
//! The access token says who somebody claims to be and until when. Everything that may change in between (role, whether
//! the user is active, whether the session was ended) is read from the store on each request, so nothing here hands
//! out the role that stands in the token.

use kernel::entropy::{random_base62, random_uuid};
use kernel::{Entropy, Secret, SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::jwt;
use crate::keys::SigningKey;
use crate::role::Role;
use crate::token_hash::TokenHash;

/// Marks an access token among tokens signed with the same key.
pub(crate) const TYP: &str = "access";
const REFRESH_PREFIX: &str = "rt_";
const REFRESH_CHARS: usize = 64;
/// Longer than any token of ours: names have at most 255 characters.
const MAX_ACCESS_BYTES: usize = 4_096;

/// How long tokens live, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of an access token.
    pub access_secs: i64,
    /// Of a refresh token, counted anew with each exchange.
    pub refresh_secs: i64,
}

impl Default for Lifetimes {
    /// 8 hours and 30 days.
    fn default() -> Self {
        Self { access_secs: 28_800, refresh_secs: 2_592_000 }
    }
}

/// Whom a pair of tokens is made for.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The user.
    pub user: &'a UserId,
    /// Their role, for display by clients.
    pub role: Role,
    /// Their e-mail, for display by clients.
    pub email: &'a str,
    /// The session it belongs to.
    pub session: &'a SessionId,
}

/// A new pair of tokens. Shown to its owner and never again.
pub struct TokenPair {
    /// The access token.
    pub access: Secret<String>,
    /// Its end, on a whole second.
    pub access_expires_at: Timestamp,
    /// The refresh token.
    pub refresh: Secret<String>,
    /// What is stored of it.
    pub refresh_hash: TokenHash,
    /// Its end.
    pub refresh_expires_at: Timestamp,
}

#[derive(Serialize)]
struct NewClaims<'a> {
    sub: &'a UserId,
    role: Role,
    email: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
    sid: &'a SessionId,
    typ: &'static str,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    sid: String,
    exp: i64,
    typ: String,
}

/// What a correctly signed access token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whose it is.
    pub user: UserId,
    /// The login it descends from.
    pub session: SessionId,
    /// From this instant on it is no longer taken.
    pub expires_at: Timestamp,
}

/// Why an access token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// It is not an access token of ours.
    #[error("the access token is not valid")]
    Invalid,
    /// It was one.
    #[error("the access token has expired")]
    Expired {
        /// Since when it is not taken.
        at: Timestamp,
    },
}

/// Makes a pair of tokens, at login and at each exchange.
pub fn issue(
    key: &SigningKey,
    subject: Subject<'_>,
    lifetimes: Lifetimes,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> TokenPair {
    let iat = now.secs();
    let exp = iat.saturating_add(lifetimes.access_secs);
    let claims = NewClaims {
        sub: subject.user,
        role: subject.role,
        email: subject.email,
        iat,
        exp,
        // Two tokens of one second must differ
        jti: random_uuid(entropy).to_string(),
        sid: subject.session,
        typ: TYP,
    };
    let refresh = format!("{REFRESH_PREFIX}{}", random_base62(entropy, REFRESH_CHARS));
    TokenPair {
        access: Secret::new(jwt::sign(key, &claims)),
        access_expires_at: Timestamp::from_secs(exp),
        refresh_hash: TokenHash::of(&refresh),
        refresh: Secret::new(refresh),
        refresh_expires_at: now.plus_millis(lifetimes.refresh_secs.saturating_mul(1_000)),
    }
}

/// Reads an access token that is to be taken now. Whether its session has ended and its user is active is for the
/// store to say.
///
/// # Errors
/// If it is not an access token signed with this key, or its end has come (RFC 7519 §4.1.4, without leeway).
pub fn verify(key: &SigningKey, token: &str, now: Timestamp) -> Result<Access, AccessError> {
    let access = verify_signed(key, token).ok_or(AccessError::Invalid)?;
    if now >= access.expires_at { Err(AccessError::Expired { at: access.expires_at }) } else { Ok(access) }
}

/// Reads an access token whether or not it has expired: who logs out with an old one still ends that login.
pub fn verify_signed(key: &SigningKey, token: &str) -> Option<Access> {
    if token.len() > MAX_ACCESS_BYTES {
        return None;
    }
    let claims: Claims = jwt::open(key, token)?;
    (claims.typ == TYP).then(|| Access {
        user: UserId::new(claims.sub),
        session: SessionId::new(claims.sid),
        expires_at: Timestamp::from_secs(claims.exp),
    })
}

#[cfg(test)]
mod tests {
    use kernel::{Secret, SessionId, SystemEntropy, Timestamp, UserId};
    use serde_json::{Value, json};

    use super::{Access, AccessError, Lifetimes, Subject, TokenPair, issue, verify, verify_signed};
    use crate::jwt;
    use crate::keys::SigningKey;
    use crate::role::Role;
    use crate::token_hash::TokenHash;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_250);

    fn key() -> SigningKey {
        SigningKey::new(Secret::new(b"a session key of thirty-two bytes".to_vec())).expect("not empty")
    }

    fn pair() -> TokenPair {
        let (user, session) = (UserId::new("user_admin"), SessionId::new("sess_1"));
        let subject = Subject { user: &user, role: Role::User, email: "a@b.c", session: &session };
        issue(&key(), subject, Lifetimes::default(), NOW, &SystemEntropy)
    }

    #[test]
    fn a_token_says_whose_it_is_and_until_when() {
        let pair = pair();
        let expires_at = Timestamp::from_secs(1_700_028_800);
        let access = Access { user: UserId::new("user_admin"), session: SessionId::new("sess_1"), expires_at };
        assert_eq!(verify(&key(), pair.access.expose(), NOW), Ok(access));
        assert_eq!(pair.access_expires_at, expires_at);
        assert_eq!(pair.refresh_expires_at, NOW.plus_millis(2_592_000_000));
    }

    #[test]
    fn the_claims_are_those_clients_read() {
        let claims: Value = jwt::open(&key(), pair().access.expose()).expect("signed");
        assert!(claims["jti"].as_str().is_some_and(|jti| jti.len() == 36));
        let expected = json!({
            "sub": "user_admin", "role": "user", "email": "a@b.c", "iat": 1_700_000_000, "exp": 1_700_028_800,
            "jti": claims["jti"], "sid": "sess_1", "typ": "access",
        });
        assert_eq!(claims, expected);
    }

    #[test]
    fn the_end_is_exact_and_without_leeway() {
        let pair = pair();
        let at = pair.access_expires_at;
        assert!(verify(&key(), pair.access.expose(), at.plus_millis(-1)).is_ok());
        assert_eq!(verify(&key(), pair.access.expose(), at), Err(AccessError::Expired { at }));
    }

    #[test]
    fn an_expired_token_still_names_its_session() {
        let access = verify_signed(&key(), pair().access.expose());
        assert_eq!(access.map(|access| access.session), Some(SessionId::new("sess_1")));
    }

    #[test]
    fn two_tokens_of_one_second_differ() {
        let [a, b] = [pair(), pair()];
        assert_ne!(a.access.expose(), b.access.expose());
        assert_ne!(a.refresh.expose(), b.refresh.expose());
    }

    #[test]
    fn a_token_without_jti_or_with_more_claims_is_taken() {
        let token =
            jwt::sign(&key(), &json!({"x": [1], "typ": "access", "exp": 4_000_000_000_i64, "sid": "s", "sub": "u"}));
        assert!(verify(&key(), &token, NOW).is_ok());
    }

    #[test]
    fn a_token_that_lacks_what_decides_is_refused() {
        let whole = json!({"sub": "u", "sid": "s", "exp": 4_000_000_000_i64, "typ": "access"});
        for (name, bad) in [("typ", json!("refresh")), ("exp", json!("soon")), ("sub", json!(1)), ("sid", json!(null))]
        {
            let [mut without, mut wrong] = [whole.clone(), whole.clone()];
            without.as_object_mut().map(|claims| claims.remove(name));
            wrong[name] = bad;
            for claims in [without, wrong] {
                let token = jwt::sign(&key(), &claims);
                assert_eq!(verify(&key(), &token, NOW), Err(AccessError::Invalid), "{claims}");
            }
        }
    }

    #[test]
    fn an_oversized_token_is_refused() {
        let claims = json!({"sub": "u".repeat(5_000), "sid": "s", "exp": 4_000_000_000_i64, "typ": "access"});
        assert_eq!(verify(&key(), &jwt::sign(&key(), &claims), NOW), Err(AccessError::Invalid));
    }

    #[test]
    fn a_refresh_token_is_opaque_and_stored_as_its_hash() {
        let pair = pair();
        let token = pair.refresh.expose();
        assert!(token.starts_with("rt_") && token.len() == 67);
        assert_eq!(pair.refresh_hash, TokenHash::of(token));
        assert_eq!(verify(&key(), token, NOW), Err(AccessError::Invalid));
    }
}
