//! Reading what several requests have in common.

use kernel::validate::{Fields, Patch, checked_text, is_slug, numeric_id};
use serde_json::Value;

/// The most kinds of provider an agent may be said to use.
const MAX_KINDS: usize = 50;

/// A text of at most `max` characters; a blank one is none.
pub(crate) fn optional_note(f: &mut Fields<'_>, name: &str, max: usize) -> Option<String> {
    f.optional_str(name, 0, max).filter(|text| !text.is_empty())
}

/// A text that `null` or a blank one clears, under the first of its names that is mentioned.
pub(crate) fn patch_note(f: &mut Fields<'_>, names: &[&str], max: usize) -> Patch<String> {
    let name = names.iter().find(|name| f.mentions(name)).copied();
    name.map_or(Patch::Keep, |name| f.patch_str(name, 1, max, true))
}

/// Kinds of provider.
pub(crate) fn optional_kinds(f: &mut Fields<'_>, name: &str) -> Option<Vec<String>> {
    f.optional_list(name, 0, MAX_KINDS, |value| match value.as_str().map(str::trim) {
        Some(text) if is_slug(text) => Ok(text.to_owned()),
        _ => Err("must consist of 1 to 50 of a-z, 0-9 and -".to_owned()),
    })
}

/// A list of short texts.
pub(crate) fn optional_texts(f: &mut Fields<'_>, name: &str, max_items: usize, max: usize) -> Option<Vec<String>> {
    f.optional_list(name, 0, max_items, |value| short_text(value, max))
}

fn short_text(value: &Value, max: usize) -> Result<String, String> {
    let text = value.as_str().ok_or_else(|| "must be a string".to_owned())?;
    checked_text(text.trim(), 1, max).map(str::to_owned)
}

/// A list of ids, each a number or a numeric string, under the first of its names that is there.
pub(crate) fn required_ids(f: &mut Fields<'_>, names: &[&str], min: usize, max: usize) -> Option<Vec<i64>> {
    let name = f.spelling(names);
    if !f.has(name) {
        f.error(name, "is required");
    }
    f.optional_list(name, min, max, numeric_id)
}
