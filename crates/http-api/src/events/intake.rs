//! From an event with the token it came with to a fact that is booked.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use analytics::CallStatus;
use api_types::events::{self, Event, ProviderRef};
use kernel::validate::is_slug;
use kernel::{AgentId, ErrorCode, Secret, Timestamp};
use ledger::{Outcome, Spending};
use persistence::{AgentPicture, EventFacts, EventMore, Item, Refused};

use crate::budget::agent_caller::{ATTEMPTS, SignedToken};
use crate::{ApiError, ApiState, RequestContext};

/// What became of an event: whether it was known before, or why it is not stored.
pub(crate) type Told = Result<bool, Refusal>;

/// Why an event is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) text: String,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.text)
    }
}

/// Somebody whose token was signed by us; there may be several in a batch.
struct Sender {
    token: SignedToken,
    picture: Option<Arc<AgentPicture>>,
}

/// Events on their way, each with its sender. A token is checked once, however many events came with it.
pub(crate) struct Intake<'a> {
    api: &'a ApiState,
    now: Timestamp,
    senders: Vec<Sender>,
    /// The sender of a token; `None` where it is no token of ours.
    known: HashMap<Cow<'a, str>, Option<usize>>,
    events: Vec<(usize, Event)>,
}

impl<'a> Intake<'a> {
    /// Nothing so far.
    pub(crate) fn new(api: &'a ApiState) -> Self {
        Self { api, now: api.clock.now(), senders: Vec::new(), known: HashMap::new(), events: Vec::new() }
    }

    /// Who has this token; 401 `INVALID_IC_TOKEN` where its signature, issuer or end will not do.
    pub(crate) fn sender(&mut self, token: Cow<'a, str>) -> Result<usize, ApiError> {
        let known = match self.known.get(token.as_ref()) {
            Some(known) => *known,
            None => {
                let secret = Secret::new(token.as_ref().to_owned());
                let signed = SignedToken::verify(self.api, &secret, self.now).ok();
                let sender = signed.map(|token| {
                    self.senders.push(Sender { token, picture: None });
                    self.senders.len() - 1
                });
                self.known.insert(token, sender);
                sender
            }
        };
        known.ok_or_else(|| invalid().into())
    }

    /// Checks now that the sender's token is its agent's current one, which is otherwise found out when the events are
    /// booked: 401 `INVALID_IC_TOKEN`.
    pub(crate) async fn require(&mut self, sender: usize) -> Result<(), ApiError> {
        self.look(sender, false).await?;
        if self.senders[sender].picture.is_some() { Ok(()) } else { Err(invalid().into()) }
    }

    /// Adds an event. What becomes of them is told in the order in which they were added.
    pub(crate) fn add(&mut self, sender: usize, event: Event) {
        self.events.push((sender, event));
    }

    /// Books the events added so far, all in one transaction unless agents or tokens change under them. More may be added
    /// afterwards and booked in their turn.
    ///
    /// Tokens are checked against pictures that may be out of date: a refusal is checked again with fresh ones, and what
    /// goes ahead carries the version of its picture, which the transaction compares.
    pub(crate) async fn book(&mut self, context: &RequestContext) -> Result<Vec<Told>, ApiError> {
        let events = std::mem::take(&mut self.events);
        let mut told: Vec<Option<Told>> = vec![None; events.len()];
        let mut pending: Vec<usize> = (0..events.len()).collect();
        for round in 0..ATTEMPTS {
            let mut looked = vec![false; self.senders.len()];
            let mut items = Vec::with_capacity(pending.len());
            let mut sent = Vec::with_capacity(pending.len());
            for index in std::mem::take(&mut pending) {
                let sender = events[index].0;
                if !std::mem::replace(&mut looked[sender], true) {
                    self.look(sender, round > 0).await?;
                }
                match &self.senders[sender].picture {
                    Some(picture) => {
                        items.push(item(picture, &events[index].1));
                        sent.push(index);
                    }
                    None => told[index] = Some(Err(invalid())),
                }
            }
            if let Some(first) = sent.first() {
                context.set_actor(self.senders[events[*first].0].token.agent().prefixed());
            }
            let answers = if items.is_empty() { Vec::new() } else { self.api.pipeline.run(items).await? };
            for (index, answer) in sent.into_iter().zip(answers) {
                told[index] = Some(match answer {
                    Ok(done) => match done.outcome {
                        Outcome::Counted { duplicate, .. } => Ok(duplicate),
                        _ => return Err(ApiError::internal("an event was answered with something else")),
                    },
                    Err(Refused::StaleDirectory) => {
                        pending.push(index);
                        continue;
                    }
                    Err(Refused::Ledger(rejection)) => {
                        Err(Refusal { code: rejection.code(), text: rejection.to_string() })
                    }
                });
            }
            if pending.is_empty() {
                let told: Option<Vec<Told>> = told.into_iter().collect();
                return told.ok_or_else(|| ApiError::internal("an event was not answered"));
            }
        }
        Err(ApiError::unavailable("agents and keys keep changing"))
    }

    /// Looks for the sender's agent, in the cache unless it must be fresh; none where the token is not its current one.
    async fn look(&mut self, sender: usize, must_be_fresh: bool) -> Result<(), ApiError> {
        let sender = &mut self.senders[sender];
        let id: AgentId = sender.token.agent();
        if !must_be_fresh {
            if sender.picture.is_some() {
                return Ok(());
            }
            let cached = self.api.directory.get(id).await?;
            sender.picture = cached.filter(|picture| sender.token.is_current(Some(picture)));
            if sender.picture.is_some() {
                return Ok(());
            }
        }
        let fresh = self.api.directory.fresh(id).await?;
        sender.picture = fresh.filter(|picture| sender.token.is_current(Some(picture)));
        Ok(())
    }
}

fn invalid() -> Refusal {
    Refusal { code: ErrorCode::InvalidIcToken, text: "the IC token is not valid".to_owned() }
}

/// An event as a command.
fn item(picture: &AgentPicture, event: &Event) -> Item {
    let key = match event.provider_id {
        Some(ProviderRef::Key(id)) => Some(id).filter(|id| picture.keys.iter().any(|key| key.key.id == *id)),
        _ => None,
    };
    let provider = match &event.provider_id {
        Some(ProviderRef::Name(name)) if event.provider == events::UNKNOWN && is_slug(name) => name,
        _ => &event.provider,
    };
    let spending = Spending { id: event.event_id.clone(), cost: event.cost, occurred_at: event.timestamp };
    let facts = EventFacts {
        status: match event.status {
            events::CallStatus::Completed => CallStatus::Completed,
            events::CallStatus::Failed => CallStatus::Failed,
        },
        model: event.model.clone(),
        provider: provider.clone(),
        provider_key: key,
        input_tokens: event.input_tokens,
        output_tokens: event.output_tokens,
        latency_ms: event.latency_ms,
        request_id: event.request_id.clone(),
        more: more(event),
    };
    let mut item = Item::event(picture.id, event.lease_id.clone(), spending, facts);
    item.directory_version = Some(picture.version);
    item
}

/// What few events say.
fn more(event: &Event) -> Option<Box<EventMore>> {
    let tags = (!event.tags.is_empty()).then(|| serde_json::json!(event.tags).to_string());
    let more = EventMore {
        error_code: event.error_code.clone(),
        error_message: event.error_message.clone(),
        trace_id: event.trace_id.clone(),
        span_id: event.span_id.clone(),
        cached_tokens: event.cached_tokens,
        reasoning_tokens: event.reasoning_tokens,
        tags,
    };
    (more != EventMore::default()).then(|| Box::new(more))
}
