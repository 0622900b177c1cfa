//! The form in which tokens are stored.

use std::fmt;

use sha2::{Digest, Sha256};

/// SHA-256 of a token in lower-case hex, the only trace of it that is stored.
///
/// Tokens carry more than 128 random bits or a signature, so a fast hash without salt keeps them: there is nothing to
/// guess. For the same reason comparing two hashes needs no constant time; what leaks is part of a hash, not of a token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TokenHash(String);

impl TokenHash {
    /// Hashes a token.
    pub fn of(token: &str) -> Self {
        Self(hex::encode(Sha256::digest(token.as_bytes())))
    }

    /// 64 characters of `0-9a-f`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, for the store.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Enough to tell two apart in a test; a full hash in a log could be tried against stolen tokens
        write!(f, "TokenHash({}…)", &self.0[..8])
    }
}

impl PartialEq<str> for TokenHash {
    fn eq(&self, stored: &str) -> bool {
        self.0 == stored
    }
}

#[cfg(test)]
mod tests {
    use super::TokenHash;

    #[test]
    fn the_hash_is_sha256_in_lower_case_hex() {
        // FIPS 180-2, appendix B.1
        let hash = TokenHash::of("abc");
        assert_eq!(&hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(format!("{hash:?}"), "TokenHash(ba7816bf…)");
    }
}
