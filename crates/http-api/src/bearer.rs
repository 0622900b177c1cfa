//! The credential of the `Authorization` header (RFC 6750 §2.1).

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

/// The token after `Bearer`, the word matched without case; `None` without the header, with another scheme, or blank.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    // Beyond ASCII no token is valid, but it is one: the caller is told that, not that there is none
    let value = std::str::from_utf8(headers.get(AUTHORIZATION)?.as_bytes()).ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::bearer;

    #[test]
    fn the_scheme_is_matched_without_case() {
        let token = |value: &'static str| {
            let headers =
                HeaderMap::from_iter([("authorization".parse().expect("ok"), HeaderValue::from_static(value))]);
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(token("bEARER  abc ").as_deref(), Some("abc"));
        let unusual = HeaderValue::from_bytes("Bearer \u{fc}".as_bytes()).expect("allowed in a header");
        let headers = HeaderMap::from_iter([("authorization".parse().expect("ok"), unusual)]);
        assert_eq!(bearer(&headers), Some("\u{fc}"));
        for bad in ["Bearer", "Bearer ", "Basic abc", "", "abc"] {
            assert_eq!(token(bad), None, "{bad}");
        }
    }
}
