//! The fields of an event as they came, each in its place.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The most entries of an object that are kept; one more than any may have, so that too many are noticed.
const MAX_ENTRIES: usize = super::read::MAX_TAGS + 1;

/// A JSON value, as far as an event needs to know it.
#[derive(Debug, Default)]
pub(super) enum Raw<'a> {
    /// Not there, or `null`.
    #[default]
    Absent,
    /// A whole number.
    Int(i64),
    /// A whole number beyond 64 bits.
    Huge,
    /// A number with a fraction or an exponent.
    Float,
    /// A text.
    Text(Cow<'a, str>),
    /// An object, of which no more than [`MAX_ENTRIES`] are kept.
    Object(Vec<(Cow<'a, str>, Raw<'a>)>),
    /// `true`, `false`, a list, or an object in an object.
    Other,
}

macro_rules! fields {
    ($($name:ident)*) => {
        /// The fields of an event.
        #[derive(Debug, Default)]
        pub(super) struct RawEvent<'a> {
            /// Whether it is an object at all.
            pub(super) is_object: bool,
            $(pub(super) $name: Raw<'a>,)*
        }

        impl<'a> RawEvent<'a> {
            /// The place of a field; `None` for one that is not known.
            fn place(&mut self, name: &str) -> Option<&mut Raw<'a>> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }
        }
    };
}

fields! {
    ic_token event_id timestamp_ms event_type model provider input_tokens output_tokens cost_micros cost_nanos
    provider_id error_code error_message lease_id request_id latency_ms cached_tokens reasoning_tokens trace_id span_id
    tags
}

/// A text that borrows where it can.
pub(super) struct Key<'a>(pub(super) Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}

/// Reads a value; objects only where they may be.
struct RawSeed {
    with_objects: bool,
}

impl<'de> DeserializeSeed<'de> for RawSeed {
    type Value = Raw<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RawSeed {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Raw<'de>, E> {
        Ok(Raw::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw<'de>, E> {
        Ok(Raw::Other)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Raw<'de>, E> {
        Ok(Raw::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Raw<'de>, E> {
        Ok(i64::try_from(number).map_or(Raw::Huge, Raw::Int))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw<'de>, E> {
        Ok(Raw::Float)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Raw<'de>, E> {
        Ok(Raw::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw<'de>, E> {
        Ok(Raw::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw<'de>, E> {
        Ok(Raw::Text(Cow::Owned(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Raw::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw<'de>, A::Error> {
        let mut entries = Vec::new();
        while self.with_objects && entries.len() < MAX_ENTRIES {
            let Some(Key(name)) = map.next_key()? else { return Ok(Raw::Object(entries)) };
            entries.push((name, map.next_value_seed(RawSeed { with_objects: false })?));
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(if self.with_objects { Raw::Object(entries) } else { Raw::Other })
    }
}

impl<'de> Deserialize<'de> for Raw<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawSeed { with_objects: false }.deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for RawEvent<'de> {
    /// Fails only on what is not JSON: a value that is no object is an event without fields.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EventVisitor)
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = RawEvent<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<RawEvent<'de>, E> {
        Ok(RawEvent::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<RawEvent<'de>, E> {
        Ok(RawEvent::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<RawEvent<'de>, E> {
        Ok(RawEvent::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<RawEvent<'de>, E> {
        Ok(RawEvent::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<RawEvent<'de>, E> {
        Ok(RawEvent::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<RawEvent<'de>, E> {
        Ok(RawEvent::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawEvent<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(RawEvent::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawEvent<'de>, A::Error> {
        let mut event = RawEvent { is_object: true, ..RawEvent::default() };
        while let Some(Key(name)) = map.next_key()? {
            match event.place(&name) {
                Some(place) => *place = map.next_value_seed(RawSeed { with_objects: true })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(event)
    }
}
