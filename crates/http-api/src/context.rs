//! What is known about the request being answered, whatever its route.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::HeaderValue;
use axum::http::request::Parts;
use kernel::{Entropy, RequestId};

/// The id of one request, `req_<uuid>`; made here for every request, whatever the client sent.
#[derive(Clone, Copy)]
pub struct RequestTag([u8; RequestTag::LENGTH]);

impl RequestTag {
    const PREFIX: &'static [u8] = b"req_";
    const LENGTH: usize = Self::PREFIX.len() + uuid::fmt::Hyphenated::LENGTH;

    /// A new random id.
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut text = [0; Self::LENGTH];
        text[..Self::PREFIX.len()].copy_from_slice(Self::PREFIX);
        kernel::entropy::random_uuid(entropy).hyphenated().encode_lower(&mut text[Self::PREFIX.len()..]);
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Prefix and UUID are ASCII
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub(crate) fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// The request's id, address and actor. An extractor that never fails; cheap to clone.
///
/// Whoever establishes the caller calls [`RequestContext::set_actor`], so that the log line names it.
#[derive(Clone)]
pub struct RequestContext(Arc<Scope>);

struct Scope {
    tag: RequestTag,
    client_ip: IpAddr,
    route: OnceLock<MatchedPath>,
    actor: OnceLock<Box<str>>,
}

impl RequestContext {
    pub(crate) fn new(tag: RequestTag, client_ip: IpAddr) -> Self {
        Self(Arc::new(Scope { tag, client_ip, route: OnceLock::new(), actor: OnceLock::new() }))
    }

    /// The id as text.
    pub fn request_id_str(&self) -> &str {
        self.0.tag.as_str()
    }

    /// The id as audit entries keep it.
    pub fn request_id(&self) -> RequestId {
        RequestId::new(self.request_id_str())
    }

    /// Where the request comes from: the socket's peer, or what trusted proxies say.
    pub fn client_ip(&self) -> IpAddr {
        self.0.client_ip
    }

    /// Names who acts (`user_…`, `agent_12`); the first name stays. Never a token.
    pub fn set_actor(&self, actor: impl Into<Box<str>>) {
        let _ = self.0.actor.set(actor.into());
    }

    /// Who acts, if that has been established.
    pub fn actor(&self) -> Option<&str> {
        self.0.actor.get().map(AsRef::as_ref)
    }

    /// The path pattern of the route, if one matched.
    pub fn route(&self) -> Option<&str> {
        self.0.route.get().map(MatchedPath::as_str)
    }

    pub(crate) fn set_route(&self, route: MatchedPath) {
        let _ = self.0.route.set(route);
    }
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<Self>().cloned();
        // Absent only in a test that calls a route without the outermost service
        Ok(known.unwrap_or_else(|| {
            Self::new(RequestTag::random(&kernel::SystemEntropy), IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
        }))
    }
}

#[cfg(test)]
mod tests {
    use kernel::entropy::SeededEntropy;

    use super::RequestTag;

    #[test]
    fn request_ids_are_a_prefix_and_a_random_uuid() {
        let tag = RequestTag::random(&SeededEntropy::new(1));
        let uuid: uuid::Uuid = tag.as_str().strip_prefix("req_").and_then(|t| t.parse().ok()).expect("a UUID");
        assert_eq!(uuid.get_version_num(), 4);
        assert_eq!(tag.header(), tag.as_str());
    }
}
