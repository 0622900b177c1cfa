//! What makes an event valid.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kernel::validate::{checked_text, is_slug};
use kernel::{FieldErrors, LeaseId, Money, ProviderKeyId, Secret, Timestamp};

use super::raw::{Raw, RawEvent};
use super::{
    CallStatus, Event, MAX_ERROR_CODE, MAX_ERROR_MESSAGE, MAX_EVENT_ID, MAX_LATENCY_MS, MAX_MODEL, MAX_TOKENS,
    ProviderRef, UNKNOWN,
};

/// Longest IC token, in bytes (it is ASCII).
pub(super) const MAX_IC_TOKEN: usize = 2_000;
/// Most tags of an event.
pub(super) const MAX_TAGS: usize = 20;
/// Longest name of a tag, in characters.
const MAX_TAG: usize = 50;
/// Longest value of a tag, in characters.
const MAX_TAG_VALUE: usize = 200;
/// Longest lease id and request id, in characters.
const MAX_ID: usize = 100;
/// Longest name of a provider in `provider_id`, in characters.
const MAX_PROVIDER_ID: usize = 128;
/// The largest exact cost of one call, in nano-dollars.
const MAX_COST_NANOS: i64 = 1_000_000_000_000_000;
/// The largest whole number that survives a JSON number, 2⁵³−1.
const MAX_INT: i64 = 9_007_199_254_740_991;

/// The body of `analytics/events`.
pub struct EventRequest {
    /// The agent's token.
    pub ic_token: Secret<String>,
    /// What it says.
    pub event: Event,
}

impl EventRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// The place where it stops being JSON, or what is wrong with its fields.
    pub fn read(body: &[u8]) -> Result<Self, super::BatchRefusal> {
        // No body at all is an object without fields
        let body = if body.is_empty() { b"{}" } else { body };
        let raw: RawEvent<'_> = serde_json::from_slice(body).map_err(|error| super::BatchRefusal::json(&error))?;
        let mut reader = Reader::default();
        let token = reader.token(&raw.ic_token, true);
        let event = reader.event(&raw);
        match (token, event) {
            (Some(token), Some(event)) if reader.errors.is_empty() => {
                Ok(Self { ic_token: Secret::new(token.to_owned()), event })
            }
            _ => Err(super::BatchRefusal::Fields(reader.errors)),
        }
    }
}

/// Collects what is wrong; returns `None` where something is.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) errors: FieldErrors,
}

impl Reader {
    /// The event, if every field of it will do.
    pub(super) fn event(&mut self, raw: &RawEvent<'_>) -> Option<Event> {
        if !raw.is_object {
            self.errors.add("", "must be a JSON object");
            return None;
        }
        let event_id = self.required("event_id", &raw.event_id, |r, n, v| r.text(n, v, 1, MAX_EVENT_ID));
        let timestamp = self.required("timestamp_ms", &raw.timestamp_ms, |r, n, v| r.int(n, v, 0, MAX_INT));
        let status = self.required("event_type", &raw.event_type, Self::status);
        let model = self.required("model", &raw.model, |r, n, v| r.cut(n, v, MAX_MODEL));
        let provider = self.required("provider", &raw.provider, Self::slug);
        let is_completed = status == Some(CallStatus::Completed);
        let input_tokens = self.tokens("input_tokens", &raw.input_tokens, is_completed);
        let output_tokens = self.tokens("output_tokens", &raw.output_tokens, is_completed);
        let cost = self.cost(&raw.cost_micros, &raw.cost_nanos);
        let rest = Event {
            event_id: String::new(),
            timestamp: Timestamp::EPOCH,
            status: CallStatus::Failed,
            model: String::new(),
            provider: String::new(),
            input_tokens: 0,
            output_tokens: 0,
            cost: Money::ZERO,
            provider_id: self.provider_id(&raw.provider_id),
            error_code: self.one_line("error_code", &raw.error_code, MAX_ERROR_CODE),
            error_message: self.one_line("error_message", &raw.error_message, MAX_ERROR_MESSAGE),
            lease_id: self.id("lease_id", &raw.lease_id, MAX_ID).map(LeaseId::new),
            request_id: self.id("request_id", &raw.request_id, MAX_ID),
            latency_ms: self.int("latency_ms", &raw.latency_ms, 0, MAX_LATENCY_MS),
            cached_tokens: self.int("cached_tokens", &raw.cached_tokens, 0, MAX_TOKENS),
            reasoning_tokens: self.int("reasoning_tokens", &raw.reasoning_tokens, 0, MAX_TOKENS),
            trace_id: self.hex("trace_id", &raw.trace_id, 32),
            span_id: self.hex("span_id", &raw.span_id, 16),
            tags: self.tags(&raw.tags),
        };
        if !self.errors.is_empty() {
            return None;
        }
        let model = model.map(str::to_owned)?;
        Some(Event {
            event_id: event_id?.to_owned(),
            timestamp: Timestamp::from_millis(timestamp?.min(Timestamp::MAX.millis())),
            status: status?,
            model: if model.is_empty() { UNKNOWN.to_owned() } else { model },
            provider: provider?.to_owned(),
            input_tokens: input_tokens?,
            output_tokens: output_tokens?,
            cost: cost?,
            ..rest
        })
    }

    /// The id of an event that will not do, where that at least can be read.
    pub(super) fn readable_id(raw: &RawEvent<'_>) -> Option<String> {
        let Raw::Text(text) = &raw.event_id else { return None };
        checked_text(text.trim(), 1, MAX_EVENT_ID).ok().map(str::to_owned)
    }

    /// The token of an event or of a batch.
    pub(super) fn token<'r>(&mut self, raw: &'r Raw<'_>, is_required: bool) -> Option<&'r str> {
        if is_required {
            self.required("ic_token", raw, |r, n, v| r.text(n, v, 1, MAX_IC_TOKEN))
        } else {
            self.text("ic_token", raw, 1, MAX_IC_TOKEN)
        }
    }

    fn fail<T>(&mut self, name: &str, why: impl Into<String>) -> Option<T> {
        self.errors.add(name, why);
        None
    }

    fn required<'r, 'a, T>(
        &mut self,
        name: &'static str,
        raw: &'r Raw<'a>,
        read: impl FnOnce(&mut Self, &'static str, &'r Raw<'a>) -> Option<T>,
    ) -> Option<T> {
        match raw {
            Raw::Absent => self.fail(name, "is required"),
            raw => read(self, name, raw),
        }
    }

    fn string<'r>(&mut self, name: &str, raw: &'r Raw<'_>) -> Option<&'r str> {
        match raw {
            Raw::Absent => None,
            Raw::Text(text) => Some(text.trim()),
            _ => self.fail(name, "must be a string"),
        }
    }

    /// A text that is refused where it is too long.
    fn text<'r>(&mut self, name: &str, raw: &'r Raw<'_>, min: usize, max: usize) -> Option<&'r str> {
        let text = self.string(name, raw)?;
        checked_text(text, min, max).map_or_else(|why| self.fail(name, why), Some)
    }

    /// A text that is refused where it is too long; a blank one is none.
    fn id(&mut self, name: &str, raw: &Raw<'_>, max: usize) -> Option<String> {
        self.text(name, raw, 0, max).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// Hexadecimal digits, made small; a blank text is none.
    fn hex(&mut self, name: &str, raw: &Raw<'_>, digits: usize) -> Option<String> {
        let text = self.string(name, raw).filter(|text| !text.is_empty())?;
        if text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            Some(text.to_ascii_lowercase())
        } else {
            self.fail(name, format!("must be {digits} hexadecimal digits"))
        }
    }

    /// A text that is cut where it is too long.
    fn cut<'r>(&mut self, name: &str, raw: &'r Raw<'_>, max: usize) -> Option<&'r str> {
        let text = cut(self.string(name, raw)?, max);
        checked_text(text, 0, max).map_or_else(|why| self.fail(name, why), Some)
    }

    /// A text that is cut where it is too long and put on one line: the messages of providers have several, and an event
    /// that were refused for that would be lost. A blank one is none.
    fn one_line(&mut self, name: &str, raw: &Raw<'_>, max: usize) -> Option<String> {
        let text = one_line(self.string(name, raw)?, max);
        if text.chars().any(char::is_control) {
            return self.fail(name, "must not contain control characters");
        }
        (!text.is_empty()).then(|| text.into_owned())
    }

    fn int(&mut self, name: &str, raw: &Raw<'_>, min: i64, max: i64) -> Option<i64> {
        match raw {
            Raw::Absent => None,
            Raw::Int(n) if (min..=max).contains(n) => Some(*n),
            Raw::Int(_) | Raw::Huge => self.fail(name, format!("must be {min} to {max}")),
            _ => self.fail(name, "must be a whole number"),
        }
    }

    fn tokens(&mut self, name: &'static str, raw: &Raw<'_>, is_required: bool) -> Option<i64> {
        match raw {
            Raw::Absent if is_required => self.fail(name, "is required"),
            Raw::Absent => Some(0),
            raw => self.int(name, raw, 0, MAX_TOKENS),
        }
    }

    fn status(&mut self, name: &'static str, raw: &Raw<'_>) -> Option<CallStatus> {
        let text = self.string(name, raw)?;
        let found = CallStatus::EVENT_TYPES.iter().find(|(word, _)| *word == text);
        found.map_or_else(
            || self.fail(name, "must be one of llm_request_completed, llm_request_failed"),
            |(_, status)| Some(*status),
        )
    }

    fn slug<'r>(&mut self, name: &'static str, raw: &'r Raw<'_>) -> Option<&'r str> {
        let text = self.string(name, raw)?;
        if is_slug(text) { Some(text) } else { self.fail(name, "must consist of 1 to 50 of a-z, 0-9 and -") }
    }

    fn cost(&mut self, micros: &Raw<'_>, nanos: &Raw<'_>) -> Option<Money> {
        let complaints = self.errors.iter().count();
        let stated = self.int("cost_micros", micros, 0, Money::MAX_CALL.micros_floor()).and_then(Money::from_micros);
        let exact = self.int("cost_nanos", nanos, 0, MAX_COST_NANOS).map(Money::from_nanos);
        if let (Some(stated), Some(exact)) = (stated, exact)
            && stated.micros_floor() != exact.micros_floor()
            && stated.micros_floor() != exact.micros_ceil()
        {
            return self.fail("cost_nanos", "must round to cost_micros");
        }
        (self.errors.iter().count() == complaints).then(|| exact.or(stated).unwrap_or(Money::ZERO))
    }

    fn provider_id(&mut self, raw: &Raw<'_>) -> Option<ProviderRef> {
        const NAME: &str = "provider_id";
        match raw {
            Raw::Absent => None,
            Raw::Int(id) if *id > 0 => Some(ProviderRef::Key(ProviderKeyId(*id))),
            Raw::Int(_) | Raw::Huge => self.fail(NAME, "must be a positive number"),
            Raw::Text(_) => {
                let text = self.text(NAME, raw, 0, MAX_PROVIDER_ID).filter(|text| !text.is_empty())?;
                let is_number = text.bytes().all(|b| b.is_ascii_digit());
                let id = if is_number { text.parse().ok().filter(|id| *id > 0) } else { None };
                Some(id.map_or_else(|| ProviderRef::Name(text.to_owned()), |id| ProviderRef::Key(ProviderKeyId(id))))
            }
            _ => self.fail(NAME, "must be a string or a whole number"),
        }
    }

    fn tags(&mut self, raw: &Raw<'_>) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::new();
        let entries = match raw {
            Raw::Absent => return tags,
            Raw::Object(entries) if entries.len() <= MAX_TAGS => entries,
            Raw::Object(_) => {
                self.errors.add("tags", format!("must have at most {MAX_TAGS} entries"));
                return tags;
            }
            _ => {
                self.errors.add("tags", "must be an object");
                return tags;
            }
        };
        for (name, value) in entries {
            let checked = checked_text(name.trim(), 1, MAX_TAG).and_then(|name| match value {
                Raw::Text(text) => checked_text(text.trim(), 0, MAX_TAG_VALUE).map(|text| (name, text)),
                _ => Err("must be a string".to_owned()),
            });
            match checked {
                Ok((name, text)) => drop(tags.insert(name.to_owned(), text.to_owned())),
                // What stands in a name is not repeated in an answer at any length
                Err(why) => self.errors.add(format!("tags.{}", cut(name, MAX_TAG)), why),
            }
        }
        tags
    }
}

/// The first `max` characters of a text.
pub fn cut(text: &str, max: usize) -> &str {
    // A character has at least one byte: short texts are not counted
    if text.len() <= max {
        return text;
    }
    text.char_indices().nth(max).map_or(text, |(end, _)| text[..end].trim_end())
}

/// The first `max` characters, line ends and tabs as spaces.
pub fn one_line(text: &str, max: usize) -> Cow<'_, str> {
    let text = cut(text, max);
    if text.contains(['\n', '\r', '\t']) {
        Cow::Owned(text.replace(['\n', '\r', '\t'], " "))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use kernel::{Money, ProviderKeyId, Timestamp};
    use serde_json::{Value, json};

    use super::super::{BatchRefusal, CallStatus, Event, EventBody, ProviderRef};
    use super::EventRequest;

    fn body() -> Value {
        json!({
            "ic_token": "t", "event_id": "e1", "timestamp_ms": 1_770_000_000_000_i64,
            "event_type": "llm_request_completed", "model": "gpt-4o", "provider": "openai", "input_tokens": 10,
            "output_tokens": 5, "cost_micros": 7,
        })
    }

    fn with(changes: &[(&str, Value)]) -> Value {
        let mut body = body();
        for (name, value) in changes {
            body[*name] = value.clone();
        }
        body
    }

    fn read(body: &Value) -> Event {
        match EventRequest::read(body.to_string().as_bytes()) {
            Ok(request) => request.event,
            Err(refusal) => panic!("{body}: {refusal}"),
        }
    }

    fn failing(body: &Value) -> Vec<String> {
        match EventRequest::read(body.to_string().as_bytes()) {
            Ok(_) => Vec::new(),
            Err(BatchRefusal::Fields(errors)) => errors.iter().map(|(path, _)| path.to_owned()).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn every_missing_field_is_named() {
        let names = ["event_id", "event_type", "ic_token", "model", "provider", "timestamp_ms"];
        assert_eq!(failing(&json!({})), names);
        assert_eq!(failing(&json!([])), ["", "ic_token"]);
        assert_eq!(failing(&with(&[("input_tokens", json!(null))])), ["input_tokens"]);
    }

    #[test]
    fn a_failed_request_needs_no_tokens() {
        let failed = [("event_type", json!("llm_request_failed")), ("input_tokens", json!(null))];
        let event = read(&with(&failed));
        assert_eq!((event.status, event.input_tokens, event.output_tokens), (CallStatus::Failed, 0, 5));
    }

    #[test]
    fn values_out_of_range_or_of_another_type_are_refused() {
        for (name, bad) in [
            ("ic_token", json!("")),
            ("ic_token", json!("x".repeat(2_001))),
            ("event_id", json!("  ")),
            ("event_id", json!("x".repeat(129))),
            ("event_id", json!("a\u{0}b")),
            ("event_id", json!(1)),
            ("timestamp_ms", json!(-1)),
            ("timestamp_ms", json!(1.0)),
            ("timestamp_ms", json!("2026-01-01T00:00:00Z")),
            ("event_type", json!("llm_request")),
            ("model", json!(3)),
            ("model", json!("a\u{7}b")),
            ("provider", json!("Open AI")),
            ("provider", json!("")),
            ("input_tokens", json!(-1)),
            ("output_tokens", json!(1_000_000_001)),
            ("output_tokens", json!(1e3)),
            ("cost_micros", json!(1_000_000_000_001_i64)),
            ("cost_micros", json!(u64::MAX)),
            ("cost_micros", json!("7")),
            ("cost_nanos", json!(8_001)),
            ("provider_id", json!(0)),
            ("provider_id", json!(1.5)),
            ("provider_id", json!({})),
            ("provider_id", json!("x".repeat(129))),
            ("error_message", json!("a\u{0}b")),
            ("lease_id", json!("x".repeat(101))),
            ("request_id", json!([])),
            ("latency_ms", json!(86_400_001)),
            ("cached_tokens", json!(-1)),
            ("trace_id", json!("x".repeat(32))),
            ("span_id", json!("0".repeat(32))),
            ("tags", json!("a")),
            ("tags", json!(["a"])),
            ("tags", Value::Object((0..21).map(|n| (n.to_string(), json!("x"))).collect())),
            ("tags", Value::Object((0..500).map(|n| (n.to_string(), json!("x"))).collect())),
        ] {
            assert_eq!(failing(&with(&[(name, bad.clone())])), [name], "{bad}");
        }
        let tags = json!({"a": "ok", "b": 1, "c": "x".repeat(201), "d": {"e": "f"}, "": "x"});
        assert_eq!(failing(&with(&[("tags", tags)])), ["tags.", "tags.b", "tags.c", "tags.d"]);
    }

    #[test]
    fn long_names_and_messages_are_cut_and_a_blank_model_is_unknown() {
        let event = read(&with(&[
            ("model", json!("é".repeat(300))),
            ("error_code", json!("c".repeat(65))),
            ("error_message", json!("a\nb\tc".to_owned() + &"d".repeat(2_000))),
        ]));
        assert_eq!(event.model, "é".repeat(200));
        assert_eq!(event.error_code.as_deref(), Some("c".repeat(64).as_str()));
        let message = event.error_message.expect("a message");
        assert!(message.starts_with("a b cd") && message.len() == 1_000);
        assert_eq!(read(&with(&[("model", json!("   "))])).model, "unknown");
    }

    #[test]
    fn the_exact_cost_may_round_up_or_down_to_the_stated_one_or_stand_alone() {
        for (nanos, ok) in [(6_000, false), (6_001, true), (7_000, true), (7_999, true), (8_000, false)] {
            assert_eq!(failing(&with(&[("cost_nanos", json!(nanos))])).is_empty(), ok, "{nanos}");
        }
        assert_eq!(read(&with(&[("cost_nanos", json!(7_999))])).cost, Money::from_nanos(7_999));
        let alone = with(&[("cost_micros", json!(null)), ("cost_nanos", json!(123_456_789))]);
        assert_eq!(read(&alone).cost, Money::from_nanos(123_456_789));
        assert_eq!(read(&with(&[("cost_micros", json!(null))])).cost, Money::ZERO);
    }

    #[test]
    fn a_key_is_named_by_number_or_numeric_text_and_a_provider_by_its_name() {
        let of = |value: Value| read(&with(&[("provider_id", value)])).provider_id;
        let key = || Some(ProviderRef::Key(ProviderKeyId(7)));
        assert_eq!((of(json!(7)), of(json!("7"))), (key(), key()));
        assert_eq!(of(json!("openai")), Some(ProviderRef::Name("openai".into())));
        assert_eq!((of(json!(null)), of(json!(" "))), (None, None));
    }

    #[test]
    fn absurd_times_are_taken_because_they_count_at_receipt() {
        assert_eq!(read(&with(&[("timestamp_ms", json!(9_007_199_254_740_991_i64))])).timestamp, Timestamp::MAX);
        assert_eq!(read(&with(&[("timestamp_ms", json!(0))])).timestamp, Timestamp::EPOCH);
    }

    #[test]
    fn unknown_fields_are_skipped_whatever_they_hold() {
        let mut body = with(&[("prompt", json!({"a": [1, {"b": "c"}]})), ("zzz", json!([[[]]]))]);
        body["messages"] = json!("secret");
        assert_eq!(read(&body), read(&self::body()));
    }

    #[test]
    fn escapes_are_understood() {
        let text = body().to_string().replace("\"e1\"", r#""\u0065\n1""#).replace("gpt", r"\u0067pt");
        assert!(EventRequest::read(text.as_bytes()).is_err(), "a line end in an id");
        let text = body().to_string().replace("\"e1\"", r#""\u00e9""#).replace("event_id", r"event\u005fid");
        assert_eq!(EventRequest::read(text.as_bytes()).map(|r| r.event.event_id).ok().as_deref(), Some("é"));
    }

    #[test]
    fn what_is_not_json_is_told_by_its_place() {
        for bad in ["{", " ", "{\"a\":1}x", "nul", "{\"cost_micros\":1e999}"] {
            assert!(matches!(EventRequest::read(bad.as_bytes()), Err(BatchRefusal::Json { .. })), "{bad}");
        }
        assert!(matches!(EventRequest::read(b""), Err(BatchRefusal::Fields(_))), "the same as {{}}");
    }

    #[test]
    fn deep_nesting_does_not_exhaust_the_stack() {
        let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
        for text in [deep.clone(), format!("{{\"tags\":{deep}}}"), format!("{{\"model\":{deep},\"x\":{deep}}}")] {
            assert!(matches!(EventRequest::read(text.as_bytes()), Err(BatchRefusal::Fields(_))));
        }
    }

    #[test]
    fn what_a_client_writes_the_server_reads() {
        let full = with(&[
            ("cost_nanos", json!(6_500)),
            ("provider_id", json!(3)),
            ("error_code", json!("c")),
            ("error_message", json!("m")),
            ("lease_id", json!("lease_1")),
            ("request_id", json!("r")),
            ("latency_ms", json!(12)),
            ("cached_tokens", json!(1)),
            ("reasoning_tokens", json!(2)),
            ("trace_id", json!("0AF7651916CD43DD8448EB211C80319C")),
            ("span_id", json!("b7ad6b7169203331")),
            ("tags", json!({"team": "a", "run": ""})),
        ]);
        for event in [read(&full), read(&body())] {
            let written = serde_json::to_value(EventBody { ic_token: "t", event: &event }).expect("JSON");
            assert_eq!(read(&written), event);
        }
    }
}
