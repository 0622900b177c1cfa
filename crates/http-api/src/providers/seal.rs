//! Sealing secrets for the database.

use kernel::{ErrorCode, Secret};
use vault::{Binding, SealedSecret};

use crate::budget::SECRET_KIND;
use crate::{ApiError, ApiState};

/// The secret sealed for the key whose row has this reference, and the ends by which it is known.
pub(super) fn seal(
    api: &ApiState,
    secret: &Secret<String>,
    secret_ref: &str,
) -> Result<(SealedSecret, String), ApiError> {
    let binding = Binding { kind: SECRET_KIND, id: secret_ref };
    let sealed = api.vault.seal(binding, secret, &*api.entropy);
    let sealed = sealed.map_err(|error| ApiError::from(ErrorCode::CryptoUnavailable).cause(error))?;
    Ok((sealed, vault::mask(secret.expose())))
}
