//! Randomness as an argument.

use std::sync::Mutex;

use uuid::Uuid;

/// A source of cryptographically secure random bytes.
pub trait Entropy: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, bytes: &mut [u8]);
}

/// The random source of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the operating system")]
    fn fill(&self, bytes: &mut [u8]) {
        // A machine without randomness must not hand out predictable keys: stop rather than go on
        getrandom::fill(bytes).expect("the operating system's random source works");
    }
}

/// A repeatable source for tests (SplitMix64). Never for secrets.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    /// The same seed gives the same bytes.
    pub const fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let word = (z ^ (z >> 31)).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// A random (version 4) UUID.
pub fn random_uuid(entropy: &dyn Entropy) -> Uuid {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// `length` characters drawn evenly from `0-9A-Za-z`, about 5.95 bits each.
pub fn random_base62(entropy: &dyn Entropy, length: usize) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        entropy.fill(&mut bytes);
        // 248 = 4 × 62: bytes above it would favour the first characters
        let even = bytes.iter().filter(|b| **b < 248).map(|b| char::from(ALPHABET[usize::from(*b) % 62]));
        text.extend(even.take(length - text.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{SeededEntropy, SystemEntropy, random_base62, random_uuid};

    #[test]
    fn tokens_have_their_length_and_differ() {
        let (a, b) = (random_base62(&SystemEntropy, 64), random_base62(&SystemEntropy, 64));
        assert_eq!(a.len(), 64);
        assert_ne!(a, b);
        assert_eq!(random_uuid(&SystemEntropy).get_version_num(), 4);
    }

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        assert_eq!(random_uuid(&SeededEntropy::new(7)), random_uuid(&SeededEntropy::new(7)));
    }
}
