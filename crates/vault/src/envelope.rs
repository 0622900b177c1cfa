//! Sealing, opening and rewrapping.

use std::fmt;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use kernel::{Entropy, Secret};
use zeroize::Zeroizing;

use crate::key_ring::KeyRing;

const SECRET_DOMAIN: &str = "iron-cage/vault/v1/secret";
const DATA_KEY_DOMAIN: &str = "iron-cage/vault/v1/data-key";
const NONCE_BYTES: usize = 12;
const DATA_KEY_BYTES: usize = 32;

/// The row a secret belongs to. Opening needs the same one as sealing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    /// What the row is, such as `provider_key`. A constant of the program.
    pub kind: &'a str,
    /// Which one it is. Must never change and never be used again.
    pub id: &'a str,
}

/// A secret as it is stored. Holds nothing that needs to be kept from whoever may read the database.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// Name of the key-encryption key.
    pub kek_id: String,
    /// Nonce, encrypted data key, tag: 60 bytes.
    pub wrapped_key: Vec<u8>,
    /// Nonce, encrypted secret, tag: 28 bytes more than the secret.
    pub ciphertext: Vec<u8>,
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Harmless, but nobody wants pages of bytes in a log
        f.debug_struct("SealedSecret").field("kek_id", &self.kek_id).finish_non_exhaustive()
    }
}

/// Why a secret cannot be had. Says nothing about the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The key it was sealed under is not in the ring; whoever gives it back makes the secret readable again.
    #[error("the key-encryption key {0:?} is not in the key ring")]
    UnknownKek(String),
    /// It was changed, belongs to another row, or was sealed under another key of that name.
    #[error("a sealed secret cannot be opened")]
    Unreadable,
    /// It is too long for the cipher (64 GiB).
    #[error("a secret cannot be sealed")]
    Unsealable,
}

/// Seals and opens secrets. Cannot be printed.
#[derive(Clone)]
pub struct Vault {
    ring: KeyRing,
}

impl Vault {
    /// A vault with these keys.
    pub const fn new(ring: KeyRing) -> Self {
        Self { ring }
    }

    /// The keys.
    pub const fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// Seals a secret for a row, under a new data key and the active key-encryption key.
    ///
    /// A row whose secret changes is sealed anew; data keys are never used twice.
    ///
    /// # Errors
    /// [`VaultError::Unsealable`]
    pub fn seal(
        &self,
        binding: Binding<'_>,
        secret: &Secret<String>,
        entropy: &dyn Entropy,
    ) -> Result<SealedSecret, VaultError> {
        let mut data_key = Zeroizing::new([0; DATA_KEY_BYTES]);
        entropy.fill(data_key.as_mut_slice());
        let aad = secret_aad(binding);
        let ciphertext = encrypt(&data_key_cipher(&data_key), secret.expose().as_bytes(), &aad, entropy)?;
        self.wrap(binding, &data_key, ciphertext, entropy)
    }

    /// Opens the secret of a row.
    ///
    /// # Errors
    /// [`VaultError::UnknownKek`] or [`VaultError::Unreadable`]
    pub fn open(&self, binding: Binding<'_>, sealed: &SealedSecret) -> Result<Secret<String>, VaultError> {
        let data_key = self.unwrap_key(binding, sealed)?;
        let mut plain = decrypt(&data_key_cipher(&data_key), &sealed.ciphertext, &secret_aad(binding))?;
        // Taken out of its wrapper without a copy; a secret that is not text was not sealed here
        String::from_utf8(std::mem::take(&mut *plain)).map(Secret::new).map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            VaultError::Unreadable
        })
    }

    /// The same secret with its data key under the active key-encryption key. The ciphertext stays as it is.
    ///
    /// Store it only where the row still is what was read (`… WHERE kek_id = old`), or it would undo a change made in
    /// between.
    ///
    /// # Errors
    /// [`VaultError::UnknownKek`] or [`VaultError::Unreadable`]
    pub fn rewrap(
        &self,
        binding: Binding<'_>,
        sealed: &SealedSecret,
        entropy: &dyn Entropy,
    ) -> Result<SealedSecret, VaultError> {
        let data_key = self.unwrap_key(binding, sealed)?;
        self.wrap(binding, &data_key, sealed.ciphertext.clone(), entropy)
    }

    /// Whether the secret is under another key than the active one.
    pub fn needs_rewrap(&self, sealed: &SealedSecret) -> bool {
        sealed.kek_id != self.ring.active_name()
    }

    /// Seals and opens a probe: whether ciphers and keys work, for a readiness check.
    ///
    /// # Errors
    /// What went wrong.
    pub fn self_test(&self, entropy: &dyn Entropy) -> Result<(), VaultError> {
        let binding = Binding { kind: "self-test", id: "probe" };
        let sealed = self.seal(binding, &Secret::new("probe".to_owned()), entropy)?;
        let opened = self.open(binding, &sealed)?;
        if opened.expose() == "probe" { Ok(()) } else { Err(VaultError::Unreadable) }
    }

    fn wrap(
        &self,
        binding: Binding<'_>,
        data_key: &[u8; DATA_KEY_BYTES],
        ciphertext: Vec<u8>,
        entropy: &dyn Entropy,
    ) -> Result<SealedSecret, VaultError> {
        let kek_id = self.ring.active_name().to_owned();
        let cipher = self.kek_cipher(&kek_id)?;
        let wrapped_key = encrypt(&cipher, data_key, &data_key_aad(&kek_id, binding), entropy)?;
        Ok(SealedSecret { kek_id, wrapped_key, ciphertext })
    }

    fn unwrap_key(
        &self,
        binding: Binding<'_>,
        sealed: &SealedSecret,
    ) -> Result<Zeroizing<[u8; DATA_KEY_BYTES]>, VaultError> {
        let cipher = self.kek_cipher(&sealed.kek_id)?;
        let data_key = decrypt(&cipher, &sealed.wrapped_key, &data_key_aad(&sealed.kek_id, binding))?;
        data_key.as_slice().try_into().map(Zeroizing::new).map_err(|_| VaultError::Unreadable)
    }

    fn kek_cipher(&self, name: &str) -> Result<Aes256Gcm, VaultError> {
        let kek = self.ring.get(name).ok_or_else(|| VaultError::UnknownKek(name.to_owned()))?;
        Ok(kek.cipher())
    }
}

fn data_key_cipher(data_key: &[u8; DATA_KEY_BYTES]) -> Aes256Gcm {
    Aes256Gcm::new(data_key.into())
}

/// Nonce, ciphertext, tag.
fn encrypt(cipher: &Aes256Gcm, msg: &[u8], aad: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>, VaultError> {
    let mut nonce = [0; NONCE_BYTES];
    entropy.fill(&mut nonce);
    let body = cipher.encrypt(&Nonce::from(nonce), Payload { msg, aad }).map_err(|_| VaultError::Unsealable)?;
    Ok([nonce.as_slice(), &body].concat())
}

fn decrypt(cipher: &Aes256Gcm, sealed: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let (nonce, msg) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Unreadable)?;
    cipher.decrypt(nonce.into(), Payload { msg, aad }).map(Zeroizing::new).map_err(|_| VaultError::Unreadable)
}

fn secret_aad(binding: Binding<'_>) -> Vec<u8> {
    encoded(&[SECRET_DOMAIN, binding.kind, binding.id])
}

fn data_key_aad(kek_id: &str, binding: Binding<'_>) -> Vec<u8> {
    encoded(&[DATA_KEY_DOMAIN, kek_id, binding.kind, binding.id])
}

/// Texts, each behind its length: `("a", "bc")` and `("ab", "c")` must not look the same.
fn encoded(texts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use kernel::entropy::SeededEntropy;
    use kernel::{Secret, SystemEntropy};
    use proptest::prelude::*;

    use super::{Binding, SealedSecret, Vault, VaultError};
    use crate::key_ring::{Kek, KeyRing};

    const ROW: Binding<'static> = Binding { kind: "provider_key", id: "7d1c" };

    fn kek(byte: u8) -> Kek {
        Kek::from_bytes([byte; 32])
    }

    fn vault(active: &str, keys: &[(&str, u8)]) -> Vault {
        let keys = keys.iter().map(|(name, byte)| ((*name).to_owned(), kek(*byte)));
        Vault::new(KeyRing::new(active, keys).expect("a ring"))
    }

    fn seal(vault: &Vault, binding: Binding<'_>, text: &str) -> SealedSecret {
        vault.seal(binding, &Secret::new(text.to_owned()), &SystemEntropy).expect("sealed")
    }

    fn open(vault: &Vault, binding: Binding<'_>, sealed: &SealedSecret) -> Result<String, VaultError> {
        vault.open(binding, sealed).map(|secret| secret.expose().clone())
    }

    #[test]
    fn what_was_sealed_opens_for_the_same_row() {
        let vault = vault("k1", &[("k1", 1)]);
        for text in ["sk-live-123", "", "ключ 🔑", &"x".repeat(100_000)] {
            let sealed = seal(&vault, ROW, text);
            assert_eq!(open(&vault, ROW, &sealed).as_deref(), Ok(text));
            assert_eq!((sealed.wrapped_key.len(), sealed.ciphertext.len()), (60, text.len() + 28));
        }
    }

    #[test]
    fn a_secret_of_another_row_or_kind_does_not_open() {
        let vault = vault("k1", &[("k1", 1)]);
        let sealed = seal(&vault, ROW, "sk");
        for other in [Binding { id: "7d1d", ..ROW }, Binding { id: "", ..ROW }, Binding { kind: "webhook", ..ROW }] {
            assert_eq!(open(&vault, other, &sealed), Err(VaultError::Unreadable), "{other:?}");
        }
    }

    #[test]
    fn kind_and_id_do_not_run_together() {
        let vault = vault("k1", &[("k1", 1)]);
        let sealed = seal(&vault, Binding { kind: "a", id: "bc" }, "sk");
        assert_eq!(open(&vault, Binding { kind: "ab", id: "c" }, &sealed), Err(VaultError::Unreadable));
    }

    #[test]
    fn parts_of_two_rows_do_not_mix() {
        let vault = vault("k1", &[("k1", 1)]);
        let [mine, other] = ["mine", "other"].map(|text| seal(&vault, ROW, text));
        let mixed = SealedSecret { ciphertext: other.ciphertext, ..mine };
        assert_eq!(open(&vault, ROW, &mixed), Err(VaultError::Unreadable));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let vault = vault("k1", &[("k1", 1)]);
        let sealed = seal(&vault, ROW, "sk-live-123");
        let flip = |bytes: &[u8], bit: usize| {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        for bit in 0..sealed.wrapped_key.len() * 8 {
            let changed = SealedSecret { wrapped_key: flip(&sealed.wrapped_key, bit), ..sealed.clone() };
            assert_eq!(open(&vault, ROW, &changed), Err(VaultError::Unreadable), "key, bit {bit}");
            assert!(vault.rewrap(ROW, &changed, &SystemEntropy).is_err(), "key, bit {bit}");
        }
        for bit in 0..sealed.ciphertext.len() * 8 {
            let changed = SealedSecret { ciphertext: flip(&sealed.ciphertext, bit), ..sealed.clone() };
            assert_eq!(open(&vault, ROW, &changed), Err(VaultError::Unreadable), "secret, bit {bit}");
        }
    }

    #[test]
    fn a_truncated_secret_is_noticed() {
        let vault = vault("k1", &[("k1", 1)]);
        let sealed = seal(&vault, ROW, "sk-live-123");
        for length in 0..sealed.ciphertext.len() {
            let changed = SealedSecret { ciphertext: sealed.ciphertext[..length].to_vec(), ..sealed.clone() };
            assert_eq!(open(&vault, ROW, &changed), Err(VaultError::Unreadable), "{length} bytes");
        }
        for length in 0..sealed.wrapped_key.len() {
            let changed = SealedSecret { wrapped_key: sealed.wrapped_key[..length].to_vec(), ..sealed.clone() };
            assert_eq!(open(&vault, ROW, &changed), Err(VaultError::Unreadable), "{length} bytes");
        }
    }

    #[test]
    fn an_unknown_key_is_told_apart_from_a_damaged_secret() {
        let sealed = seal(&vault("k1", &[("k1", 1)]), ROW, "sk");
        let without = open(&vault("k2", &[("k2", 1)]), ROW, &sealed);
        assert_eq!(without, Err(VaultError::UnknownKek("k1".to_owned())));
        let other_key_of_that_name = open(&vault("k1", &[("k1", 2)]), ROW, &sealed);
        assert_eq!(other_key_of_that_name, Err(VaultError::Unreadable));
    }

    #[test]
    fn the_name_of_the_key_cannot_be_changed() {
        // Even where the same key stands in the ring under both names
        let vault = vault("k1", &[("k1", 1), ("k2", 1)]);
        let renamed = SealedSecret { kek_id: "k2".to_owned(), ..seal(&vault, ROW, "sk") };
        assert_eq!(open(&vault, ROW, &renamed), Err(VaultError::Unreadable));
    }

    #[test]
    fn keys_rotate_without_touching_the_secret() {
        let old = vault("k1", &[("k1", 1)]);
        let sealed = seal(&old, ROW, "sk-live-123");
        let both = vault("k2", &[("k1", 1), ("k2", 2)]);
        assert!(both.needs_rewrap(&sealed));
        assert_eq!(open(&both, ROW, &sealed).as_deref(), Ok("sk-live-123"));

        let rewrapped = both.rewrap(ROW, &sealed, &SystemEntropy).expect("rewrapped");
        assert!(!both.needs_rewrap(&rewrapped));
        assert_eq!(rewrapped.ciphertext, sealed.ciphertext);

        let new = vault("k2", &[("k2", 2)]);
        assert_eq!(open(&new, ROW, &rewrapped).as_deref(), Ok("sk-live-123"));
        assert_eq!(open(&old, ROW, &rewrapped), Err(VaultError::UnknownKek("k2".to_owned())));
    }

    #[test]
    fn a_secret_is_not_rewrapped_for_another_row() {
        let vault = vault("k2", &[("k1", 1), ("k2", 2)]);
        let sealed = seal(&vault, ROW, "sk");
        let other = Binding { id: "other", ..ROW };
        assert_eq!(vault.rewrap(other, &sealed, &SystemEntropy), Err(VaultError::Unreadable));
    }

    #[test]
    fn the_same_secret_is_stored_differently_each_time() {
        let vault = vault("k1", &[("k1", 1)]);
        let [a, b] = [(); 2].map(|()| seal(&vault, ROW, "sk"));
        assert!(a.wrapped_key != b.wrapped_key && a.ciphertext != b.ciphertext);
    }

    #[test]
    fn neither_what_is_stored_nor_an_error_shows_the_secret() {
        let vault = vault("k1", &[("k1", 1)]);
        let sealed = seal(&vault, ROW, "canary-4711");
        let shows = |bytes: &[u8]| bytes.windows(11).any(|part| part == b"canary-4711");
        assert!(!shows(&sealed.ciphertext) && !shows(&sealed.wrapped_key));
        let error = open(&vault, Binding { id: "other", ..ROW }, &sealed).expect_err("another row");
        assert_eq!(error.to_string(), "a sealed secret cannot be opened");
        assert_eq!(format!("{sealed:?}"), "SealedSecret { kek_id: \"k1\", .. }");
    }

    #[test]
    fn the_stored_form_stays_readable() {
        // Checked against another implementation of the cipher
        let sealed = SealedSecret {
            kek_id: "k1".to_owned(),
            wrapped_key: hex::decode(
                "a53c36d76cec99e075852712a28422b2772e70e6335d2fc8dca77f86e3886e6b\
                 1702c674c6e12f997c01341c98b1cbfbb8134fea81196a94bed0ff58",
            )
            .expect("hex"),
            ciphertext: hex::decode("b9b501d1d854bb71800215909a482d5465e8ae16f5b29795bda82a652d11").expect("hex"),
        };
        let vault = vault("k1", &[("k1", 1)]);
        assert_eq!(open(&vault, ROW, &sealed).as_deref(), Ok("sk"));
        assert_eq!(vault.seal(ROW, &Secret::new("sk".to_owned()), &SeededEntropy::new(1)), Ok(sealed));
    }

    #[test]
    fn the_self_test_passes() {
        assert_eq!(vault("k1", &[("k1", 1)]).self_test(&SystemEntropy), Ok(()));
    }

    proptest! {
        #[test]
        fn any_text_opens_for_its_row_and_for_no_other(
            text in "\\PC{0,200}", kind in "\\PC{0,8}", id in "\\PC{0,8}", other_kind in "\\PC{0,8}", other_id in "\\PC{0,8}",
        ) {
            let vault = vault("k1", &[("k1", 1)]);
            let (binding, other) = (Binding { kind: &kind, id: &id }, Binding { kind: &other_kind, id: &other_id });
            let sealed = seal(&vault, binding, &text);
            prop_assert_eq!(open(&vault, binding, &sealed), Ok(text));
            prop_assert_eq!(open(&vault, other, &sealed).is_ok(), binding == other);
        }

        #[test]
        fn foreign_bytes_never_open_and_never_panic(
            wrapped_key in prop::collection::vec(any::<u8>(), 0..80), ciphertext in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let sealed = SealedSecret { kek_id: "k1".to_owned(), wrapped_key, ciphertext };
            prop_assert_eq!(open(&vault("k1", &[("k1", 1)]), ROW, &sealed), Err(VaultError::Unreadable));
        }
    }
}
