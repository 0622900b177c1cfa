//! The version of a runtime, as Semantic Versioning 2.0.0 writes it.

/// A semantic version; knows only what decides about compatibility.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeVersion {
    text: String,
    major: u64,
}

impl RuntimeVersion {
    /// What the server speaks, for `details.required` of `INCOMPATIBLE_VERSION`.
    pub const REQUIRED: [&'static str; 2] = ["0.x", "1.x"];

    /// Reads `MAJOR.MINOR.PATCH[-pre.release][+build]` of at most 64 characters; `None` if it is not that.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 64 {
            return None;
        }
        let (rest, build) = split(text, '+');
        let (core, pre) = split(rest, '-');
        let mut parts = core.split('.');
        let (major, minor, patch) = (parts.next()?, parts.next()?, parts.next()?);
        let numbers = [major, minor, patch].iter().all(|n| is_number(n)) && parts.next().is_none();
        let pre_ok = pre.is_none_or(|p| p.split('.').all(|i| is_identifier(i) && (!all_digits(i) || is_number(i))));
        let build_ok = build.is_none_or(|b| b.split('.').all(is_identifier));
        // A number too long for the type is certainly not 0 or 1
        (numbers && pre_ok && build_ok)
            .then(|| Self { text: text.to_owned(), major: major.parse().unwrap_or(u64::MAX) })
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a runtime of this version may take part: major 0 or 1.
    pub const fn is_compatible(&self) -> bool {
        self.major <= 1
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(head, tail)| (head, Some(tail)))
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Digits without a leading zero.
fn is_number(text: &str) -> bool {
    all_digits(text) && (text == "0" || !text.starts_with('0'))
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::RuntimeVersion;

    #[test]
    fn major_0_and_1_are_compatible() {
        for ok in ["0.0.0", "0.1.0", "1.99.0", "1.0.0-alpha-1.2+build.01", "1.2.3+0"] {
            assert!(RuntimeVersion::parse(ok).is_some_and(|v| v.is_compatible() && v.as_str() == ok), "{ok}");
        }
        for other in ["2.0.0", "10.1.0", "99999999999999999999999.0.0"] {
            assert!(RuntimeVersion::parse(other).is_some_and(|v| !v.is_compatible()), "{other}");
        }
    }

    #[test]
    fn other_texts_are_not_versions() {
        for bad in
            ["", "1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "1.0.0-a..b", "1.-1.0"]
        {
            assert_eq!(RuntimeVersion::parse(bad), None, "{bad}");
        }
        assert_eq!(RuntimeVersion::parse(&format!("1.0.0-{}", "a".repeat(60))), None);
    }
}
