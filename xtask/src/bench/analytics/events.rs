//! Events that look like those of agents: of a few models, of the last minutes, in any order.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, atomic::Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Agents, Next};
use crate::http::request;

/// How far back they reach.
const SPAN_MS: u64 = 10 * 60_000;

/// Models with their providers, the busiest first.
const MODELS: [(&str, &str); 12] = [
    ("gpt-4o-mini", "openai"),
    ("gpt-4o", "openai"),
    ("claude-sonnet-4-5", "anthropic"),
    ("gemini-2.5-flash", "google"),
    ("claude-haiku-4-5", "anthropic"),
    ("o4-mini", "openai"),
    ("gemini-2.5-pro", "google"),
    ("mistral-large", "mistral"),
    ("text-embedding-3-small", "openai"),
    ("claude-opus-4-1", "anthropic"),
    ("llama-3.3-70b", "groq"),
    ("deepseek-chat", "deepseek"),
];

/// Makes events. An event is known by its number, and the same number makes the same event.
pub(super) struct Events {
    agents: Agents,
    /// Just before the server started.
    until_ms: u64,
    next: Next,
    /// Where the measured kinds of sending began, to send the same again: one by one, and in batches.
    began: Mutex<[u64; 2]>,
}

/// Numbers of events, shared by those who send them.
#[derive(Clone)]
pub(super) struct Range {
    next: Next,
    first: u64,
    count: u64,
}

impl Range {
    /// The first of the next so many.
    pub(super) fn take(&self, count: u64) -> u64 {
        self.first + self.next.fetch_add(count, Ordering::SeqCst) % self.count
    }
}

impl Events {
    pub(super) fn of(agents: Agents) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        Self {
            agents,
            until_ms: u64::try_from(now).unwrap_or(0).saturating_sub(60_000),
            next: Next::default(),
            began: Mutex::new([0; 2]),
        }
    }

    /// How many have been taken.
    pub(super) fn sent(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// The next new events, or those again that were sent last in the same way, over and over.
    pub(super) fn range(&self, again: bool, batch: u64) -> Range {
        let mut began = self.began.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let kind = usize::from(batch > 0);
        if again {
            let (first, step) = (began[kind], batch.max(1));
            let count = self.sent().saturating_sub(first).max(step) / step * step;
            return Range { next: Next::default(), first, count };
        }
        began[kind] = self.sent();
        Range { next: Arc::clone(&self.next), first: 0, count: u64::MAX }
    }

    /// A request with one event.
    pub(super) fn one(&self, number: u64) -> Vec<u8> {
        let mut body = String::with_capacity(1_024);
        self.write(&mut body, number, true);
        request("POST", "/api/v1/analytics/events", None, Some(&body))
    }

    /// A request with the next events, all of one agent, as an agent's client sends them.
    pub(super) fn batch(&self, first: u64, count: u64) -> Vec<u8> {
        let agent = &self.agents[self.agent(first)];
        let mut body = format!(r#"{{"ic_token":"{}","events":["#, agent.ic_token);
        for number in first..first + count {
            if number > first {
                body.push(',');
            }
            self.write(&mut body, number, false);
        }
        body.push_str("]}");
        request("POST", "/api/v1/analytics/events/batch", None, Some(&body))
    }

    fn agent(&self, number: u64) -> usize {
        usize::try_from(mixed(number) % self.agents.len() as u64).unwrap_or(0)
    }

    fn write(&self, body: &mut String, number: u64, alone: bool) {
        let dice = mixed(number ^ 0x5eed);
        // The product of two throws: the first models are the busiest
        let (a, b) = (dice % 12, (dice >> 8) % 12);
        let (model, provider) = MODELS[usize::try_from(a * b / 12).unwrap_or(0)];
        let at = self.until_ms - mixed(dice) % SPAN_MS;
        let failed = dice.is_multiple_of(50);
        let (kind, error) = if failed {
            ("llm_request_failed", r#","error_code":"rate_limit""#)
        } else {
            ("llm_request_completed", "")
        };
        let (input, output) = (200 + (dice >> 16) % 4_000, if failed { 0 } else { 20 + (dice >> 28) % 800 });
        let cost = if failed { 0 } else { input + 4 * output };
        let latency = 300 + (dice >> 40) % 9_000;
        body.push('{');
        if alone {
            let _ = write!(body, r#""ic_token":"{}","#, self.agents[self.agent(number)].ic_token);
        }
        let _ = write!(
            body,
            r#""event_id":"evt_{number:012}","timestamp_ms":{at},"event_type":"{kind}","model":"{model}","provider":"{provider}","input_tokens":{input},"output_tokens":{output},"cost_micros":{cost},"latency_ms":{latency}{error}}}"#
        );
    }
}

/// Numbers that look thrown (splitmix64).
fn mixed(number: u64) -> u64 {
    let mut n = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::Events;
    use crate::server::Agent;

    fn events() -> Events {
        Events::of(vec![Agent { id: 1, ic_token: "a".into() }, Agent { id: 2, ic_token: "b".into() }])
    }

    #[test]
    fn the_same_number_is_the_same_event_and_bodies_are_json() {
        let events = events();
        assert_eq!(events.one(7), events.one(7));
        let body = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            let body = text.split_once("\r\n\r\n").unwrap().1.to_owned();
            serde_json::from_str::<serde_json::Value>(&body).unwrap()
        };
        assert_eq!(body(events.one(7))["event_id"], "evt_000000000007");
        assert_eq!(body(events.batch(5, 3))["events"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn what_was_sent_is_sent_again_and_nothing_else() {
        let events = events();
        events.range(false, 0).take(10);
        let new = events.range(false, 500);
        assert_eq!([new.take(500), new.take(500)], [10, 510]);
        let again = events.range(true, 500);
        assert_eq!([again.take(500), again.take(500), again.take(500)], [10, 510, 10]);
        assert_eq!(events.sent(), 1_010);
    }
}
