//! API tokens, and the scopes that narrow them.
//!
//! An API token is `apitok_` and 64 random characters. It acts with the present rights of its owner; scopes can only
//! take away from them.

use std::fmt;

use kernel::entropy::random_base62;
use kernel::validate::is_slug;
use kernel::{Entropy, Secret, Timestamp};

use crate::token_hash::TokenHash;

/// How every API token begins.
pub const PREFIX: &str = "apitok_";
const RANDOM_CHARS: usize = 64;
/// Characters shown of a token, so that its owner can tell which it is. 60 random ones stay hidden.
const SHOWN: usize = PREFIX.len() + 4;

/// A new API token. Shown once.
pub struct NewApiToken {
    /// The token.
    pub token: Secret<String>,
    /// What is stored of it.
    pub hash: TokenHash,
    /// Its first characters, `apitok_` and four more.
    pub token_prefix: String,
}

impl NewApiToken {
    /// Draws a token.
    pub fn random(entropy: &dyn Entropy) -> Self {
        let token = format!("{PREFIX}{}", random_base62(entropy, RANDOM_CHARS));
        Self { hash: TokenHash::of(&token), token_prefix: token[..SHOWN].to_owned(), token: Secret::new(token) }
    }
}

/// Whether the text claims to be an API token, well-formed or not. Decides which kind of credential is looked for.
pub fn looks_like(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// The hash to look a token up by; `None` if no token has this form.
pub fn parse(text: &str) -> Option<TokenHash> {
    let random = text.strip_prefix(PREFIX)?;
    let well_formed = random.len() == RANDOM_CHARS && random.bytes().all(|b| b.is_ascii_alphanumeric());
    well_formed.then(|| TokenHash::of(text))
}

/// What is stored about when a token ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiTokenRecord {
    /// When it was revoked or replaced.
    pub revoked_at: Option<Timestamp>,
    /// From this instant on it is no longer taken.
    pub expires_at: Option<Timestamp>,
}

/// Why an API token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiTokenError {
    /// It was revoked or replaced.
    #[error("the API token has been revoked")]
    Revoked {
        /// Since when it is not taken.
        at: Timestamp,
    },
    /// Its end has come.
    #[error("the API token has expired")]
    Expired {
        /// Since when it is not taken.
        at: Timestamp,
    },
}

impl ApiTokenRecord {
    /// Whether the token may be taken now. Whether its owner is active is another question.
    ///
    /// # Errors
    /// Why not; a revoked token stays revoked also when it has expired.
    pub fn check(&self, now: Timestamp) -> Result<(), ApiTokenError> {
        match (self.revoked_at, self.expires_at) {
            (Some(at), _) => Err(ApiTokenError::Revoked { at }),
            (None, Some(at)) if now >= at => Err(ApiTokenError::Expired { at }),
            _ => Ok(()),
        }
    }
}

/// A part of the rights of an owner: `<read|write>:<resource|*>`.
///
/// The resource is the first part of a path behind `/api/v1/`. `read` is `GET` and `HEAD`, `write` is every method.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    writes: bool,
    /// `None` for `*`.
    resource: Option<String>,
}

impl Scope {
    /// Reads a scope. The resource need not exist: paths are added over time.
    pub fn parse(text: &str) -> Option<Self> {
        let (access, resource) = text.split_once(':')?;
        let writes = match access {
            "read" => false,
            "write" => true,
            _ => return None,
        };
        match resource {
            "*" => Some(Self { writes, resource: None }),
            _ if is_slug(resource) => Some(Self { writes, resource: Some(resource.to_owned()) }),
            _ => None,
        }
    }

    /// Whether a request is within the scope. `resource` is the first part of its path behind `/api/v1/`.
    pub fn covers(&self, method_is_read: bool, resource: &str) -> bool {
        let method = self.writes || method_is_read;
        method && self.resource.as_deref().is_none_or(|own| canonical(own) == canonical(resource))
    }

    /// Whether whatever the other scope covers is within this one.
    pub fn includes(&self, other: &Self) -> bool {
        let resource = match (self.resource.as_deref(), other.resource.as_deref()) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => canonical(own) == canonical(others),
        };
        resource && (self.writes || !other.writes)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = if self.writes { "write" } else { "read" };
        write!(f, "{access}:{}", self.resource.as_deref().unwrap_or("*"))
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a request is within any of a token's scopes. A token without scopes has all rights of its owner.
pub fn covers(scopes: &[Scope], method_is_read: bool, resource: &str) -> bool {
    scopes.is_empty() || scopes.iter().any(|scope| scope.covers(method_is_read, resource))
}

/// Whether a token with the scopes `inner` can do nothing that one with `outer` cannot: what somebody passes on must not be
/// more than what they have.
pub fn includes(outer: &[Scope], inner: &[Scope]) -> bool {
    outer.is_empty() || (!inner.is_empty() && inner.iter().all(|one| outer.iter().any(|scope| scope.includes(one))))
}

/// Some resources have two names; who grants one grants both.
fn canonical(resource: &str) -> &str {
    match resource {
        "api-tokens" => "tokens",
        "budget-requests" => "budget",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use kernel::{SystemEntropy, Timestamp};
    use proptest::prelude::*;

    use super::{ApiTokenError, ApiTokenRecord, NewApiToken, Scope, covers, includes, looks_like, parse};

    fn scope(text: &str) -> Scope {
        Scope::parse(text).expect("a scope")
    }

    #[test]
    fn a_new_token_is_known_by_its_hash_and_its_first_characters() {
        let new = NewApiToken::random(&SystemEntropy);
        let token = new.token.expose();
        assert_eq!(token.len(), 71);
        assert_eq!(parse(token), Some(new.hash));
        assert_eq!(new.token_prefix, token[..11]);
        assert_ne!(NewApiToken::random(&SystemEntropy).token.expose(), token);
    }

    #[test]
    fn what_is_not_formed_like_a_token_is_not_looked_up() {
        let x = "x".repeat(63);
        for bad in [format!("apitok_{x}"), format!("apitok_{x}xx"), format!("apitok_{x}-"), format!("APITOK_{x}x")] {
            assert_eq!(parse(&bad), None, "{bad}");
        }
        assert!(looks_like("apitok_") && !looks_like("eyJ"));
    }

    #[test]
    fn a_token_ends_when_it_is_revoked_or_expires() {
        let [now, later] = [Timestamp::from_secs(10), Timestamp::from_secs(11)];
        let check = |revoked_at, expires_at| ApiTokenRecord { revoked_at, expires_at }.check(now);
        assert_eq!(check(None, None), Ok(()));
        assert_eq!(check(None, Some(later)), Ok(()));
        assert_eq!(check(None, Some(now)), Err(ApiTokenError::Expired { at: now }));
        assert_eq!(check(Some(now), Some(now)), Err(ApiTokenError::Revoked { at: now }));
    }

    #[test]
    fn read_covers_reading_and_write_covers_both() {
        let table = [("read:agents", [true, false]), ("write:agents", [true, true])];
        for (text, expected) in table {
            assert_eq!([true, false].map(|is_read| scope(text).covers(is_read, "agents")), expected, "{text}");
            assert!(!scope(text).covers(true, "users"));
        }
        assert!(scope("read:*").covers(true, "anything") && !scope("read:*").covers(false, "anything"));
        assert!(scope("write:*").covers(false, "anything"));
    }

    #[test]
    fn both_names_of_a_resource_are_one() {
        for (a, b) in [("api-tokens", "tokens"), ("budget-requests", "budget")] {
            assert!(scope(&format!("read:{a}")).covers(true, b));
            assert!(scope(&format!("read:{b}")).covers(true, a));
        }
    }

    #[test]
    fn no_scope_leaves_all_rights_and_several_add_up() {
        assert!(covers(&[], false, "users"));
        let two = [scope("read:agents"), scope("write:tokens")];
        assert!(covers(&two, true, "agents") && covers(&two, false, "tokens"));
        assert!(!covers(&two, false, "agents") && !covers(&two, true, "users"));
    }

    #[test]
    fn what_is_passed_on_is_not_more_than_what_is_had() {
        let list = |texts: &[&str]| texts.iter().map(|text| scope(text)).collect::<Vec<_>>();
        let within = |outer: &[&str], inner: &[&str]| includes(&list(outer), &list(inner));
        assert!(within(&[], &[]) && within(&[], &["write:*"]), "everything includes everything");
        assert!(within(&["write:tokens"], &["read:api-tokens", "write:tokens"]));
        assert!(within(&["read:*", "write:tokens"], &["read:agents", "write:tokens"]));
        assert!(within(&["write:*"], &["read:*"]));
        assert!(!within(&["write:*"], &[]), "no scope is more than any");
        assert!(!within(&["read:tokens"], &["write:tokens"]));
        assert!(!within(&["write:tokens"], &["read:*"]));
        assert!(!within(&["write:tokens"], &["write:tokens", "read:users"]));
    }

    #[test]
    fn what_is_not_a_scope_is_refused() {
        for bad in ["", ":", "read", "read:", "Read:agents", "admin:agents", "*:agents", "read:agents:1", "read:a b"] {
            assert_eq!(Scope::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_scope_is_written_as_it_was_read(text in "(read|write):(\\*|[a-z0-9-]{1,50})") {
            prop_assert_eq!(scope(&text).to_string(), text);
        }

        #[test]
        fn reading_foreign_text_never_panics(text in "\\PC{0,80}") {
            let _ = (Scope::parse(&text), parse(&text), looks_like(&text), crate::bearer::parse(&text));
        }
    }
}
