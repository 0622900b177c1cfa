//! Password hashing and checking.
//!
//! Everything here but [`random`] **blocks** for as long as the cost says (a quarter of a second at cost 12), on purpose.
//! Callers run it off the threads that serve requests, and bound how many run at once.
//!
//! # Why the password is hashed before it is hashed
//!
//! bcrypt reads 72 bytes and stops at the first NUL. Passwords may have 1000 characters, and two that differ only
//! behind the 72nd byte must not be the same password. So bcrypt gets SHA-256 of the password in Base64: 44 characters
//! without NUL that depend on every byte. The inner hash is taken over a prefix of our own, so that lists of plain
//! SHA-256 password hashes stolen elsewhere cannot be tried against ours.

use std::hint::black_box;

use base64::{Engine, prelude::BASE64_STANDARD};
use kernel::entropy::random_base62;
use kernel::{Entropy, Secret};
use sha2::{Digest, Sha256};

/// Marks a stored hash as bcrypt of a SHA-256, so that nobody takes it for plain bcrypt.
const SCHEME: &str = "sha256:";
const DOMAIN: &[u8] = b"iron-cage password v1\0";
/// About 142 random bits.
const RANDOM_CHARS: usize = 24;

/// Hashes passwords at one cost.
#[derive(Clone, Copy, Debug)]
pub struct PasswordHasher {
    cost: u32,
}

/// A cost outside [`PasswordHasher::MIN_COST`]`..=`[`PasswordHasher::MAX_COST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bcrypt cost must be {min} to {max}", min = PasswordHasher::MIN_COST, max = PasswordHasher::MAX_COST)]
pub struct BadCost;

/// A stored hash that this module did not write: the row is damaged. Says nothing about the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored password hash cannot be read")]
pub struct UnreadableHash;

impl Default for PasswordHasher {
    fn default() -> Self {
        Self { cost: Self::DEFAULT_COST }
    }
}

impl PasswordHasher {
    /// The cost unless configured otherwise.
    pub const DEFAULT_COST: u32 = 12;
    /// The least bcrypt allows; for tests.
    pub const MIN_COST: u32 = 4;
    /// Some 16 seconds a password. Each step above doubles it, and a wrong digit in a setting must not stop all logins.
    pub const MAX_COST: u32 = 18;

    /// A hasher of 2^`cost` rounds.
    ///
    /// # Errors
    /// If the cost is out of range.
    pub fn new(cost: u32) -> Result<Self, BadCost> {
        if (Self::MIN_COST..=Self::MAX_COST).contains(&cost) { Ok(Self { cost }) } else { Err(BadCost) }
    }

    /// Hashes a password under a fresh salt, for the store. Blocks.
    pub fn hash(&self, password: &str, entropy: &dyn Entropy) -> Secret<String> {
        let mut salt = [0; 16];
        entropy.fill(&mut salt);
        let parts = bcrypt::hash_with_salt(digest(password).expose(), self.cost, salt)
            .expect("the cost was checked when the hasher was made");
        Secret::new(format!("{SCHEME}{parts}"))
    }

    /// Whether this is the password behind the stored hash. Blocks.
    ///
    /// `stored` is `None` where the e-mail is unknown: then the same work is done and the answer is no, so that the
    /// time taken does not tell who has an account.
    ///
    /// # Errors
    /// If the stored hash is damaged; the same work is done all the same.
    pub fn verify(&self, password: &str, stored: Option<&str>) -> Result<bool, UnreadableHash> {
        let digest = digest(password);
        let Some(stored) = stored else {
            self.waste(&digest);
            return Ok(false);
        };
        let verdict = stored.strip_prefix(SCHEME).and_then(|hash| bcrypt::verify(digest.expose(), hash).ok());
        verdict.ok_or_else(|| {
            self.waste(&digest);
            UnreadableHash
        })
    }

    /// Whether a stored hash was made at another cost and is to be made anew at the next successful login.
    pub fn needs_rehash(&self, stored: &str) -> bool {
        let cost = stored
            .strip_prefix(SCHEME)
            .and_then(|hash| hash.parse::<bcrypt::HashParts>().ok())
            .map(|parts| parts.get_cost());
        cost != Some(self.cost)
    }

    /// The work of one check, for nothing.
    fn waste(&self, digest: &Secret<String>) {
        let _ = black_box(bcrypt::verify(black_box(digest.expose()), &nobody(self.cost)));
    }
}

/// Salt and hash of zeros: well-formed, and no password is known that fits it.
fn nobody(cost: u32) -> String {
    format!("$2b${cost:02}${}", ".".repeat(53))
}

/// A random one-time password, 24 characters of `0-9A-Za-z`.
pub fn random(entropy: &dyn Entropy) -> Secret<String> {
    Secret::new(random_base62(entropy, RANDOM_CHARS))
}

fn digest(password: &str) -> Secret<String> {
    let digest = Sha256::new().chain_update(DOMAIN).chain_update(password.as_bytes()).finalize();
    Secret::new(BASE64_STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use kernel::SystemEntropy;
    use kernel::entropy::SeededEntropy;

    use super::{BadCost, PasswordHasher, UnreadableHash, nobody, random};

    fn hasher() -> PasswordHasher {
        PasswordHasher::new(PasswordHasher::MIN_COST).expect("allowed")
    }

    fn matches(password: &str, other: &str) -> bool {
        let stored = hasher().hash(password, &SystemEntropy);
        hasher().verify(other, Some(stored.expose())).expect("readable")
    }

    #[test]
    fn the_password_opens_and_no_other_does() {
        assert!(matches("correct horse", "correct horse"));
        for other in ["", "correct horse ", "Correct horse", "correct hors"] {
            assert!(!matches("correct horse", other), "{other:?}");
        }
    }

    #[test]
    fn bytes_behind_the_72nd_count() {
        let long = "x".repeat(1000);
        assert!(matches(&long, &long));
        assert!(!matches(&long, &"x".repeat(999)));
        assert!(!matches(&format!("{}a", "é".repeat(36)), &format!("{}b", "é".repeat(36))));
    }

    #[test]
    fn a_nul_does_not_end_the_password() {
        assert!(!matches("abc\0def", "abc\0xyz"));
        assert!(!matches("abc\0", "abc"));
    }

    #[test]
    fn the_same_password_is_stored_differently_each_time() {
        let [a, b] = [(); 2].map(|()| hasher().hash("secret", &SystemEntropy));
        assert_ne!(a.expose(), b.expose());
        assert!(!a.expose().contains("secret"));
    }

    #[test]
    fn the_stored_form_stays_readable() {
        // A hash once written must verify for ever
        let stored = "sha256:$2b$04$uTuAgcurAnDl5G3jmW1pteFaQACPfoU5Z3fqAWE8rtCArbqD73kWK";
        assert_eq!(hasher().verify("pass word 1", Some(stored)), Ok(true));
        assert_eq!(hasher().hash("pass word 1", &SeededEntropy::new(1)).expose(), stored);
    }

    #[test]
    fn an_unknown_account_never_matches() {
        assert_eq!(hasher().verify("", None), Ok(false));
        assert_eq!(hasher().verify("anything", None), Ok(false));
    }

    #[test]
    fn an_unknown_account_costs_as_much_as_a_known_one() {
        // A hash that cannot be read would be refused without any work
        for cost in [PasswordHasher::MIN_COST, PasswordHasher::DEFAULT_COST, PasswordHasher::MAX_COST] {
            let parts = nobody(cost).parse::<bcrypt::HashParts>();
            assert_eq!(parts.map(|parts| parts.get_cost()).ok(), Some(cost));
        }
    }

    #[test]
    fn a_damaged_hash_is_an_error_and_not_a_wrong_password() {
        let foreign = bcrypt::hash("x", 4).expect("hashed");
        for damaged in ["", "sha256:", "sha256:$2b$04$short", "plain", foreign.as_str()] {
            assert_eq!(hasher().verify("x", Some(damaged)), Err(UnreadableHash), "{damaged}");
        }
    }

    #[test]
    fn a_changed_cost_asks_for_a_new_hash() {
        let stored = hasher().hash("x", &SystemEntropy);
        assert!(!hasher().needs_rehash(stored.expose()));
        assert!(PasswordHasher::new(5).expect("allowed").needs_rehash(stored.expose()));
        assert!(hasher().needs_rehash("damaged"));
    }

    #[test]
    fn costs_out_of_range_are_refused() {
        for cost in [0, 3, 19, 31, u32::MAX] {
            assert_eq!(PasswordHasher::new(cost).err(), Some(BadCost), "{cost}");
        }
    }

    #[test]
    fn random_passwords_differ() {
        let [a, b] = [(); 2].map(|()| random(&SystemEntropy));
        assert_ne!(a.expose(), b.expose());
        assert_eq!(a.expose().len(), 24);
    }
}
