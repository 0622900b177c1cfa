//! Comparing e-mail addresses.

/// The form in which an address is compared and counted: trimmed and in lower case.
///
/// Every place that looks a login up or counts its failures must use this, or `Root@x` would have ten guesses more
/// than `root@x`.
pub fn normalized(email: &str) -> String {
    email.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::normalized;

    #[test]
    fn addresses_are_compared_trimmed_and_without_case() {
        assert_eq!(normalized("  Ädmin@LocalHost\n"), "ädmin@localhost");
    }
}
