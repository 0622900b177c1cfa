//! Many events in one request: a list, a list with the token beside it, or one event a line.

use std::borrow::Cow;
use std::fmt;

use kernel::{ErrorCode, FieldErrors};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::raw::{Key, Raw, RawEvent};
use super::read::Reader;
use super::{Event, EventResult};

/// The most events in one request.
pub const MAX_EVENTS: usize = 1_000;

/// How a batch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchForm {
    /// A list, or an object with `events` in it.
    Json,
    /// One event a line.
    NdJson,
}

/// A batch as the server reads it. Items are checked one by one, so that a bad one does not spoil its neighbours.
#[derive(Debug)]
pub struct EventBatch<'a> {
    /// The token beside the events, for those that have none of their own.
    pub ic_token: Option<Cow<'a, str>>,
    /// The items in their order, 1–[`MAX_EVENTS`].
    pub items: Vec<BatchItem<'a>>,
}

/// One item of a batch: an event and its own token, or what is wrong.
pub type BatchItem<'a> = Result<(Option<Cow<'a, str>>, Event), RejectedItem>;

/// An item that will not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RejectedItem {
    /// It is not JSON.
    Json,
    /// Its fields will not do.
    Fields {
        /// Its id, where that at least can be read.
        event_id: Option<String>,
        /// What is wrong.
        errors: FieldErrors,
        /// Whether it came with a token of its own.
        has_token: bool,
    },
}

impl RejectedItem {
    /// The answer about it.
    pub fn answer(self, index: usize) -> EventResult {
        match self {
            Self::Json => EventResult::rejected(index, None, ErrorCode::MalformedJson, "the line is not valid JSON"),
            Self::Fields { event_id, errors, .. } => EventResult::invalid(index, event_id, &errors),
        }
    }
}

/// Why a body as a whole will not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchRefusal {
    /// It is not JSON (`MALFORMED_JSON`). Only the place is told: the text may be a secret.
    #[error("the body is not valid JSON: line {line}, column {column}")]
    Json {
        /// From 1.
        line: usize,
        /// From 0.
        column: usize,
    },
    /// More than [`MAX_EVENTS`] items (`BATCH_TOO_LARGE`).
    #[error("{count} events in one batch, at most {MAX_EVENTS} are taken")]
    TooLarge {
        /// How many there were.
        count: usize,
    },
    /// The fields will not do (`VALIDATION_ERROR`).
    #[error("{}", .0.summary())]
    Fields(FieldErrors),
}

impl BatchRefusal {
    pub(super) fn json(error: &serde_json::Error) -> Self {
        Self::Json { line: error.line(), column: error.column() }
    }
}

impl<'a> EventBatch<'a> {
    /// Reads a batch.
    ///
    /// # Errors
    /// If it is not JSON as a whole, has no items or too many, or the token beside them is none.
    pub fn read(body: &'a [u8], form: BatchForm) -> Result<Self, BatchRefusal> {
        let Form { ic_token, items, count, mut errors } = match form {
            // No body at all is an object without fields
            BatchForm::Json if body.is_empty() => Form::default().without_events(),
            BatchForm::Json => serde_json::from_slice(body).map_err(|error| BatchRefusal::json(&error))?,
            BatchForm::NdJson => Form::lines(body),
        };
        if count > MAX_EVENTS {
            return Err(BatchRefusal::TooLarge { count });
        }
        let mut reader = Reader::default();
        reader.token(&ic_token, false);
        for (path, why) in reader.errors.iter() {
            errors.add(path, why);
        }
        if count == 0 && errors.iter().all(|(path, _)| path != "events" && !path.is_empty()) {
            errors.add("events", format!("must have 1 to {MAX_EVENTS} items"));
        }
        if !errors.is_empty() {
            return Err(BatchRefusal::Fields(errors));
        }
        let ic_token = trimmed(ic_token);
        Ok(Self { ic_token, items })
    }

    /// Whether an item, be it a bad one, came without a token of its own and so stands under the shared one.
    pub fn shares_token(&self) -> bool {
        self.items.iter().any(|item| match item {
            Ok((own, _)) => own.is_none(),
            Err(RejectedItem::Json) => true,
            Err(RejectedItem::Fields { has_token, .. }) => !has_token,
        })
    }
}

/// A text without the space around it; borrows where it can.
fn trimmed(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    match raw {
        Raw::Text(Cow::Borrowed(text)) => Some(Cow::Borrowed(text.trim())),
        Raw::Text(Cow::Owned(text)) => Some(Cow::Owned(text.trim().to_owned())),
        _ => None,
    }
}

fn check(raw: RawEvent<'_>) -> BatchItem<'_> {
    let mut reader = Reader::default();
    let event = reader.event(&raw);
    reader.token(&raw.ic_token, false);
    match event {
        Some(event) if reader.errors.is_empty() => Ok((trimmed(raw.ic_token), event)),
        _ => Err(RejectedItem::Fields {
            event_id: Reader::readable_id(&raw),
            errors: reader.errors,
            has_token: !matches!(raw.ic_token, Raw::Absent),
        }),
    }
}

/// What was read, before it is known whether it will do.
#[derive(Default)]
struct Form<'a> {
    ic_token: Raw<'a>,
    /// No more than [`MAX_EVENTS`].
    items: Vec<BatchItem<'a>>,
    count: usize,
    errors: FieldErrors,
}

impl<'a> Form<'a> {
    fn without_events(mut self) -> Self {
        self.errors.add("events", "is required");
        self
    }

    fn neither() -> Self {
        Self { errors: FieldErrors::one("", "must be a JSON list or object"), ..Self::default() }
    }

    fn lines(body: &'a [u8]) -> Self {
        let mut form = Self::default();
        let lines = body.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        for line in lines {
            form.count += 1;
            if form.count <= MAX_EVENTS {
                let item = serde_json::from_slice(line).map_err(|_| RejectedItem::Json).and_then(check);
                form.items.push(item);
            }
        }
        form
    }
}

impl<'de> Deserialize<'de> for Form<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FormVisitor)
    }
}

struct FormVisitor;

impl<'de> Visitor<'de> for FormVisitor {
    type Value = Form<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Form<'de>, E> {
        Ok(Form::neither())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Form<'de>, E> {
        Ok(Form::neither())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Form<'de>, E> {
        Ok(Form::neither())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Form<'de>, E> {
        Ok(Form::neither())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Form<'de>, E> {
        Ok(Form::neither())
    }

    fn visit_str<E>(self, _: &str) -> Result<Form<'de>, E> {
        Ok(Form::neither())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Form<'de>, A::Error> {
        let Items { items, count } = Items::read(seq)?;
        Ok(Form { items, count, ..Form::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Form<'de>, A::Error> {
        let mut form = Form::default();
        let mut events = Events::Absent;
        while let Some(Key(name)) = map.next_key()? {
            match name.as_ref() {
                "ic_token" => form.ic_token = map.next_value()?,
                "events" => events = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match events {
            Events::Absent => form = form.without_events(),
            Events::Other => form.errors.add("events", "must be a list"),
            Events::List(Items { items, count }) => (form.items, form.count) = (items, count),
        }
        Ok(form)
    }
}

/// The value of `events`.
enum Events<'a> {
    Absent,
    List(Items<'a>),
    Other,
}

struct Items<'a> {
    items: Vec<BatchItem<'a>>,
    count: usize,
}

impl<'a> Items<'a> {
    fn read<A: SeqAccess<'a>>(mut seq: A) -> Result<Self, A::Error> {
        let (mut items, mut count) = (Vec::new(), 0);
        while count < MAX_EVENTS {
            let Some(raw) = seq.next_element::<RawEvent<'a>>()? else { return Ok(Self { items, count }) };
            items.push(check(raw));
            count += 1;
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Self { items, count })
    }
}

impl<'de> Deserialize<'de> for Events<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EventsVisitor)
    }
}

struct EventsVisitor;

impl<'de> Visitor<'de> for EventsVisitor {
    type Value = Events<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Events<'de>, E> {
        Ok(Events::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Events<'de>, E> {
        Ok(Events::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Events<'de>, E> {
        Ok(Events::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Events<'de>, E> {
        Ok(Events::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Events<'de>, E> {
        Ok(Events::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Events<'de>, E> {
        Ok(Events::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Events<'de>, A::Error> {
        Ok(Events::List(Items::read(seq)?))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Events<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Events::Other)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::EventBatchBody;
    use super::{BatchForm, BatchRefusal, EventBatch, MAX_EVENTS, RejectedItem};

    fn event(id: &str) -> Value {
        json!({
            "event_id": id, "timestamp_ms": 1, "event_type": "llm_request_failed", "model": "m", "provider": "p",
        })
    }

    fn refusal(body: &Value) -> BatchRefusal {
        EventBatch::read(body.to_string().as_bytes(), BatchForm::Json).expect_err("refused")
    }

    fn fields(body: &Value) -> Vec<String> {
        let BatchRefusal::Fields(errors) = refusal(body) else { panic!("{body}") };
        errors.iter().map(|(path, _)| path.to_owned()).collect()
    }

    #[test]
    fn a_list_and_an_object_with_a_list_are_the_same() {
        let list = json!([event("a"), event("b")]).to_string();
        let object = json!({"x": [1], "events": [event("a"), event("b")], "ic_token": " t "}).to_string();
        let list = EventBatch::read(list.as_bytes(), BatchForm::Json).expect("a batch");
        let object = EventBatch::read(object.as_bytes(), BatchForm::Json).expect("a batch");
        assert_eq!(list.items, object.items);
        assert_eq!((list.ic_token, object.ic_token.as_deref()), (None, Some("t")));
    }

    #[test]
    fn bad_items_do_not_spoil_good_ones_and_their_ids_are_told() {
        let mut own = event("c");
        own["ic_token"] = json!("mine");
        let mut bad_token = event("d");
        bad_token["ic_token"] = json!("");
        let text = json!([event("a"), 7, {"event_id": "b"}, own, bad_token, {"event_id": 5}]).to_string();
        let batch = EventBatch::read(text.as_bytes(), BatchForm::Json).expect("a batch");
        let good: Vec<_> = batch.items.iter().flatten().map(|(t, e)| (t.as_deref(), e.event_id.as_str())).collect();
        assert_eq!(good, [(None, "a"), (Some("mine"), "c")]);
        let ids: Vec<_> = batch
            .items
            .iter()
            .filter_map(|item| match item {
                Err(RejectedItem::Fields { event_id, .. }) => Some(event_id.as_deref()),
                _ => None,
            })
            .collect();
        assert_eq!(ids, [None, Some("b"), Some("d"), None]);
    }

    #[test]
    fn a_bad_line_is_a_rejected_item_and_blank_lines_are_nothing() {
        let text = format!("{}\r\n\n{{\"event_id\":\n  {}  \n", event("a"), event("b"));
        let batch = EventBatch::read(text.as_bytes(), BatchForm::NdJson).expect("a batch");
        assert_eq!(batch.items.len(), 3);
        assert_eq!(batch.items[1], Err(RejectedItem::Json));
        assert!(batch.items[0].is_ok() && batch.items[2].is_ok());
    }

    #[test]
    fn more_than_a_thousand_is_an_outcome_of_its_own_in_every_form() {
        let many = |n: usize| vec![event("a"); n];
        let too_large = BatchRefusal::TooLarge { count: 1_001 };
        assert_eq!(refusal(&json!(many(1_001))), too_large);
        assert_eq!(refusal(&json!({"events": many(1_001), "ic_token": 5})), too_large);
        let lines = format!("{}\n", event("a")).repeat(1_001);
        assert_eq!(EventBatch::read(lines.as_bytes(), BatchForm::NdJson).err(), Some(too_large));
        let text = json!(many(1_000)).to_string();
        let batch = EventBatch::read(text.as_bytes(), BatchForm::Json);
        assert_eq!(batch.map(|b| b.items.len()), Ok(MAX_EVENTS));
    }

    #[test]
    fn the_fields_around_the_items_are_all_named() {
        for (body, names) in [
            (json!({}), &["events"][..]),
            (json!({"events": null}), &["events"]),
            (json!({"events": {}, "ic_token": 1}), &["events", "ic_token"]),
            (json!({"events": [], "ic_token": " "}), &["events", "ic_token"]),
            (json!([]), &["events"]),
            (json!("x"), &[""]),
            (json!(null), &[""]),
        ] {
            assert_eq!(fields(&body), names, "{body}");
        }
        assert!(matches!(EventBatch::read(b"", BatchForm::Json), Err(BatchRefusal::Fields(_))));
        assert!(matches!(EventBatch::read(b" \n", BatchForm::NdJson), Err(BatchRefusal::Fields(_))));
        assert!(matches!(EventBatch::read(b"[", BatchForm::Json), Err(BatchRefusal::Json { .. })));
    }

    #[test]
    fn what_a_client_writes_the_server_reads() {
        let text = json!([event("a"), event("b")]).to_string();
        let batch = EventBatch::read(text.as_bytes(), BatchForm::Json).expect("a batch");
        let events: Vec<_> = batch.items.into_iter().flatten().map(|(_, event)| event).collect();
        let body = serde_json::to_vec(&EventBatchBody { ic_token: "t", events: &events }).expect("JSON");
        let again = EventBatch::read(&body, BatchForm::Json).expect("a batch");
        let again: Vec<_> = again.items.into_iter().flatten().map(|(_, event)| event).collect();
        assert_eq!(again, events);
    }
}
