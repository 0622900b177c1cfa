//! Logging in and what follows from it.

use kernel::validate::{Fields, FromFields};
use kernel::{Secret, SessionId, UserId};
use serde::{Deserialize, Serialize};

use crate::shared::Role;
use crate::users::{NEW_PASSWORD_MAX, NEW_PASSWORD_MIN};

/// The longest refresh token that is looked at.
const MAX_REFRESH_TOKEN_CHARS: usize = 2_000;
/// The longest token that is validated.
const MAX_TOKEN_CHARS: usize = 4_096;

/// Somebody wants to log in.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Login {
    /// Compared trimmed and without case.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255, example = "root@example.com"))]
    pub email: String,
    /// Taken as it is, not trimmed.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = Password, min_length = 1, max_length = 1000))]
    pub password: Secret<String>,
}

impl FromFields for Login {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let email = f.required_str("email", 1, 255);
        let password = f.required_verbatim("password", 1, 1_000);
        Some(Self { email: email?, password: Secret::new(password?) })
    }
}

/// A refresh token, where it is not in the `Authorization` header.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefreshTokenBody {
    /// Wins over the header.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, max_length = 2000))]
    pub refresh_token: Option<Secret<String>>,
}

impl FromFields for RefreshTokenBody {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        Some(Self { refresh_token: optional_token(f, "refresh_token", MAX_REFRESH_TOKEN_CHARS) })
    }
}

/// A token to be looked at, where it is not in the `Authorization` header.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ValidateToken {
    /// Wins over the header.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, max_length = 4096))]
    pub token: Option<Secret<String>>,
}

impl FromFields for ValidateToken {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        Some(Self { token: optional_token(f, "token", MAX_TOKEN_CHARS) })
    }
}

/// A blank token is the same as none: clients that have logged out send one.
fn optional_token(f: &mut Fields<'_>, name: &str, max: usize) -> Option<Secret<String>> {
    f.optional_str(name, 0, max).filter(|token| !token.is_empty()).map(Secret::new)
}

/// Somebody changes their own password.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangePassword {
    /// The password until now.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = Password, min_length = 1, max_length = 1000))]
    pub current_password: Secret<String>,
    /// The password from now on.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = Password, min_length = 8, max_length = 1000))]
    pub new_password: Secret<String>,
}

impl FromFields for ChangePassword {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let current_password = f.required_verbatim("current_password", 1, NEW_PASSWORD_MAX);
        let new_password = f.required_verbatim("new_password", NEW_PASSWORD_MIN, NEW_PASSWORD_MAX);
        Some(Self { current_password: Secret::new(current_password?), new_password: Secret::new(new_password?) })
    }
}

/// A login and its tokens.
// No `Debug`: the tokens must not reach a log
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    /// The access token; the same as `access_token`.
    pub user_token: String,
    /// The access token, a JWT; sent as `Authorization: Bearer …`.
    pub access_token: String,
    /// Exchanged at `auth/refresh` for the next pair, once.
    pub refresh_token: String,
    /// Always `Bearer`.
    #[cfg_attr(feature = "openapi", schema(example = "Bearer"))]
    pub token_type: String,
    /// Seconds the access token lives from now.
    #[cfg_attr(feature = "openapi", schema(example = 28800))]
    pub expires_in: i64,
    /// When the access token ends, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub expires_at: String,
    /// When the refresh token ends, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub refresh_expires_at: String,
    /// Whose login it is.
    pub user: SessionUser,
}

/// Whose login it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionUser {
    /// The user.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: UserId,
    /// Their e-mail.
    pub email: String,
    /// What they are.
    pub role: Role,
    /// Their name.
    pub name: String,
    /// Whether they were asked to choose another password. Advice, unless the installation enforces it.
    pub must_change_password: bool,
}

/// A login of one's own that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoginSession {
    /// The id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: SessionId,
    /// Whether it is the one that asks.
    pub current: bool,
    /// When it began, milliseconds since the epoch.
    pub created_at: i64,
    /// When it was last used, some seconds late; milliseconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub last_used_at: Option<i64>,
    /// When it ends unless it is refreshed, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub expires_at: String,
    /// The address it was begun or last refreshed from.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub ip_address: Option<String>,
    /// What the client called itself then.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub user_agent: Option<String>,
}

/// How many logins have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EndedSessions {
    /// All but the one that asked.
    pub ended: u64,
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TokenVerdict {
    /// It is taken.
    Valid(ValidToken),
    /// It is not taken.
    Invalid(InvalidToken),
}

/// A token that is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ValidToken {
    /// Always `true`.
    pub valid: bool,
    /// Whose it is, as of now.
    pub user: TokenOwner,
    /// Which kind it is.
    pub kind: TokenKind,
    /// When it ends, RFC 3339; `null` if it does not.
    #[cfg_attr(feature = "openapi", schema(format = DateTime, required))]
    pub expires_at: Option<String>,
    /// Seconds until then.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub expires_in: Option<i64>,
}

/// A token that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InvalidToken {
    /// Always `false`.
    pub valid: bool,
    /// Why.
    pub reason: InvalidReason,
    /// When it expired, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub expired_at: Option<String>,
    /// When it was revoked or its login ended, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub revoked_at: Option<String>,
}

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenOwner {
    /// The user.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: UserId,
    /// Their e-mail.
    pub email: String,
    /// What they are.
    pub role: Role,
    /// Their name.
    pub name: String,
}

/// The kinds of token that users have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TokenKind {
    /// The access token of a login.
    Session,
    /// An API token.
    ApiToken,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum InvalidReason {
    /// Its end has come.
    TokenExpired,
    /// It was revoked, or its login ended.
    TokenRevoked,
    /// It is no token of ours, or not one of this kind.
    TokenInvalid,
    /// Its owner is suspended or deleted.
    AccountDisabled,
}

#[cfg(test)]
mod tests {
    use kernel::UserId;
    use kernel::validate::{FromFields, read};
    use serde_json::{Value, json};

    use super::{ChangePassword, InvalidReason, InvalidToken, Login, RefreshTokenBody, TokenKind, TokenOwner};
    use super::{TokenVerdict, ValidToken};
    use crate::shared::Role;

    fn failing<T: FromFields>(body: Value) -> Vec<String> {
        let errors = read::<T>(&body).err().unwrap_or_default();
        errors.iter().map(|(path, _)| path.to_owned()).collect()
    }

    #[test]
    fn a_login_names_every_field_that_fails() {
        assert_eq!(failing::<Login>(json!({})), ["email", "password"]);
        assert_eq!(failing::<Login>(json!({"email": "a\u{0}b", "password": 1})), ["email", "password"]);
        assert_eq!(failing::<Login>(json!({"email": "x".repeat(256), "password": "y".repeat(1_001)})).len(), 2);
        assert_eq!(failing::<Login>(json!({"email": " ", "password": ""})), ["email", "password"]);
    }

    #[test]
    fn a_password_is_not_trimmed_and_an_email_is() {
        let login = read::<Login>(&json!({"email": " a@b ", "password": " p "})).expect("valid");
        assert_eq!((login.email.as_str(), login.password.expose().as_str()), ("a@b", " p "));
    }

    #[test]
    fn a_new_password_has_at_least_eight_characters() {
        assert_eq!(
            failing::<ChangePassword>(json!({"current_password": "x", "new_password": "short"})),
            ["new_password"]
        );
        assert!(failing::<ChangePassword>(json!({"current_password": "x", "new_password": "äöüäöüäö"})).is_empty());
    }

    #[test]
    fn a_blank_refresh_token_is_none() {
        for body in [json!({}), json!({"refresh_token": null}), json!({"refresh_token": " "})] {
            assert!(read::<RefreshTokenBody>(&body).expect("valid").refresh_token.is_none(), "{body}");
        }
        assert_eq!(failing::<RefreshTokenBody>(json!({"refresh_token": "x".repeat(2_001)})), ["refresh_token"]);
    }

    #[test]
    fn a_verdict_reads_as_the_contract_has_it() {
        let valid = TokenVerdict::Valid(ValidToken {
            valid: true,
            user: TokenOwner { id: UserId::new("u"), email: "e".into(), role: Role::Viewer, name: "n".into() },
            kind: TokenKind::ApiToken,
            expires_at: None,
            expires_in: None,
        });
        let expected = json!({"valid": true, "kind": "api_token", "expires_at": null, "expires_in": null,
            "user": {"id": "u", "email": "e", "role": "viewer", "name": "n"}});
        assert_eq!(serde_json::to_value(&valid).ok(), Some(expected.clone()));
        assert_eq!(serde_json::from_value::<TokenVerdict>(expected).ok(), Some(valid));
        let invalid = InvalidToken {
            valid: false,
            reason: InvalidReason::TokenRevoked,
            expired_at: None,
            revoked_at: Some("2026-01-01T00:00:00Z".into()),
        };
        let expected = json!({"valid": false, "reason": "TOKEN_REVOKED", "revoked_at": "2026-01-01T00:00:00Z"});
        assert_eq!(serde_json::to_value(TokenVerdict::Invalid(invalid)).ok(), Some(expected));
    }
}
