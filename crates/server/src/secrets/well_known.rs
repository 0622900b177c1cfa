//! Secrets that stand in examples, tutorials and default configurations, and therefore protect nothing.

/// Whole secrets, compared without case.
const WHOLE: &[&str] = &[
    "secret",
    "secrets",
    "password",
    "passw0rd",
    "admin",
    "administrator",
    "test",
    "testing",
    "dev",
    "development",
    "default",
    "jwt_secret",
    "jwt-secret",
    "jwtsecret",
    "ic_token_secret",
    "ic-token-secret",
    "secret-key",
    "secret_key",
    "secretkey",
    "mysecret",
    "my-secret",
    "my_secret",
    "supersecret",
    "super-secret",
    "super_secret",
    "topsecret",
    "letmein",
    "changeit",
    "qwerty",
    "hunter2",
    "12345678",
    "123456789",
    "1234567890",
];

/// Parts by which an author asks for another secret.
const PARTS: &[&str] = &[
    "changeme",
    "change-me",
    "change_me",
    "change me",
    "change-in-prod",
    "change_in_prod",
    "change in prod",
    "change-this",
    "change_this",
    "change this",
    "replace-me",
    "replace_me",
    "replaceme",
    "replace-this",
    "replace_this",
    "your-secret",
    "your_secret",
    "your secret",
    "your-256-bit",
    "your-jwt",
    "your_jwt",
    "your-super-secret",
    "default-secret",
    "default_secret",
    "do-not-use",
    "do_not_use",
    "not-for-production",
    "not_for_production",
    "insecure",
];

/// Whether everybody knows the secret.
pub(super) fn is(secret: &str) -> bool {
    let lower = secret.trim().to_ascii_lowercase();
    // `AAAA…=` is what zeros are in Base64
    let zeros = lower.trim_end_matches('=').bytes().all(|b| b == b'0')
        || lower.trim_end_matches('=').bytes().all(|b| b == b'a');
    zeros || WHOLE.contains(&lower.as_str()) || PARTS.iter().any(|part| lower.contains(part))
}

#[cfg(test)]
mod tests {
    use kernel::SystemEntropy;
    use kernel::entropy::random_base62;

    use super::is;

    #[test]
    fn what_stands_in_examples_is_known() {
        for known in [
            "secret",
            "dev-secret-change-in-production",
            "Your-Secret-Key-Here-Your-Secret-Key",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "00000000000000000000000000000000",
            "CHANGEME",
        ] {
            assert!(is(known), "{known}");
        }
    }

    #[test]
    fn random_secrets_are_not() {
        for _ in 0..1_000 {
            let random = random_base62(&SystemEntropy, 64);
            assert!(!is(&random), "{random}");
        }
        assert!(!is("throwaway-password") && !is("correct horse battery staple"));
    }
}
