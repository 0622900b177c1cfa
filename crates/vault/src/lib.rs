//! Secrets at rest: envelope encryption with a ring of keys.
//!
//! Each secret (a provider key, for instance) is encrypted under a random *data key* of its own. The data key is
//! encrypted ("wrapped") under a *key-encryption key* (KEK), which an operator holds and the database never sees. What
//! is stored is a [`SealedSecret`]: which KEK it was, the wrapped data key, and the ciphertext.
//!
//! * **Changing the KEK is cheap.** A [`KeyRing`] has one active key, under which everything new is sealed, and any
//!   number of older ones, under which things can still be opened. [`Vault::rewrap`] brings one row under the active
//!   key and never handles the secret itself. A job that rewraps row by row can stop and go on: rows under the old and
//!   the new key are equally good, and [`Vault::needs_rewrap`] tells which are left.
//! * **A row cannot pass for another.** Kind and id of the row ([`Binding`]) and the name of the KEK are authenticated
//!   with the ciphertext. Who can write to the database but has no KEK cannot make agent A fetch the key of B by
//!   copying cells. Rows numbered by the database do not know their number before they are written: give such a row a
//!   random text of its own, store it beside the secret, and bind to that.
//! * **Errors say nothing** about the secret, and not which part of it failed.
//!
//! # Format
//!
//! Both parts are AES-256-GCM (NIST SP 800-38D): a random 96-bit nonce, the ciphertext, the 128-bit tag. The associated
//! data is a sequence of texts, each preceded by its length as a 64-bit big-endian integer, so that no two sequences
//! share an encoding:
//!
//! | part | texts |
//! |---|---|
//! | `ciphertext` | `iron-cage/vault/v1/secret`, kind, id |
//! | `wrapped_key` | `iron-cage/vault/v1/data-key`, name of the KEK, kind, id |
//!
//! A data key encrypts one message, so its nonce cannot repeat. Nonces under one KEK are random; the bound of NIST is
//! 2³² of them, and one is used each time a secret is sealed or rewrapped.

mod envelope;
mod key_ring;
mod mask;

pub use envelope::{Binding, SealedSecret, Vault, VaultError};
pub use key_ring::{Kek, KeyRing, KeyRingError};
pub use mask::mask;
