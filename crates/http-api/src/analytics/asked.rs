//! Which time a question is about, and whose facts.

use analytics::Period;
use api_types::analytics::AnswerFilters;
use kernel::{AgentId, ProjectId, ProviderKeyId, Timestamp, Zone};
use persistence::{Inquiry, QuestionFilter};
use utoipa::IntoParams;

use crate::agents::visible_to;
use crate::list::{ArrayRequest, PageRequest};
use crate::query::{QueryReader, TimeRange};
use crate::{ApiError, ApiState, Caller, Query};

/// What most questions take (for their description).
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `Asked` reads")]
pub(super) struct Common {
    /// `today`, `yesterday`, `last-7-days`, `last-30-days`, `this-month`, `last-month` or `all-time` (default)
    period: Option<String>,
    /// The first instant: milliseconds, RFC 3339 or a date; also `start_date`. A range takes the place of the period
    from: Option<String>,
    /// The first instant after the range; a date means the end of that day; also `end_date`
    to: Option<String>,
    /// Whose days they are, an IANA name; `UTC` unless given
    time_zone: Option<String>,
    /// `12` or `agent_12`
    agent_id: Option<String>,
    /// Digits: a provider key; else a kind of provider
    provider_id: Option<String>,
    /// One project
    project_id: Option<String>,
}

/// What questions in pages take beside (for their description).
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what the reader reads")]
pub(super) struct Paged {
    /// From 1
    page: Option<u32>,
    /// 1 to 100; also `page_size` and `limit`
    per_page: Option<u32>,
}

/// A stretch of time, and how it was asked for.
#[derive(Clone, Debug)]
pub(super) struct Span {
    /// The first instant.
    pub(super) from: Timestamp,
    /// The first instant after it.
    pub(super) to: Timestamp,
    /// Whose days they are.
    pub(super) zone: Zone,
    /// The period in its first spelling, or `custom`.
    pub(super) period: &'static str,
    /// Whether it has no beginning.
    pub(super) is_open: bool,
}

/// What was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// About which time.
    pub(super) span: Span,
    /// About whose facts.
    pub(super) filter: QuestionFilter,
    /// The same, to be echoed.
    pub(super) filters: AnswerFilters,
    /// When.
    pub(super) now: Timestamp,
}

impl Asked {
    /// Reads the common parameters; `default` is the period where none is given.
    pub(super) fn read(q: &mut QueryReader<'_>, api: &ApiState, caller: &Caller, default: Period) -> Self {
        let now = api.clock.now();
        let (filter, filters) = read_filter(q, caller);
        Self { span: read_span(q, default, now), filter, filters, now }
    }

    /// Reads a question that has nothing but the common parameters.
    pub(super) fn alone(query: &Query, api: &ApiState, caller: &Caller) -> Result<Self, ApiError> {
        let mut q = query.reader();
        let asked = Self::read(&mut q, api, caller, Period::AllTime);
        q.finish(asked)
    }

    /// Reads a question that is answered in pages of so many rows unless told otherwise.
    pub(super) fn paged(
        query: &Query,
        api: &ApiState,
        caller: &Caller,
        per_page: u32,
    ) -> Result<(Self, PageRequest), ApiError> {
        let mut q = query.reader();
        let asked = (Self::read(&mut q, api, caller, Period::AllTime), q.page(per_page));
        q.finish(asked)
    }

    /// Reads a question that is answered with a list.
    pub(super) fn listed(query: &Query, api: &ApiState, caller: &Caller) -> Result<(Self, ArrayRequest), ApiError> {
        let mut q = query.reader();
        let asked = (Self::read(&mut q, api, caller, Period::AllTime), q.array());
        q.finish(asked)
    }

    /// Reads whose facts alone.
    pub(super) fn filter(q: &mut QueryReader<'_>, caller: &Caller) -> (QuestionFilter, AnswerFilters) {
        read_filter(q, caller)
    }

    /// From when to when.
    pub(super) const fn range(&self) -> (Timestamp, Timestamp) {
        (self.span.from, self.span.to)
    }

    /// The period, to be echoed.
    pub(super) fn period(&self) -> String {
        self.span.period.to_owned()
    }

    /// When it was answered.
    pub(super) fn calculated_at(&self) -> String {
        self.now.to_rfc3339()
    }

    /// Opens the state of the database that it is answered from.
    pub(super) async fn inquire(&self, api: &ApiState) -> Result<Inquiry, ApiError> {
        Ok(api.store.inquire(self.now).await?)
    }

    /// The range; one without a beginning begins with the first fact.
    pub(super) async fn range_with_facts(&self, inquiry: &mut Inquiry) -> Result<(Timestamp, Timestamp), ApiError> {
        let Span { from, to, is_open, .. } = self.span;
        if !is_open {
            return Ok((from, to));
        }
        let first = inquiry.first_fact().await?.unwrap_or(to);
        Ok((first.clamp(from, to), to))
    }
}

/// What is happening now belongs to a range that ends now; what claims to be later does not.
pub(super) const fn until(now: Timestamp) -> Timestamp {
    now.plus_millis(1)
}

pub(super) fn read_span(q: &mut QueryReader<'_>, default: Period, now: Timestamp) -> Span {
    let period = q.raw(&["period"]).map(|(_, text)| Period::parse(text));
    if matches!(period, Some(None)) {
        q.error("period", "must be today, yesterday, last-7-days, last-30-days, this-month, last-month or all-time");
    }
    let TimeRange { from, to, zone } = q.time_range();
    if from.is_some() || to.is_some() {
        let is_open = from.is_none();
        let from = from.unwrap_or(Timestamp::EPOCH);
        let to = to.unwrap_or_else(|| until(now).max(from));
        return Span { from, to, zone, period: "custom", is_open };
    }
    let period = period.flatten().unwrap_or(default);
    let (from, to) = period.range(&zone, now);
    let whole = matches!(period, Period::Yesterday | Period::LastMonth);
    let to = if whole { to } else { until(now) };
    Span { from: from.max(Timestamp::EPOCH), to, zone, period: period.as_str(), is_open: period == Period::AllTime }
}

fn read_filter(q: &mut QueryReader<'_>, caller: &Caller) -> (QuestionFilter, AnswerFilters) {
    let agent = q.agent_id("agent_id");
    let provider = q.text("provider_id", 128);
    let project = q.text("project_id", 100);
    let mut filter = QuestionFilter {
        visible_to: visible_to(caller),
        agents: agent.into_iter().collect(),
        projects: project.iter().map(|id| ProjectId::new(id.as_str())).collect(),
        ..QuestionFilter::default()
    };
    match provider.as_deref() {
        // A number that no key can have is the number of no key
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            filter.provider_keys = vec![ProviderKeyId(digits.parse().ok().filter(|id| *id > 0).unwrap_or(i64::MAX))];
        }
        Some(kind) => filter.providers = vec![kind.to_owned()],
        None => {}
    }
    let filters = AnswerFilters { agent_id: agent.map(|AgentId(id)| id), provider_id: provider, project_id: project };
    (filter, filters)
}
