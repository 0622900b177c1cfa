//! Reading an `Authorization` header.

/// The token of a `Bearer` credential (RFC 6750 §2.1); `None` if the header holds something else or nothing.
///
/// The scheme is matched without case (RFC 9110 §11.1).
pub fn parse(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once([' ', '\t'])?;
    let token = token.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_scheme_is_matched_without_case() {
        for header in ["Bearer abc", "bearer abc", "BEARER  abc ", " bEaReR\tabc"] {
            assert_eq!(parse(header), Some("abc"), "{header:?}");
        }
    }

    #[test]
    fn other_schemes_and_empty_tokens_are_no_bearer() {
        for header in ["", "Bearer", "Bearer ", "Basic abc", "Bearerabc", "abc", "Token Bearer abc"] {
            assert_eq!(parse(header), None, "{header:?}");
        }
    }
}
