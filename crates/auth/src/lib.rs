//! Who somebody is and what they may do: tokens, passwords, roles and lockout, as pure functions.
//!
//! | module | holds |
//! |---|---|
//! | [`password`] | bcrypt hashing and checking, one-time passwords |
//! | [`lockout`] | when too many wrong passwords close an account for a while |
//! | [`session`] | login sessions: pairs of access and refresh tokens |
//! | [`refresh`] | what the bearer of a refresh token gets |
//! | [`api_token`] | `apitok_…` tokens and the scopes that narrow them |
//! | [`ic_token`] | the token by which an agent runtime is known |
//! | [`role`] | roles, permissions and [`role::allows`], the one function that decides |
//! | [`keys`] | the HMAC keys that sign tokens |
//! | [`token_hash`] | the form in which tokens are stored |
//! | [`bearer`], [`email`] | reading an `Authorization` header; comparing e-mail addresses |
//!
//! Nothing here reads a clock, draws from an ambient random source, or knows a database or a web framework. What is
//! stored comes in as an argument and the decision goes out as a value.
//!
//! # The kinds of token never stand in for each other
//!
//! An access token says `typ: "access"` and has no issuer; an IC token names its issuer and has no `typ`. Each side
//! checks its own mark, so the kinds stay apart even where an operator has set both signing keys to the same bytes
//! (RFC 8725 §3.11). API tokens and refresh tokens are not JWTs at all and are told apart by their prefixes.

pub mod api_token;
pub mod bearer;
pub mod email;
pub mod ic_token;
mod jwt;
pub mod keys;
pub mod lockout;
pub mod password;
pub mod refresh;
pub mod role;
pub mod session;
pub mod token_hash;

pub use keys::{EmptyKey, SigningKey, SigningKeys};
pub use role::{Need, Permission, Role, allows};
pub use token_hash::TokenHash;
