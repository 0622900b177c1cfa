//! Idempotency of handshake and refresh: the key, the hash of the body, and the amount that was asked for.

use kernel::{FieldErrors, Money};
use sha2::{Digest, Sha256};

/// SHA-256 over the fields of a request that say what it asks for.
///
/// A repeated request must have the same hash to be answered as a repetition. The IC token (it may have been
/// regenerated in between), the key itself and merely informational fields are left out.
pub type BodyHash = [u8; 32];

/// Hashes fields so that no two different requests look alike: each one is tagged as present or absent, text carries
/// its length.
pub(crate) struct Canonical(Sha256);

impl Canonical {
    pub(crate) fn new(verb: &str) -> Self {
        Self(Sha256::new()).text(Some(verb))
    }

    pub(crate) fn text(mut self, value: Option<&str>) -> Self {
        match value {
            Some(text) => {
                self.0.update([1]);
                // usize is at most 64 bits on every platform Rust supports
                self.0.update((text.len() as u64).to_be_bytes());
                self.0.update(text);
            }
            None => self.0.update([0]),
        }
        self
    }

    pub(crate) fn int(mut self, value: Option<i64>) -> Self {
        match value {
            Some(n) => {
                self.0.update([2]);
                self.0.update(n.to_be_bytes());
            }
            None => self.0.update([0]),
        }
        self
    }

    pub(crate) fn money(self, value: Option<Money>) -> Self {
        self.int(value.map(Money::nanos))
    }

    pub(crate) fn finish(self) -> BodyHash {
        self.0.finalize().into()
    }
}

/// The idempotency key of a request: the `request_id` of the body or the header `Idempotency-Key`.
///
/// Errors name the failing place: a header that is not 1–255 visible ASCII characters, or both given and different.
pub fn idempotency_key(request_id: Option<&str>, header: Option<&[u8]>) -> Result<Option<String>, FieldErrors> {
    let Some(header) = header else {
        return Ok(request_id.map(str::to_owned));
    };
    let visible = (1..=255).contains(&header.len()) && header.iter().all(|b| (0x21..=0x7E).contains(b));
    match std::str::from_utf8(header) {
        Ok(key) if visible => match request_id {
            Some(id) if id != key => {
                Err(FieldErrors::one("request_id", "differs from the Idempotency-Key header; give one of them"))
            }
            _ => Ok(Some(key.to_owned())),
        },
        _ => Err(FieldErrors::one("Idempotency-Key", "must be 1 to 255 visible ASCII characters")),
    }
}

/// The amount a handshake or refresh asks for, given the server's settings.
///
/// Bodies are read with the hard bound [`Money::MAX_CAP`]; the largest amount per request is a setting, so the check
/// against it happens here.
pub fn requested_budget(requested: Option<Money>, default: Money, max: Money) -> Result<Money, FieldErrors> {
    let requested = requested.unwrap_or(default);
    if requested > max {
        let why = format!("must be 1 to {}", max.micros_floor());
        return Err(FieldErrors::one("requested_budget", why));
    }
    Ok(requested)
}

#[cfg(test)]
mod tests {
    use kernel::Money;

    use super::{Canonical, idempotency_key, requested_budget};

    #[test]
    fn header_and_field_name_the_same_key() {
        assert_eq!(idempotency_key(None, None), Ok(None));
        assert_eq!(idempotency_key(Some("a"), None), Ok(Some("a".into())));
        assert_eq!(idempotency_key(None, Some(b"b")), Ok(Some("b".into())));
        assert_eq!(idempotency_key(Some("a"), Some(b"a")), Ok(Some("a".into())));
        assert!(idempotency_key(Some("a"), Some(b"b")).is_err());
    }

    #[test]
    fn a_header_of_other_characters_is_refused() {
        for bad in [&b""[..], b"a b", b"\xC3\xA4", b"a\x7F", &[b'x'; 256]] {
            assert!(idempotency_key(None, Some(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_setting_limits_what_may_be_asked_for() {
        let [five, ten] = [5, 10].map(Money::from_nanos);
        assert_eq!(requested_budget(None, five, ten), Ok(five));
        assert_eq!(requested_budget(Some(ten), five, ten), Ok(ten));
        assert!(requested_budget(Some(Money::from_nanos(11)), five, ten).is_err());
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let ab = Canonical::new("v").text(Some("a")).text(Some("b")).finish();
        let joined = Canonical::new("v").text(Some("ab")).text(None).finish();
        let swapped = Canonical::new("v").text(None).text(Some("ab")).finish();
        assert!(ab != joined && joined != swapped);
    }
}
