//! The credential of the `Authorization` header (RFC 6750 §2.1).

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

/// The token after `Bearer`, the word matched without case; `None` without the header, with another scheme, or blank.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
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
        for bad in ["Bearer", "Bearer ", "Basic abc", "", "abc"] {
            assert_eq!(token(bad), None, "{bad}");
        }
    }
}
