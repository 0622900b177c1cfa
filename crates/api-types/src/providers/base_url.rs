//! Where a provider is reached.

use std::str::FromStr;

use url::{Host, Url};

/// An absolute `https` or `http` URL without user info, query and fragment, as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    text: String,
    is_plain_remote: bool,
}

/// The text is no address of a provider; says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadBaseUrl(&'static str);

impl BaseUrl {
    /// The most characters of one.
    pub const MAX_CHARS: usize = 2_000;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is plain `http` to another machine, which an installation must allow expressly: the key would cross the
    /// network in the clear.
    pub const fn is_plain_remote(&self) -> bool {
        self.is_plain_remote
    }
}

impl FromStr for BaseUrl {
    type Err = BadBaseUrl;

    fn from_str(text: &str) -> Result<Self, BadBaseUrl> {
        // The parser mends much of what it meets; a key is not to be sent to an address that only looks like another
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err(BadBaseUrl("must not contain spaces or backslashes"));
        }
        let url = Url::parse(text).map_err(|_| BadBaseUrl("must be an absolute https URL"))?;
        let after_scheme = text.get(url.scheme().len()..).and_then(|rest| rest.strip_prefix("://"));
        let is_http = matches!(url.scheme(), "https" | "http");
        let Some(after_scheme) = after_scheme.filter(|rest| is_http && !rest.starts_with('/')) else {
            return Err(BadBaseUrl("must be an absolute https URL"));
        };
        let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or(after_scheme);
        if authority.contains('@') {
            return Err(BadBaseUrl("must not contain a user name or password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BadBaseUrl("must not have a query or fragment"));
        }
        let is_plain_remote = url.scheme() == "http" && !url.host().is_some_and(|host| is_loopback(&host));
        Ok(Self { text: text.to_owned(), is_plain_remote })
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::BaseUrl;

    fn is_plain_remote(text: &str) -> Option<bool> {
        text.parse::<BaseUrl>().ok().map(|url| url.is_plain_remote())
    }

    #[test]
    fn https_is_taken_as_it_was_given() {
        for good in ["https://api.example", "HTTPS://API.example:8443/v1/", "https://[2001:db8::1]/x"] {
            assert_eq!(good.parse::<BaseUrl>().map(|url| url.as_str().to_owned()).as_deref(), Ok(good));
            assert_eq!(is_plain_remote(good), Some(false), "{good}");
        }
    }

    #[test]
    fn plain_http_is_told_apart_unless_it_stays_on_the_machine() {
        for local in
            ["http://localhost:8080", "http://127.0.0.1", "http://127.9.9.9/v1", "http://[::1]:1", "http://a.localhost"]
        {
            assert_eq!(is_plain_remote(local), Some(false), "{local}");
        }
        for remote in ["http://api.example", "http://10.0.0.1", "http://localhost.example", "http://[2001:db8::1]"] {
            assert_eq!(is_plain_remote(remote), Some(true), "{remote}");
        }
    }

    #[test]
    fn what_is_no_plain_address_is_refused() {
        for bad in [
            "api.example",
            "/v1",
            "ftp://x",
            "https:api.example",
            "https:///api.example",
            "https://",
            "javascript:x",
            "https://user@api.example",
            "https://user:pw@api.example",
            "https://@api.example",
            "https://api.example?x=1",
            "https://api.example?",
            "https://api.example#x",
            "https://api.example/ x",
            "https:\\\\api.example",
            "https://api.example\\@evil.example",
            "https://api.example:99999",
        ] {
            assert_eq!(is_plain_remote(bad), None, "{bad}");
        }
    }
}
