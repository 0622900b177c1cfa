//! Reading untrusted JSON: every failing field is named, missing and mistyped ones included.
//!
//! Deriving a deserialiser stops at the first mistake; the HTTP contract wants them all. A request type implements
//! [`FromFields`] and reads its fields one after the other; each reader records what is wrong and returns `None`.
//! Unknown fields are ignored, and `null` is the same as absent except where a field is read as a [`Patch`].
//!
//! ```
//! use kernel::validate::{FromFields, Fields, read};
//! struct Report { model: String, tokens: i64 }
//! impl FromFields for Report {
//!     fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
//!         let (model, tokens) = (f.required_str("model", 1, 200), f.required_int("tokens", 0, 1_000_000_000));
//!         Some(Self { model: model?, tokens: tokens? })
//!     }
//! }
//! let errors = read::<Report>(&serde_json::json!({"tokens": 1.5})).err().unwrap();
//! assert_eq!(errors.iter().count(), 2);
//! ```

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{Money, Timestamp};

/// What is wrong, by path (`a.b`, `list[2].x`); the empty path is the body itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldErrors(BTreeMap<String, String>);

impl FieldErrors {
    /// A single complaint.
    pub fn one(path: impl Into<String>, why: impl Into<String>) -> Self {
        let mut errors = Self::default();
        errors.add(path, why);
        errors
    }

    /// Adds a complaint; the first one about a path stays.
    pub fn add(&mut self, path: impl Into<String>, why: impl Into<String>) {
        self.0.entry(path.into()).or_insert_with(|| why.into());
    }

    /// Whether there is nothing to complain about.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The complaints in order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// One readable sentence.
    pub fn summary(&self) -> String {
        let parts: Vec<String> = self
            .iter()
            .map(|(path, why)| if path.is_empty() { why.to_owned() } else { format!("{path} {why}") })
            .collect();
        parts.join("; ")
    }
}

/// A request that can be read from a JSON object.
pub trait FromFields: Sized {
    /// Reads the fields; returns `None` exactly when it has recorded an error.
    fn from_fields(fields: &mut Fields<'_>) -> Option<Self>;
}

/// Reads a request from a body.
pub fn read<T: FromFields>(body: &Value) -> Result<T, FieldErrors> {
    let mut errors = FieldErrors::default();
    let result = Fields::root(body, &mut errors).and_then(|mut fields| T::from_fields(&mut fields));
    match result {
        Some(value) if errors.is_empty() => Ok(value),
        _ if errors.is_empty() => Err(FieldErrors::one("", "is not a valid request")),
        _ => Err(errors),
    }
}

/// A field for which `null` means something else than absence.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Patch<T> {
    /// Leave it as it is.
    #[default]
    Keep,
    /// `null`: empty it.
    Clear,
    /// Replace it.
    Set(T),
}

impl<T> Patch<T> {
    /// The value after this patch.
    pub fn apply(self, old: Option<T>) -> Option<T> {
        match self {
            Self::Keep => old,
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }

    /// Whether it is to be emptied.
    pub const fn is_clear(&self) -> bool {
        matches!(self, Self::Clear)
    }

    /// Whether nothing is to change.
    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

/// One JSON object being read.
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    prefix: String,
    errors: &'a mut FieldErrors,
}

impl<'a> Fields<'a> {
    /// The body itself; records an error if it is not an object.
    pub fn root(body: &'a Value, errors: &'a mut FieldErrors) -> Option<Self> {
        match body {
            Value::Object(map) => Some(Self { map, prefix: String::new(), errors }),
            _ => {
                errors.add("", "must be a JSON object");
                None
            }
        }
    }

    /// Records an error about one field of this object.
    pub fn error(&mut self, name: &str, why: impl Into<String>) {
        let path = self.path(name);
        self.errors.add(path, why);
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The value unless it is absent or `null`.
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|v| !v.is_null())
    }

    /// Whether the field is there and not `null`.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Whether the field is there, `null` included.
    pub fn mentions(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// The first of these spellings that is there, or the first one.
    pub fn spelling<'n>(&self, names: &[&'n str]) -> &'n str {
        names.iter().find(|n| self.has(n)).or(names.first()).copied().unwrap_or("")
    }

    fn require<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.has(name) {
            read(self)
        } else {
            self.error(name, "is required");
            None
        }
    }

    /// A trimmed string of `min..=max` characters without control characters.
    pub fn optional_str(&mut self, name: &str, min: usize, max: usize) -> Option<String> {
        let Some(text) = self.value(name)?.as_str() else {
            self.error(name, "must be a string");
            return None;
        };
        match checked_text(text.trim(), min, max) {
            Ok(text) => Some(text.to_owned()),
            Err(why) => {
                self.error(name, why);
                None
            }
        }
    }

    /// As [`Fields::optional_str`], but must be there.
    pub fn required_str(&mut self, name: &str, min: usize, max: usize) -> Option<String> {
        self.require(name, |f| f.optional_str(name, min, max))
    }

    /// A string of `min..=max` characters taken as it is: passwords and provider keys are not trimmed.
    pub fn required_verbatim(&mut self, name: &str, min: usize, max: usize) -> Option<String> {
        self.require(name, |f| {
            let text = f.value(name).and_then(Value::as_str);
            let count = text.map(|t| t.chars().count());
            match (text, count) {
                (Some(text), Some(count)) if (min..=max).contains(&count) && !text.contains('\0') => {
                    Some(text.to_owned())
                }
                (None, _) => {
                    f.error(name, "must be a string");
                    None
                }
                _ => {
                    f.error(name, format!("must have {min} to {max} characters and no NUL"));
                    None
                }
            }
        })
    }

    /// A string where `null` (and, if `empty_clears`, the empty string) clears the stored value.
    pub fn patch_str(&mut self, name: &str, min: usize, max: usize, empty_clears: bool) -> Patch<String> {
        match self.map.get(name) {
            None => Patch::Keep,
            Some(Value::Null) => Patch::Clear,
            Some(Value::String(s)) if empty_clears && s.trim().is_empty() => Patch::Clear,
            Some(_) => self.optional_str(name, min, max).map_or(Patch::Keep, Patch::Set),
        }
    }

    /// A whole number in `min..=max`; `1.0`, `1e3` and `"1"` are refused.
    pub fn optional_int(&mut self, name: &str, min: i64, max: i64) -> Option<i64> {
        let value = self.value(name)?;
        match whole_number(value, min, max) {
            Ok(n) => Some(n),
            Err(why) => {
                self.error(name, why);
                None
            }
        }
    }

    /// As [`Fields::optional_int`], but must be there.
    pub fn required_int(&mut self, name: &str, min: i64, max: i64) -> Option<i64> {
        self.require(name, |f| f.optional_int(name, min, max))
    }

    /// A whole number where `null` clears the stored value.
    pub fn patch_int(&mut self, name: &str, min: i64, max: i64) -> Patch<i64> {
        match self.map.get(name) {
            None => Patch::Keep,
            Some(Value::Null) => Patch::Clear,
            Some(_) => self.optional_int(name, min, max).map_or(Patch::Keep, Patch::Set),
        }
    }

    /// Micro-dollars in `min..=max` (both in micro-dollars).
    pub fn optional_micros(&mut self, name: &str, min: i64, max: Money) -> Option<Money> {
        self.optional_int(name, min, max.micros_floor()).and_then(Money::from_micros)
    }

    /// As [`Fields::optional_micros`], but must be there.
    pub fn required_micros(&mut self, name: &str, min: i64, max: Money) -> Option<Money> {
        self.require(name, |f| f.optional_micros(name, min, max))
    }

    /// US dollars as a JSON number with at most six decimals, in `min..=max`.
    pub fn optional_usd(&mut self, name: &str, min: Money, max: Money) -> Option<Money> {
        let why = match self.value(name)? {
            Value::Number(n) => match Money::from_usd_decimal(&n.to_string()) {
                Some(money) if (min..=max).contains(&money) => return Some(money),
                Some(_) => {
                    let [low, high] = [min, max].map(|m| Money::usd_decimal_of_micros(m.micros_floor()));
                    format!("must be {low} to {high} US dollars")
                }
                None => "must be US dollars with at most 6 decimals".to_owned(),
            },
            _ => "must be a number of US dollars".to_owned(),
        };
        self.error(name, why);
        None
    }

    /// As [`Fields::optional_usd`], but must be there.
    pub fn required_usd(&mut self, name: &str, min: Money, max: Money) -> Option<Money> {
        self.require(name, |f| f.optional_usd(name, min, max))
    }

    /// `true` or `false`.
    pub fn optional_bool(&mut self, name: &str) -> Option<bool> {
        let value = self.value(name)?;
        if value.as_bool().is_none() {
            self.error(name, "must be true or false");
        }
        value.as_bool()
    }

    /// One of a few words.
    pub fn optional_word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        let value = self.value(name)?;
        let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        if found.is_none() {
            let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.error(name, format!("must be one of {}", list.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// A slug, `[a-z0-9-]{1,50}`.
    pub fn optional_slug(&mut self, name: &str) -> Option<String> {
        let text = self.optional_str(name, 1, 50)?;
        if is_slug(&text) {
            return Some(text);
        }
        self.error(name, "must consist of a-z, 0-9 and -");
        None
    }

    /// An instant: milliseconds, seconds (below 10¹¹) or RFC 3339.
    pub fn optional_instant(&mut self, name: &str) -> Option<Timestamp> {
        let read = match self.value(name)? {
            Value::Number(n) => n
                .as_i64()
                .filter(|n| (0..=Timestamp::MAX.millis()).contains(n))
                .map(|n| if n < 100_000_000_000 { Timestamp::from_secs(n) } else { Timestamp::from_millis(n) }),
            Value::String(text) => Timestamp::from_rfc3339(text.trim()).filter(|t| *t >= Timestamp::EPOCH),
            _ => None,
        };
        if read.is_none() {
            self.error(name, "must be milliseconds or seconds since 1970, or an RFC 3339 time");
        }
        read
    }

    /// A list, each item read by `item` (which gets the item and returns why it will not do).
    pub fn optional_list<T>(
        &mut self,
        name: &str,
        min: usize,
        max: usize,
        item: impl Fn(&Value) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let Some(values) = self.value(name)?.as_array() else {
            self.error(name, "must be a list");
            return None;
        };
        if !(min..=max).contains(&values.len()) {
            self.error(name, format!("must have {min} to {max} items"));
            return None;
        }
        let mut read = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            match item(value) {
                Ok(value) => read.push(value),
                Err(why) => self.error(&format!("{name}[{index}]"), why),
            }
        }
        (read.len() == values.len()).then_some(read)
    }

    /// An object read as another request type.
    pub fn optional_object<T: FromFields>(&mut self, name: &str) -> Option<T> {
        let Some(map) = self.value(name)?.as_object() else {
            self.error(name, "must be an object");
            return None;
        };
        let prefix = format!("{}{name}.", self.prefix);
        T::from_fields(&mut Fields { map, prefix, errors: self.errors })
    }

    /// As [`Fields::optional_object`], but must be there.
    pub fn required_object<T: FromFields>(&mut self, name: &str) -> Option<T> {
        self.require(name, |f| f.optional_object(name))
    }
}

/// Whether the text is a slug, `[a-z0-9-]{1,50}`.
pub fn is_slug(text: &str) -> bool {
    (1..=50).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Checks a trimmed text for its length in characters and for control characters.
pub fn checked_text(text: &str, min: usize, max: usize) -> Result<&str, String> {
    // A character has at most four bytes: hopeless lengths are refused without counting
    let count = if text.len() > max.saturating_mul(4) { usize::MAX } else { text.chars().count() };
    if !(min..=max).contains(&count) {
        return Err(if min == 0 {
            format!("must have at most {max} characters")
        } else {
            format!("must have {min} to {max} characters")
        });
    }
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".to_owned());
    }
    Ok(text)
}

/// Reads a whole number in `min..=max`.
pub fn whole_number(value: &Value, min: i64, max: i64) -> Result<i64, String> {
    match value {
        Value::Number(n) if n.is_i64() || n.is_u64() => match n.as_i64() {
            Some(n) if (min..=max).contains(&n) => Ok(n),
            _ => Err(format!("must be {min} to {max}")),
        },
        _ => Err("must be a whole number".to_owned()),
    }
}

/// Reads an id given as a number or as a numeric string.
pub fn numeric_id(value: &Value) -> Result<i64, String> {
    let id = match value {
        Value::String(text) => text.trim().parse::<i64>().ok(),
        other => other.as_i64(),
    };
    id.filter(|id| *id > 0).ok_or_else(|| "must be a positive number".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Fields, FromFields, Patch, read};
    use crate::Money;

    #[derive(Debug)]
    struct Sample {
        name: String,
        cost: Money,
        note: Patch<String>,
    }

    impl FromFields for Sample {
        fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
            let name = f.required_str("name", 1, 5);
            let cost = f.required_micros("cost", 0, Money::MAX_CALL);
            let note = f.patch_str("note", 1, 10, true);
            f.optional_list("tags", 0, 2, |v| v.as_str().map(str::to_owned).ok_or_else(|| "must be a string".into()));
            Some(Self { name: name?, cost: cost?, note })
        }
    }

    fn errors(body: Value) -> Vec<String> {
        let errors = read::<Sample>(&body).err().unwrap_or_default();
        errors.iter().map(|(path, _)| path.to_owned()).collect()
    }

    #[test]
    fn every_failing_field_is_named() {
        assert_eq!(errors(json!({"tags": ["a", 1]})), ["cost", "name", "tags[1]"]);
        assert_eq!(errors(json!([])), [""]);
        assert_eq!(errors(json!({"name": "toolong", "cost": 1.0, "note": 3})), ["cost", "name", "note"]);
    }

    #[test]
    fn money_is_a_whole_number_in_range_or_refused() {
        for bad in [json!(1.5), json!(1e3), json!(-1), json!("1"), json!(1_000_000_000_001_i64), json!(u64::MAX)] {
            assert_eq!(errors(json!({"name": "a", "cost": bad})), ["cost"]);
        }
    }

    #[test]
    fn control_characters_are_refused_and_text_is_trimmed() {
        assert_eq!(errors(json!({"name": "a\u{0}b", "cost": 1})), ["name"]);
        let sample = read::<Sample>(&json!({"name": "  ab ", "cost": 1, "note": null})).expect("valid");
        assert_eq!((sample.name.as_str(), sample.cost.nanos(), sample.note), ("ab", 1_000, Patch::Clear));
    }
}
