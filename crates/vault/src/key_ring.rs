//! Key-encryption keys.

use std::collections::BTreeMap;

use aes_gcm::{Aes256Gcm, KeyInit};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use kernel::{Entropy, Secret};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;
const MAX_NAME: usize = 64;
/// Tools differ in whether they write the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key of AES-256 that encrypts other keys. Cannot be printed.
#[derive(Clone)]
pub struct Kek(Secret<[u8; KEY_BYTES]>);

/// What is wrong with a key or a ring. Never quotes a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// The text is not a key.
    #[error("a key-encryption key must be 32 bytes in Base64")]
    NotAKey,
    /// The name of a key is stored with every secret and must be short and plain.
    #[error("a key-encryption key must be named by 1 to 64 characters of A-Z, a-z, 0-9, _, . and -")]
    BadName,
    /// Two keys of one name.
    #[error("two key-encryption keys are named {0}")]
    Duplicate(String),
    /// The active key is not in the ring.
    #[error("there is no key-encryption key named {0}, which is to be the active one")]
    NoActiveKey(String),
}

impl Kek {
    /// Reads a key as operators give it: Base64 of 32 bytes, padded or not, white space around it ignored.
    ///
    /// # Errors
    /// [`KeyRingError::NotAKey`]
    pub fn from_base64(text: &str) -> Result<Self, KeyRingError> {
        let bytes = Zeroizing::new(BASE64.decode(text.trim()).map_err(|_| KeyRingError::NotAKey)?);
        <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map(Self::from_bytes).map_err(|_| KeyRingError::NotAKey)
    }

    /// Takes charge of a key.
    pub const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Secret::new(bytes))
    }

    /// Draws a key.
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        entropy.fill(bytes.as_mut_slice());
        Self::from_bytes(*bytes)
    }

    /// The key in Base64, to be kept where [`Kek::from_base64`] will find it.
    pub fn to_base64(&self) -> Secret<String> {
        Secret::new(BASE64.encode(self.0.expose()))
    }

    /// A name that follows from the key, `kek_` and 16 hex digits. Another key has another name, so a key exchanged by
    /// mistake shows up as an unknown one and not as secrets that cannot be read.
    pub fn fingerprint(&self) -> String {
        let digest =
            Sha256::new().chain_update(b"iron-cage/vault/v1/kek-name").chain_update(self.0.expose()).finalize();
        format!("kek_{}", hex::encode(&digest[..8]))
    }

    pub(crate) fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(self.0.expose().into())
    }
}

/// The keys under which secrets can be opened, and the one under which they are sealed. Cannot be printed.
#[derive(Clone)]
pub struct KeyRing {
    active: String,
    keys: BTreeMap<String, Kek>,
}

impl KeyRing {
    /// A ring of named keys.
    ///
    /// # Errors
    /// If a name is malformed or given twice, or none is that of the active key.
    pub fn new(active: &str, keys: impl IntoIterator<Item = (String, Kek)>) -> Result<Self, KeyRingError> {
        let mut ring = BTreeMap::new();
        for (name, key) in keys {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
            if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(plain) {
                return Err(KeyRingError::BadName);
            }
            if ring.insert(name.clone(), key).is_some() {
                return Err(KeyRingError::Duplicate(name));
            }
        }
        if !ring.contains_key(active) {
            return Err(KeyRingError::NoActiveKey(active.to_owned()));
        }
        Ok(Self { active: active.to_owned(), keys: ring })
    }

    /// A ring of keys named by their fingerprints, so that operators need not invent names. A key given twice counts
    /// once.
    pub fn fingerprinted(active: Kek, older: impl IntoIterator<Item = Kek>) -> Self {
        let name = active.fingerprint();
        let mut keys: BTreeMap<_, _> = older.into_iter().map(|key| (key.fingerprint(), key)).collect();
        keys.insert(name.clone(), active);
        Self { active: name, keys }
    }

    /// Name of the active key.
    pub fn active_name(&self) -> &str {
        &self.active
    }

    /// Names of all keys, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Kek> {
        self.keys.get(name)
    }
}

#[cfg(test)]
mod tests {
    use kernel::SystemEntropy;

    use super::{Kek, KeyRing, KeyRingError};

    fn ring(active: &str, names: &[&str]) -> Result<KeyRing, KeyRingError> {
        KeyRing::new(active, names.iter().map(|name| ((*name).to_owned(), Kek::random(&SystemEntropy))))
    }

    #[test]
    fn a_key_is_32_bytes_in_base64() {
        let key = Kek::random(&SystemEntropy);
        let text = key.to_base64();
        for given in [text.expose().as_str(), text.expose().trim_end_matches('='), &format!(" {}\n", text.expose())] {
            assert_eq!(Kek::from_base64(given).map(|key| key.fingerprint()), Ok(key.fingerprint()));
        }
    }

    #[test]
    fn anything_else_is_refused_without_being_quoted() {
        let bytes_31 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
        let bytes_33 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for bad in ["", "hunter2", bytes_31, bytes_33, "????????????????????????????????????????????"] {
            assert_eq!(Kek::from_base64(bad).map(|_| ()), Err(KeyRingError::NotAKey), "{bad}");
        }
        assert!(!KeyRingError::NotAKey.to_string().contains("hunter2"));
    }

    #[test]
    fn the_active_key_must_be_in_the_ring() {
        assert_eq!(ring("b", &["a"]).map(|_| ()), Err(KeyRingError::NoActiveKey("b".to_owned())));
        assert_eq!(ring("a", &["b", "a"]).map(|ring| ring.active_name().to_owned()), Ok("a".to_owned()));
    }

    #[test]
    fn names_are_plain_and_unique() {
        assert_eq!(ring("a", &["a", "b", "a"]).map(|_| ()), Err(KeyRingError::Duplicate("a".to_owned())));
        for bad in ["", "a b", "ä", &"a".repeat(65)] {
            assert_eq!(ring("a", &["a", bad]).map(|_| ()), Err(KeyRingError::BadName), "{bad}");
        }
    }

    #[test]
    fn a_fingerprint_is_stable_and_differs_between_keys() {
        assert_eq!(Kek::from_bytes([7; 32]).fingerprint(), "kek_86e5521911ecc393");
        assert_ne!(Kek::from_bytes([7; 32]).fingerprint(), Kek::from_bytes([8; 32]).fingerprint());
    }

    #[test]
    fn a_key_given_twice_counts_once() {
        let [a, b] = [1, 2].map(|byte| Kek::from_bytes([byte; 32]));
        let ring = KeyRing::fingerprinted(a.clone(), [b, a.clone()]);
        assert_eq!((ring.names().count(), ring.active_name()), (2, a.fingerprint().as_str()));
    }
}
