//! What a setting takes.

use ipnet::IpNet;
use kernel::validate::{checked_text, is_slug, whole_number};
use kernel::{Money, Zone};
use serde_json::Value;
use url::Url;

/// A kind of value. `null` is none of any kind: it takes away what was set.
#[derive(Debug)]
pub(crate) enum Kind {
    /// One of a few words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// The one of the two that is supported.
    Only(bool),
    /// A whole number from here to there.
    Int(i64, i64),
    /// US dollars, at least a cent.
    Usd,
    /// Percentages, ascending.
    Thresholds,
    /// `[a-z0-9-]{1,50}`.
    Slug,
    /// At least one of those.
    Slugs,
    /// An IANA time zone.
    Zone,
    /// An absolute https URL.
    HttpsUrl,
    /// An e-mail address.
    Email,
    /// Networks in CIDR notation.
    Networks,
}

/// What holds where nobody has set anything.
#[derive(Debug)]
pub(crate) enum BuiltIn {
    Null,
    Flag(bool),
    Int(i64),
    Word(&'static str),
    Ints(&'static [i64]),
}

/// Nothing.
pub(crate) const NULL: BuiltIn = BuiltIn::Null;

impl BuiltIn {
    pub(crate) fn value(&self) -> Value {
        match *self {
            Self::Null => Value::Null,
            Self::Flag(flag) => flag.into(),
            Self::Int(n) => n.into(),
            Self::Word(word) => word.into(),
            Self::Ints(numbers) => numbers.into(),
        }
    }
}

/// The most items of a list.
const MAX_ITEMS: usize = 100;
/// The most percentages.
const MAX_THRESHOLDS: usize = 10;
/// The least that an agent may be given by default.
const ONE_CENT: Money = Money::from_nanos(10_000_000);

impl Kind {
    /// The value in the form in which it is kept, or why it will not do.
    pub(crate) fn check(&self, value: &Value) -> Result<Value, String> {
        match self {
            Self::Word(words) => match value.as_str().map(str::trim) {
                Some(text) if words.contains(&text) => Ok(text.into()),
                _ => Err(format!("must be one of {}", words.join(", "))),
            },
            Self::Flag => value.as_bool().map(Value::from).ok_or_else(|| "must be true or false".to_owned()),
            Self::Only(flag) if value.as_bool() == Some(*flag) => Ok((*flag).into()),
            Self::Only(flag) => Err(format!("must be {flag}: anything else is not supported")),
            Self::Int(min, max) => whole_number(value, *min, *max).map(Value::from),
            Self::Usd => dollars(value),
            Self::Thresholds => {
                let numbers = list(value, 0, MAX_THRESHOLDS, |item| whole_number(item, 1, 1_000))?;
                if numbers.is_sorted_by(|a, b| a < b) {
                    Ok(numbers.into())
                } else {
                    Err("must be ascending".to_owned())
                }
            }
            Self::Slug => slug(value).map(Value::from),
            Self::Slugs => list(value, 1, MAX_ITEMS, slug).map(Value::from),
            Self::Zone => match text(value, 64)?.parse::<Zone>() {
                Ok(zone) => Ok(zone.name().into()),
                Err(why) => Err(format!("is {why}")),
            },
            Self::HttpsUrl => https_url(text(value, 2_000)?).map(Value::from),
            Self::Email => email(text(value, 255)?).map(Value::from),
            Self::Networks => list(value, 0, MAX_ITEMS, network).map(Value::from),
        }
    }
}

fn text(value: &Value, max: usize) -> Result<&str, String> {
    let text = value.as_str().ok_or_else(|| "must be a string".to_owned())?;
    checked_text(text.trim(), 1, max)
}

fn list<T>(
    value: &Value,
    min: usize,
    max: usize,
    item: impl Fn(&Value) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let items = value.as_array().ok_or_else(|| "must be a list".to_owned())?;
    if !(min..=max).contains(&items.len()) {
        return Err(format!("must have {min} to {max} items"));
    }
    let read = |(index, value)| item(value).map_err(|why| format!("item {index} {why}"));
    items.iter().enumerate().map(read).collect()
}

fn dollars(value: &Value) -> Result<Value, String> {
    let why = "must be 0.01 to 1000000000 US dollars with at most 6 decimals";
    let Value::Number(number) = value else { return Err(why.to_owned()) };
    let amount = Money::from_usd_decimal(&number.to_string());
    let fits = amount.is_some_and(|amount| (ONE_CENT..=Money::MAX_CAP).contains(&amount));
    if fits { Ok(value.clone()) } else { Err(why.to_owned()) }
}

fn slug(value: &Value) -> Result<String, String> {
    match value.as_str().map(str::trim) {
        Some(text) if is_slug(text) => Ok(text.to_owned()),
        _ => Err("must consist of 1 to 50 of a-z, 0-9 and -".to_owned()),
    }
}

fn https_url(text: &str) -> Result<String, String> {
    let why = "must be an absolute https URL without user name and password";
    // The parser mends much of what it meets; a message is not to be sent to an address that only looks like another
    if text.contains(|c: char| c.is_whitespace() || c == '\\') {
        return Err(why.to_owned());
    }
    let url = Url::parse(text).map_err(|_| why.to_owned())?;
    let is_plain = url.username().is_empty() && url.password().is_none() && !text.contains("///");
    if url.scheme() == "https" && url.has_host() && is_plain { Ok(text.to_owned()) } else { Err(why.to_owned()) }
}

fn email(text: &str) -> Result<String, String> {
    let is_one = text.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && !host.is_empty() && !host.contains('@') && !text.contains(char::is_whitespace)
    });
    if is_one { Ok(text.to_owned()) } else { Err("must be an e-mail address".to_owned()) }
}

fn network(value: &Value) -> Result<String, String> {
    let read = value.as_str().and_then(|text| text.trim().parse::<IpNet>().ok());
    read.map(|network| network.to_string()).ok_or_else(|| "must be a network such as 10.0.0.0/8".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Kind;

    #[track_caller]
    fn takes(kind: &Kind, good: &[Value], bad: &[Value]) {
        for value in good {
            assert!(kind.check(value).is_ok(), "{kind:?} takes {value}");
        }
        for value in bad.iter().chain(&[Value::Null, json!({})]) {
            assert!(kind.check(value).is_err(), "{kind:?} does not take {value}");
        }
    }

    #[test]
    fn each_kind_takes_what_it_should() {
        takes(&Kind::Word(&["a", "b"]), &[json!("a"), json!(" b ")], &[json!("c"), json!(""), json!(1), json!(["a"])]);
        takes(&Kind::Flag, &[json!(true), json!(false)], &[json!("true"), json!(1)]);
        takes(&Kind::Only(false), &[json!(false)], &[json!(true), json!("false"), json!(0)]);
        takes(&Kind::Int(5, 10), &[json!(5), json!(10)], &[json!(4), json!(11), json!(7.0), json!("7"), json!(true)]);
        let (good, bad) = (
            [json!(0.01), json!(100), json!(1.5), json!(12.123456)],
            [json!(0.009), json!(0), json!(-1), json!("1"), json!(0.0123456), json!(1e18)],
        );
        takes(&Kind::Usd, &good, &bad);
        let bad = [json!([80, 50]), json!([50, 50]), json!([0]), json!([1001]), json!([50.5]), json!(50)];
        takes(&Kind::Thresholds, &[json!([]), json!([50, 80, 95]), json!([1, 1000])], &bad);
        takes(&Kind::Slug, &[json!("openai"), json!("a-1")], &[json!("OpenAI"), json!(""), json!("a b")]);
        takes(&Kind::Slugs, &[json!(["a", "b"])], &[json!([]), json!(["A"]), json!("a"), json!([1])]);
        takes(&Kind::Zone, &[json!("UTC"), json!("Europe/Zurich")], &[json!("Mars"), json!(""), json!(1)]);
        let bad =
            ["http://x.example", "https://u:p@x.example", "https:///x", "https://x y", "//x.example", "ftp://x", ""];
        let good = [json!("https://hooks.example/a?b=c"), json!("https://x:8443/")];
        takes(&Kind::HttpsUrl, &good, &bad.map(Value::from));
        takes(
            &Kind::Email,
            &[json!("a@b.example")],
            &[json!("a"), json!("a@"), json!("@b"), json!("a@b@c"), json!("a b@c")],
        );
        let bad = [json!(["10.0.0.0"]), json!(["10.0.0.0/33"]), json!("10.0.0.0/8"), json!([8])];
        takes(&Kind::Networks, &[json!([]), json!(["10.0.0.0/8", "2001:db8::/32"])], &bad);
    }
}
