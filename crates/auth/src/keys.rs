//! The HMAC keys that sign tokens.

use kernel::Secret;

/// A key of HMAC-SHA-256, used as raw bytes. Cannot be printed.
#[derive(Clone)]
pub struct SigningKey(Secret<Vec<u8>>);

/// A signing key without a single byte, with which anybody could sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signing key must not be empty")]
pub struct EmptyKey;

impl SigningKey {
    /// Bytes below which a key is weaker than the hash it is used with (RFC 7518 §3.2).
    pub const SOUND_LEN: usize = 32;

    /// Takes charge of a key.
    ///
    /// # Errors
    /// If it is empty. A short key is taken, since operators have them; see [`SigningKey::is_short`].
    pub fn new(bytes: Secret<Vec<u8>>) -> Result<Self, EmptyKey> {
        if bytes.expose().is_empty() { Err(EmptyKey) } else { Ok(Self(bytes)) }
    }

    /// Whether the key is shorter than [`SigningKey::SOUND_LEN`], which deserves a warning at start.
    pub fn is_short(&self) -> bool {
        self.0.expose().len() < Self::SOUND_LEN
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.expose()
    }
}

/// The keys of one installation. Cannot be printed.
#[derive(Clone)]
pub struct SigningKeys {
    /// Signs access tokens of login sessions.
    pub sessions: SigningKey,
    /// Signs the IC tokens of agents.
    pub ic_tokens: SigningKey,
}

#[cfg(test)]
mod tests {
    use kernel::Secret;

    use super::SigningKey;

    #[test]
    fn an_empty_key_is_refused_and_a_short_one_is_told_apart() {
        assert!(SigningKey::new(Secret::new(Vec::new())).is_err());
        let short = |len| SigningKey::new(Secret::new(vec![1; len])).map(|key| key.is_short());
        assert_eq!((short(31), short(32)), (Ok(true), Ok(false)));
    }
}
