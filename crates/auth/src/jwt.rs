//! JSON Web Tokens (RFC 7519), HS256 and nothing else. The only module that knows which library does it.

use std::collections::HashSet;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::keys::SigningKey;

/// Signs claims.
pub(crate) fn sign<C: Serialize>(key: &SigningKey, claims: &C) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(key.bytes()))
        .expect("claims of strings and integers can be written, and HMAC takes keys of any length")
}

/// The claims of a token that this key has signed. Says nothing about time: the caller has the clock.
///
/// Unknown claims are ignored and the order of keys does not matter. Whatever is wrong, the answer is `None`: why a
/// token does not verify is nobody's business.
pub(crate) fn open<C: DeserializeOwned>(key: &SigningKey, token: &str) -> Option<C> {
    let mut validation = Validation::new(Algorithm::HS256);
    // The library would ask the system clock, and grant a minute on top
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims = HashSet::new();
    jsonwebtoken::decode(token, &DecodingKey::from_secret(key.bytes()), &validation).ok().map(|data| data.claims)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use kernel::Secret;
    use serde_json::{Value, json};

    use super::{open, sign};
    use crate::keys::SigningKey;

    fn key(byte: u8) -> SigningKey {
        SigningKey::new(Secret::new(vec![byte; 32])).expect("not empty")
    }

    /// Signs a header and claims written by hand.
    fn raw(header: &str, claims: &str, key: &SigningKey) -> String {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as B64};
        let message = format!("{}.{}", B64.encode(header), B64.encode(claims));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_secret(key.bytes()), Algorithm::HS256);
        format!("{message}.{}", signature.expect("signed"))
    }

    #[test]
    fn only_the_signing_key_opens_a_token() {
        let token = sign(&key(1), &json!({"a": 1}));
        assert_eq!(open::<Value>(&key(1), &token), Some(json!({"a": 1})));
        assert_eq!(open::<Value>(&key(2), &token), None);
    }

    #[test]
    fn no_algorithm_but_hs256_is_taken() {
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let key_bytes = EncodingKey::from_secret(key(1).bytes());
            let token = jsonwebtoken::encode(&Header::new(algorithm), &json!({"a": 1}), &key_bytes).expect("signed");
            assert_eq!(open::<Value>(&key(1), &token), None, "{algorithm:?}");
        }
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"NONE"}"#, r#"{"alg":"RS256"}"#, r#"{"typ":"JWT"}"#] {
            let token = raw(header, "{}", &key(1));
            let unsigned = token.rsplit_once('.').map(|(message, _)| format!("{message}."));
            assert_eq!(open::<Value>(&key(1), &token), None, "{header}");
            assert_eq!(open::<Value>(&key(1), &unsigned.unwrap_or_default()), None, "{header} without signature");
        }
    }

    #[test]
    fn order_of_header_and_claims_does_not_matter() {
        for header in [r#"{"typ":"JWT","alg":"HS256"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"HS256","kid":"x"}"#] {
            assert!(
                open::<Value>(&key(1), &raw(header, r#"{"z":1,"aud":"any","a":2}"#, &key(1))).is_some(),
                "{header}"
            );
        }
    }

    #[test]
    fn every_changed_character_breaks_the_token() {
        let token = sign(&key(1), &json!({"sub": "user_1"}));
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(open::<Value>(&key(1), &changed), None, "at {at}");
        }
    }

    #[test]
    fn rubbish_is_refused_quietly() {
        for rubbish in ["", ".", "..", "...", "a.b.c", "é.é.é", "Bearer x", "eyJhbGciOiJIUzI1NiJ9..", "\0"] {
            assert_eq!(open::<Value>(&key(1), rubbish), None, "{rubbish:?}");
        }
    }
}
