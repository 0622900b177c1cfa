//! IP tokens: a provider key sealed so that only the holder of the agent's IC token can open it.
//!
//! Form: `AES256:{iv}:{ciphertext}:{tag}`, the parts in standard base64 (RFC 4648 §4): safe in a header, opaque to
//! everyone on the way. AES-256-GCM (NIST SP 800-38D) with a random 96-bit iv under a key of its own:
//!
//! ```text
//! key = HKDF-SHA-256 (RFC 5869): ikm = IC token, salt = lease id, info = "iron-cage ip-token v1"
//! aad = len(lease id) ‖ lease id ‖ len(provider) ‖ provider        lengths as 64-bit big-endian
//! ```
//!
//! Each lease has its own key, so the few ivs ever used under one key do not collide. A token moved to another lease,
//! or presented as a key for another provider, does not open.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use kernel::{Entropy, LeaseId, Secret};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The longest token that is made or opened, in characters.
pub const MAX_TOKEN: usize = 4_096;

const SCHEME: &str = "AES256";
const INFO: &[u8] = b"iron-cage ip-token v1";
const IV_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// Why a provider key could not be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The sealed form would be longer than [`MAX_TOKEN`]; keys of up to 500 characters never are.
    #[error("the provider key is too long to be sealed")]
    TooLong,
}

/// Why a token could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not `AES256:{iv}:{ciphertext}:{tag}`.
    #[error("the text is not a sealed provider key")]
    Malformed,
    /// Sealed for another IC token, lease or provider, or changed on the way.
    #[error("the provider key was not sealed for this holder, lease and provider")]
    Refused,
}

/// Seals a provider key for the holder of `ic_token`.
pub fn seal(
    ic_token: &Secret<String>,
    lease_id: &LeaseId,
    provider: &str,
    provider_key: &Secret<String>,
    entropy: &dyn Entropy,
) -> Result<String, SealError> {
    let mut iv = [0; IV_BYTES];
    entropy.fill(&mut iv);
    let mut bytes = Zeroizing::new(provider_key.expose().as_bytes().to_vec());
    let tag = cipher(ic_token, lease_id)
        .encrypt_inout_detached(&Nonce::from(iv), &associated(lease_id, provider), bytes.as_mut_slice().into())
        .map_err(|_| SealError::TooLong)?;
    let token = format!("{SCHEME}:{}:{}:{}", STANDARD.encode(iv), STANDARD.encode(&*bytes), STANDARD.encode(tag));
    if token.len() > MAX_TOKEN { Err(SealError::TooLong) } else { Ok(token) }
}

/// Opens a token with the IC token, lease and provider it was sealed for.
pub fn open(
    ic_token: &Secret<String>,
    lease_id: &LeaseId,
    provider: &str,
    token: &str,
) -> Result<Secret<String>, OpenError> {
    let (iv, mut bytes, tag) = parts(token).ok_or(OpenError::Malformed)?;
    cipher(ic_token, lease_id)
        .decrypt_inout_detached(
            &Nonce::from(iv),
            &associated(lease_id, provider),
            bytes.as_mut_slice().into(),
            &Tag::from(tag),
        )
        .map_err(|_| OpenError::Refused)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| OpenError::Refused)?;
    Ok(Secret::new(text.to_owned()))
}

type Parts = ([u8; IV_BYTES], Zeroizing<Vec<u8>>, [u8; TAG_BYTES]);

fn parts(token: &str) -> Option<Parts> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let mut parts = token.split(':');
    let (scheme, iv, text, tag) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if scheme != SCHEME || parts.next().is_some() {
        return None;
    }
    let decode = |part: &str| STANDARD.decode(part).ok();
    Some((decode(iv)?.try_into().ok()?, Zeroizing::new(decode(text)?), decode(tag)?.try_into().ok()?))
}

fn cipher(ic_token: &Secret<String>, lease_id: &LeaseId) -> Aes256Gcm {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(lease_id.as_str().as_bytes()), ic_token.expose().as_bytes())
        .expand(INFO, &mut *key)
        .expect("32 bytes are within what HKDF-SHA-256 gives");
    Aes256Gcm::new((&*key).into())
}

/// Lengths come first so that no two pairs look alike.
fn associated(lease_id: &LeaseId, provider: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in [lease_id.as_str(), provider] {
        // usize is at most 64 bits on every platform Rust supports
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use kernel::entropy::SeededEntropy;
    use kernel::{LeaseId, Secret};
    use proptest::prelude::*;

    use super::{MAX_TOKEN, OpenError, SealError, open, seal};

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    fn sealed(ic: &str, lease: &str, provider: &str, key: &str) -> String {
        let entropy = SeededEntropy::new(1);
        seal(&secret(ic), &LeaseId::new(lease), provider, &secret(key), &entropy).expect("short enough")
    }

    fn opened(ic: &str, lease: &str, provider: &str, token: &str) -> Result<String, OpenError> {
        open(&secret(ic), &LeaseId::new(lease), provider, token).map(|key| key.expose().clone())
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(ic in ".{1,80}", lease in ".{1,40}", provider in ".{0,20}", key in ".{0,500}") {
            let token = sealed(&ic, &lease, &provider, &key);
            prop_assert!(token.len() <= MAX_TOKEN && token.is_ascii());
            prop_assert_eq!(opened(&ic, &lease, &provider, &token), Ok(key));
        }

        #[test]
        fn any_changed_character_is_noticed(key in "[ -~]{1,60}", at in 0_usize..200, to in "[ -~]") {
            let token = sealed("ic", "lease_1", "openai", &key);
            let mut changed: Vec<char> = token.chars().collect();
            let at = at % changed.len();
            changed[at] = to.chars().next().expect("one character");
            let changed: String = changed.into_iter().collect();
            prop_assume!(changed != token);
            prop_assert!(opened("ic", "lease_1", "openai", &changed).is_err());
        }

        #[test]
        fn any_text_is_opened_or_refused_without_panic(text in "(AES256:)?[A-Za-z0-9+/=:]{0,80}") {
            prop_assert!(opened("ic", "lease_1", "openai", &text).is_err());
        }
    }

    #[test]
    fn another_holder_lease_or_provider_cannot_open_it() {
        let token = sealed("ic", "lease_1", "openai", "sk-1");
        for (ic, lease, provider) in
            [("ID", "lease_1", "openai"), ("ic", "lease_2", "openai"), ("ic", "lease_1", "anthropic")]
        {
            assert_eq!(opened(ic, lease, provider, &token), Err(OpenError::Refused));
        }
        // The same characters divided otherwise between lease and provider
        assert_eq!(opened("ic", "lease_1o", "penai", &token), Err(OpenError::Refused));
    }

    #[test]
    fn swapping_parts_of_two_tokens_is_noticed() {
        let entropy = SeededEntropy::new(2);
        let [a, b] = ["sk-1", "sk-2"]
            .map(|k| seal(&secret("ic"), &LeaseId::new("l"), "p", &secret(k), &entropy).expect("short enough"));
        let (a, b): (Vec<&str>, Vec<&str>) = (a.split(':').collect(), b.split(':').collect());
        for swap in 1..4 {
            let mut mixed = a.clone();
            mixed[swap] = b[swap];
            assert_eq!(opened("ic", "l", "p", &mixed.join(":")), Err(OpenError::Refused), "part {swap}");
        }
    }

    #[test]
    fn other_forms_are_malformed() {
        let token = sealed("ic", "l", "p", "sk-1");
        let truncated = token.get(..token.len() - 8).expect("ASCII");
        let long = format!("AES256:{}", "A".repeat(MAX_TOKEN));
        for bad in ["", "AES256", "AES256:::", "AES128:a:b:c", truncated, &format!("{token}:x"), &long] {
            assert_eq!(opened("ic", "l", "p", bad), Err(OpenError::Malformed), "{bad}");
        }
    }

    #[test]
    fn keys_beyond_the_longest_token_are_refused() {
        let key = secret(&"k".repeat(3_100));
        let result = seal(&secret("ic"), &LeaseId::new("l"), "p", &key, &SeededEntropy::new(1));
        assert_eq!(result, Err(SealError::TooLong));
    }

    #[test]
    fn two_seals_of_one_key_differ() {
        let entropy = SeededEntropy::new(3);
        let one = || seal(&secret("ic"), &LeaseId::new("l"), "p", &secret("sk"), &entropy).expect("short enough");
        assert_ne!(one(), one());
    }
}
