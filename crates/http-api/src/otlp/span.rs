//! What a span means: an LLM request, or nothing to us.
//!
//! The semantic conventions for generative AI are still moving, so older names are read beside those of today.

use std::collections::BTreeMap;

use api_types::events::{
    CallStatus, Event, MAX_ERROR_CODE, MAX_ERROR_MESSAGE, MAX_LATENCY_MS, MAX_MODEL, MAX_TOKENS, ProviderRef, UNKNOWN,
    cut, one_line,
};
use kernel::validate::checked_text;
use kernel::{LeaseId, Money, ProviderKeyId, Timestamp};

use super::wire::{AnyValue, Span};

/// Operations that make LLM requests but are none: their spans may repeat the figures of the requests in them.
const NO_REQUESTS: &[&str] = &[
    "create_agent",
    "invoke_agent",
    "invoke_workflow",
    "execute_tool",
    "retrieval",
    "plan",
    "search_memory",
    "update_memory",
];

/// The status of a span that failed.
const ERROR: i32 = 2;
/// Bytes of a trace id and of a span id.
const ID_BYTES: (usize, usize) = (16, 8);
/// The longest name of a provider.
const MAX_PROVIDER: usize = 50;
/// Longest lease id and request id, in characters.
const MAX_ID: usize = 100;
/// Longest event id, in characters.
const MAX_EVENT_ID: usize = 128;

/// The attributes that count.
#[derive(Default)]
struct Attributes<'a>(BTreeMap<&'a str, &'a AnyValue>);

impl<'a> Attributes<'a> {
    fn of(span: &'a Span) -> Self {
        let named = span.attributes.iter().filter_map(|a| Some((a.key.as_str(), a.value.as_ref()?)));
        Self(
            named
                .filter(|(key, _)| ["gen_ai.", "llm.", "iron.", "error."].iter().any(|p| key.starts_with(p)))
                .collect(),
        )
    }

    /// The first of these names that is there.
    fn get(&self, names: &[&'static str]) -> Option<(&'static str, &'a AnyValue)> {
        names.iter().find_map(|name| self.0.get(name).map(|value| (*name, *value)))
    }

    /// A text that is not blank.
    fn text(&self, names: &[&'static str]) -> Option<&'a str> {
        let text = |name| self.0.get(name).and_then(|value| value.text.as_deref()).map(str::trim);
        names.iter().filter_map(text).find(|text| !text.is_empty())
    }

    fn int(&self, names: &[&'static str], max: i64) -> Result<Option<i64>, String> {
        let Some((name, value)) = self.get(names) else { return Ok(None) };
        let number = match value {
            AnyValue { int: Some(n), .. } => Some(*n),
            AnyValue { double: Some(n), .. } => whole(*n),
            AnyValue { text: Some(text), .. } => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| format!("{name} must be a whole number"))?;
        if (0..=max).contains(&number) { Ok(Some(number)) } else { Err(format!("{name} must be 0 to {max}")) }
    }

    fn id(&self, name: &'static str, max: usize) -> Result<Option<String>, String> {
        let Some(text) = self.text(&[name]) else { return Ok(None) };
        checked_text(text, 1, max).map(|text| Some(text.to_owned())).map_err(|why| format!("{name} {why}"))
    }
}

/// The whole number that a floating-point one is.
fn whole(number: f64) -> Option<i64> {
    // Written out, a whole number has no point, and nothing but digits is read back
    format!("{number}").parse().ok()
}

/// Reads a span: `None` if it is no LLM request; an error, without anything of its contents, if it is one that will not do.
///
/// `now` stands for the time of a span that tells none.
pub(super) fn event(span: &Span, now: Timestamp) -> Result<Option<Event>, String> {
    let attributes = Attributes::of(span);
    let operation = attributes.text(&["gen_ai.operation.name"]);
    let provider = attributes.text(&["gen_ai.provider.name", "gen_ai.system"]);
    let model = attributes.text(&["gen_ai.response.model", "gen_ai.request.model"]);
    let is_request = match operation {
        Some(operation) => !NO_REQUESTS.contains(&operation),
        None => provider.is_some() && model.is_some(),
    };
    if !is_request {
        return Ok(None);
    }
    let (trace_id, span_id) = ids(span)?;
    let tokens = |names: &[&'static str]| attributes.int(names, MAX_TOKENS);
    let input_tokens = tokens(&["gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens"])?;
    let output_tokens =
        tokens(&["gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens"])?;
    let cached_tokens = tokens(&[
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.input_tokens.cached",
    ])?;
    let reasoning_tokens = tokens(&["gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"])?;
    let failed =
        span.status.as_ref().is_some_and(|status| status.code == ERROR) || attributes.text(&["error.type"]).is_some();
    let status_message = span.status.as_ref().filter(|_| failed).map(|status| status.message.as_str());
    let key = attributes.int(&["iron.provider_key_id"], i64::MAX)?.filter(|id| *id > 0);
    Ok(Some(Event {
        event_id: match attributes.id("iron.event_id", MAX_EVENT_ID)? {
            Some(id) => id,
            None => format!("{trace_id}-{span_id}"),
        },
        timestamp: ended(span).unwrap_or(now),
        status: if failed { CallStatus::Failed } else { CallStatus::Completed },
        model: checked_text(cut(model.unwrap_or(UNKNOWN), MAX_MODEL), 1, MAX_MODEL)
            .map_err(|why| format!("the name of the model {why}"))?
            .to_owned(),
        provider: provider.map_or_else(|| UNKNOWN.to_owned(), slug),
        input_tokens: input_tokens.unwrap_or(0),
        output_tokens: output_tokens.unwrap_or(0),
        cached_tokens,
        reasoning_tokens,
        cost: cost(&attributes)?,
        provider_id: key.map(|id| ProviderRef::Key(ProviderKeyId(id))),
        error_code: attributes.text(&["error.type"]).filter(|_| failed).and_then(|text| shown(text, MAX_ERROR_CODE)),
        error_message: status_message.and_then(|text| shown(text, MAX_ERROR_MESSAGE)),
        lease_id: attributes.id("iron.lease_id", MAX_ID)?.map(LeaseId::new),
        request_id: attributes.id("iron.request_id", MAX_ID)?,
        latency_ms: latency(span),
        trace_id: Some(trace_id),
        span_id: Some(span_id),
        tags: BTreeMap::new(),
    }))
}

/// The ids of a span as text. They make its event's id, so that a repeated export is known again.
fn ids(span: &Span) -> Result<(String, String), String> {
    let is_id = |bytes: &[u8], length| bytes.len() == length && bytes.iter().any(|b| *b != 0);
    if is_id(&span.trace_id, ID_BYTES.0) && is_id(&span.span_id, ID_BYTES.1) {
        Ok((hex::encode(&span.trace_id), hex::encode(&span.span_id)))
    } else {
        Err("the span has no valid trace id and span id".to_owned())
    }
}

fn millis(nanos: u64) -> Option<i64> {
    i64::try_from(nanos / 1_000_000).ok().filter(|ms| *ms > 0)
}

/// When a span ended; where it does not say, when it began.
fn ended(span: &Span) -> Option<Timestamp> {
    millis(span.end_time_unix_nano).or(millis(span.start_time_unix_nano)).map(Timestamp::from_millis)
}

fn latency(span: &Span) -> Option<i64> {
    let nanos = span.end_time_unix_nano.checked_sub(span.start_time_unix_nano)?;
    let is_known = span.start_time_unix_nano > 0;
    i64::try_from(nanos / 1_000_000).ok().filter(|ms| is_known && *ms <= MAX_LATENCY_MS)
}

/// `aws.bedrock` as `aws-bedrock`.
fn slug(name: &str) -> String {
    let slug: String = name
        .chars()
        .take(MAX_PROVIDER)
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let slug = slug.trim_matches('-');
    if slug.is_empty() { UNKNOWN.to_owned() } else { slug.to_owned() }
}

/// A text on one line, without control characters: nothing about an error is a reason to refuse a fact.
fn shown(text: &str, max: usize) -> Option<String> {
    let text: String = one_line(text.trim(), max).chars().filter(|c| !c.is_control()).collect();
    (!text.is_empty()).then_some(text)
}

/// What the request cost, where the span says so. The conventions have no name for it: ours come first, then the one that
/// instrumentations have agreed on, in US dollars.
fn cost(attributes: &Attributes<'_>) -> Result<Money, String> {
    let max = Money::MAX_CALL;
    if let Some(nanos) = attributes.int(&["iron.cost_nanos"], max.nanos())? {
        return Ok(Money::from_nanos(nanos));
    }
    if let Some(micros) = attributes.int(&["iron.cost_micros"], max.micros_floor())? {
        return Ok(Money::from_micros(micros).unwrap_or(max));
    }
    let Some((name, value)) = attributes.get(&["gen_ai.usage.cost", "gen_ai.usage.total_cost"]) else {
        return Ok(Money::ZERO);
    };
    let cost = match value {
        AnyValue { int: Some(n), .. } => usd(&n.to_string()),
        // Written out in full, in the fewest digits that mean this number: what the agent's side meant
        AnyValue { double: Some(n), .. } => usd(&format!("{n}")),
        AnyValue { text: Some(text), .. } => usd(text.trim()),
        _ => None,
    };
    cost.filter(|cost| *cost <= max).ok_or_else(|| format!("{name} must be an amount of US dollars"))
}

/// US dollars in digits, rounded up to the next nano-dollar.
fn usd(text: &str) -> Option<Money> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let (kept, rest) = fraction.split_at(fraction.len().min(9));
    let nanos: i64 = if kept.is_empty() { 0 } else { format!("{kept:0<9}").parse().ok()? };
    let more = i64::from(rest.bytes().any(|b| b != b'0'));
    let nanos = whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos)?.checked_add(more)?;
    Some(Money::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use api_types::events::{CallStatus, Event};
    use kernel::{Money, Timestamp};
    use serde_json::{Value, json};

    use super::super::wire::Span;
    use super::{event, usd};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn span(attributes: &Value, more: &Value) -> Span {
        let attributes: Vec<Value> = attributes
            .as_object()
            .expect("attributes")
            .iter()
            .map(|(key, value)| {
                let value = match value {
                    Value::String(text) => json!({"stringValue": text}),
                    Value::Number(n) if n.is_f64() => json!({"doubleValue": n}),
                    Value::Number(n) => json!({"intValue": n.to_string()}),
                    other => other.clone(),
                };
                json!({"key": key, "value": value})
            })
            .collect();
        let mut span = json!({
            "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "chat gpt-4o", "kind": 3,
            "startTimeUnixNano": "1770000000000000000", "endTimeUnixNano": "1770000001234567891",
            "attributes": attributes,
        });
        for (name, value) in more.as_object().expect("fields") {
            span[name] = value.clone();
        }
        serde_json::from_value(span).expect("a span")
    }

    fn chat() -> Value {
        json!({
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o",
            "gen_ai.response.model": "gpt-4o-2024-08-06", "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 20,
        })
    }

    fn with(attributes: &[(&str, Value)]) -> Value {
        let mut all = chat();
        for (name, value) in attributes {
            all[*name] = value.clone();
        }
        all
    }

    fn read(attributes: &Value) -> Event {
        event(&span(attributes, &json!({})), NOW).expect("valid").expect("a request")
    }

    #[test]
    fn a_chat_is_an_event() {
        let event = read(&chat());
        assert_eq!(event.event_id, "5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174");
        assert_eq!((event.model.as_str(), event.provider.as_str()), ("gpt-4o-2024-08-06", "openai"));
        assert_eq!((event.input_tokens, event.output_tokens, event.latency_ms), (100, 20, Some(1_234)));
        assert_eq!((event.status, event.timestamp.millis()), (CallStatus::Completed, 1_770_000_001_234));
        assert_eq!(event.cost, Money::ZERO);
    }

    #[test]
    fn older_names_are_read_as_well() {
        let event = read(&json!({
            "gen_ai.system": "aws.bedrock", "gen_ai.request.model": "claude", "gen_ai.usage.prompt_tokens": 7,
            "gen_ai.usage.completion_tokens": "8",
        }));
        assert_eq!((event.provider.as_str(), event.model.as_str()), ("aws-bedrock", "claude"));
        assert_eq!((event.input_tokens, event.output_tokens), (7, 8));
    }

    #[test]
    fn other_spans_are_ignored() {
        for attributes in [
            json!({}),
            json!({"http.request.method": "GET"}),
            json!({"gen_ai.system": "openai"}),
            with(&[("gen_ai.operation.name", json!("invoke_agent"))]),
            with(&[("gen_ai.operation.name", json!("execute_tool"))]),
        ] {
            assert_eq!(event(&span(&attributes, &json!({})), NOW), Ok(None), "{attributes}");
        }
    }

    #[test]
    fn a_span_with_an_error_is_a_failed_request() {
        let attributes = with(&[("error.type", json!("rate_limit"))]);
        let status = json!({"status": {"code": 2, "message": "429\nslow down"}});
        let event = event(&span(&attributes, &status), NOW).expect("valid").expect("a request");
        assert_eq!(event.status, CallStatus::Failed);
        assert_eq!(event.error_code.as_deref(), Some("rate_limit"));
        assert_eq!(event.error_message.as_deref(), Some("429 slow down"));
    }

    #[test]
    fn cost_is_taken_exactly_from_the_attribute_that_says_it() {
        let cost = |name: &str, value: Value| read(&with(&[(name, value)])).cost.nanos();
        assert_eq!(cost("gen_ai.usage.cost", json!(0.00123)), 1_230_000);
        assert_eq!(cost("gen_ai.usage.cost", json!(1e-7)), 100);
        assert_eq!(cost("gen_ai.usage.cost", json!("0.5")), 500_000_000);
        assert_eq!(cost("gen_ai.usage.total_cost", json!(2)), 2_000_000_000);
        assert_eq!(cost("iron.cost_micros", json!(7)), 7_000);
        assert_eq!(cost("iron.cost_nanos", json!(7)), 7);
        assert_eq!(
            (usd("0.0000000001"), usd("0.1")),
            (Some(Money::from_nanos(1)), Some(Money::from_nanos(100_000_000)))
        );
    }

    #[test]
    fn what_will_not_do_is_told_without_its_contents() {
        for (name, bad) in [
            ("gen_ai.usage.input_tokens", json!(-1)),
            ("gen_ai.usage.output_tokens", json!(1_000_000_001)),
            ("gen_ai.usage.output_tokens", json!("secret")),
            ("gen_ai.usage.input_tokens", json!(1.5)),
            ("gen_ai.usage.cost", json!(-0.1)),
            ("gen_ai.usage.cost", json!("secret")),
            ("gen_ai.usage.cost", json!(1e300)),
            ("iron.cost_micros", json!(1_000_000_000_001_i64)),
            ("iron.lease_id", json!("x".repeat(101))),
        ] {
            let why = event(&span(&with(&[(name, bad)]), &json!({})), NOW).expect_err(name);
            assert!(why.starts_with(name) && !why.contains("secret"), "{why}");
        }
        for ids in [json!({"traceId": ""}), json!({"spanId": "0000000000000000"}), json!({"spanId": "ab"})] {
            assert!(event(&span(&chat(), &ids), NOW).is_err(), "{ids}");
        }
    }

    #[test]
    fn a_span_names_its_lease_and_the_report_of_the_same_call() {
        let event = read(&with(&[
            ("iron.lease_id", json!("lease_1")),
            ("iron.request_id", json!("r1")),
            ("iron.event_id", json!("e1")),
            ("gen_ai.usage.cache_read.input_tokens", json!(3)),
            ("gen_ai.usage.reasoning.output_tokens", json!(4)),
        ]));
        assert_eq!(event.lease_id.as_ref().map(kernel::LeaseId::as_str), Some("lease_1"));
        assert_eq!((event.request_id.as_deref(), event.event_id.as_str()), (Some("r1"), "e1"));
        assert_eq!((event.cached_tokens, event.reasoning_tokens), (Some(3), Some(4)));
    }

    #[test]
    fn odd_times_are_no_reason_to_refuse() {
        let of = |start: &str, end: &str| {
            let times = json!({"startTimeUnixNano": start, "endTimeUnixNano": end});
            let event = event(&span(&chat(), &times), NOW).expect("valid").expect("a request");
            (event.timestamp, event.latency_ms)
        };
        assert_eq!(of("0", "0"), (NOW, None));
        assert_eq!(of("5000000", "4000000"), (Timestamp::from_millis(4), None));
        assert_eq!(of("1770000000000000000", "0"), (Timestamp::from_millis(1_770_000_000_000), None));
    }
}
