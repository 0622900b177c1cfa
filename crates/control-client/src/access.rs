//! How to reach the provider.

use std::sync::Arc;

use budget_protocol::{HandshakeResponse, ip_token};
use kernel::{ProviderKeyId, Secret};

use crate::ControlError;

/// A provider, and the key that the control plane lent for it. Cheap to clone; the key itself has no `Debug`.
#[derive(Clone)]
pub struct ProviderAccess {
    /// The kind of provider, such as `openai`.
    pub provider: String,
    /// Which stored key this is.
    pub provider_key_id: ProviderKeyId,
    /// Where the provider is reached, without trailing `/` and without a final `/v1`; `None` for its usual address.
    pub base_url: Option<String>,
    /// The key.
    pub key: Arc<Secret<String>>,
}

impl ProviderAccess {
    /// Opens what a handshake brought.
    pub(crate) fn open(ic_token: &Secret<String>, answer: &HandshakeResponse) -> Result<Self, ControlError> {
        let key = ip_token::open(ic_token, &answer.lease_id, &answer.provider, &answer.ip_token)
            .map_err(ControlError::SealedKey)?;
        Ok(Self {
            provider: answer.provider.clone(),
            provider_key_id: answer.provider_key_id,
            base_url: answer.base_url.clone(),
            key: Arc::new(key),
        })
    }
}

impl std::fmt::Debug for ProviderAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderAccess")
            .field("provider", &self.provider)
            .field("provider_key_id", &self.provider_key_id)
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}
