//! Showing which secret it is without showing it.

/// The first four and the last three characters with `...` between them; `***` for secrets of eight characters or
/// fewer, of which that would leave next to nothing hidden.
pub fn mask(secret: &str) -> String {
    let chars = secret.chars();
    if chars.clone().nth(8).is_none() {
        return "***".to_owned();
    }
    let head: String = chars.clone().take(4).collect();
    let mut tail: Vec<char> = chars.rev().take(3).collect();
    tail.reverse();
    format!("{head}...{}", String::from_iter(tail))
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn the_ends_of_a_long_secret_are_shown() {
        assert_eq!(mask("sk-proj-abcdefghij"), "sk-p...hij");
        assert_eq!(mask("123456789"), "1234...789");
        assert_eq!(mask("äöüßäöüßä"), "äöüß...üßä");
    }

    #[test]
    fn nothing_of_a_short_secret_is_shown() {
        for short in ["", "a", "12345678", "äöüßäöüß"] {
            assert_eq!(mask(short), "***", "{short}");
        }
    }
}
