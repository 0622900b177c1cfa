//! GET `/api/v1/analytics/query`: sums along any dimensions.

use std::collections::HashMap;

use analytics::buckets::label;
use analytics::{Bucket, BucketSize, CallStatus, Dimension, Measures, Period, buckets};
use api_types::analytics::{GroupRow, GroupTotals, GroupsPage};
use api_types::figures::Usd;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use kernel::{AgentId, ProjectId, ProviderKeyId, Timestamp, UserId, Zone};
use persistence::{Group, GroupCursor, Inquiry, Key, QuestionFilter};

use super::asked::{Span, read_span};
use super::shape::{agent_of, name_of, text_of};
use crate::agents::visible_to;
use crate::export::{self, Format, Row, Source};
use crate::query::QueryReader;
use crate::{ApiError, ApiState, Caller, Query};

/// The most dimensions of one question.
const MAX_DIMENSIONS: usize = 3;
/// Rows of a file that are read at once.
const FILE_ROWS: usize = 2_000;
/// Long enough for three of the longest names.
const MAX_CURSOR: usize = 20_000;

const SIZES: [(&str, BucketSize); 5] = [
    ("15m", BucketSize::Quarter),
    ("hour", BucketSize::Hour),
    ("day", BucketSize::Day),
    ("week", BucketSize::Week),
    ("month", BucketSize::Month),
];
const STATUSES: [(&str, CallStatus); 2] = [("completed", CallStatus::Completed), ("failed", CallStatus::Failed)];

/// Sums along any dimensions
///
/// Groups that have a call, by bucket and then by their keys. A page is cut from the range as it was when the first page
/// was read; `totals` are always of the whole range.
#[utoipa::path(
    get,
    path = "/api/v1/analytics/query",
    tag = "analytics",
    security(("bearer" = [])),
    params(
        ("group_by" = Option<String>, Query, description = "Up to three of `agent`, `owner`, `project`, `provider`, \
            `provider_key`, `model` and `status`, separated by commas"),
        ("bucket" = Option<String>, Query, description = "`15m`, `hour`, `day`, `week` or `month` of local time; at most \
            10 000 of them"),
        ("period" = Option<String>, Query, description = "As elsewhere; `last-30-days` unless given"),
        ("from" = Option<String>, Query, description = "The first instant: milliseconds, RFC 3339 or a date"),
        ("to" = Option<String>, Query, description = "The first instant after the range"),
        ("time_zone" = Option<String>, Query, description = "Whose days they are; `UTC` unless given"),
        ("agent_id" = Option<String>, Query, description = "One or more"),
        ("owner_id" = Option<String>, Query, description = "One or more"),
        ("project_id" = Option<String>, Query, description = "One or more"),
        ("provider" = Option<String>, Query, description = "One or more kinds"),
        ("provider_key_id" = Option<String>, Query, description = "One or more"),
        ("model" = Option<String>, Query, description = "One or more"),
        ("status" = Option<String>, Query, description = "`completed` or `failed`"),
        ("format" = Option<String>, Query, description = "`json` (a list with a cursor) or `csv` (the whole result)"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, 100 unless given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "Groups and totals", body = GroupsPage),
        (status = 400, description = "`UNSUPPORTED_FORMAT`"),
    ),
)]
pub async fn query(State(api): State<ApiState>, caller: Caller, query: Query) -> Result<Response, ApiError> {
    let format = Format::wanted(&query)?;
    let now = api.clock.now();
    let mut q = query.reader();
    let by = dimensions(&mut q);
    let size = q.word("bucket", &SIZES);
    let mut span = read_span(&mut q, Period::Last30Days, now);
    let filter = filter(&mut q, &caller);
    let limit = q.int(&["limit"], 1, 1_000).unwrap_or(100);
    let cursor = q.text("cursor", MAX_CURSOR).map(|text| text.parse::<GroupCursor>());
    let cursor = cursor.and_then(|cursor| {
        let cursor = cursor.ok().filter(|cursor| cursor.key.len() == by.len());
        if cursor.is_none() {
            q.error("cursor", "is not one of this list");
        }
        cursor
    });
    q.finish(())?;
    if let Some(cursor) = &cursor {
        (span.from, span.to, span.is_open) = (cursor.from, cursor.to, false);
    }
    let mut inquiry = api.store.inquire(now).await?;
    if span.is_open {
        span.from = inquiry.first_fact().await?.unwrap_or(span.to).clamp(span.from, span.to);
    }
    let buckets = match size {
        Some(size) => buckets(size, &span.zone, span.from, span.to)
            .map_err(|too_many| ApiError::field("bucket", too_many.to_string()))?,
        None => vec![Bucket { start: span.from, from: span.from, to: span.to }],
    };
    let asked = Question { filter, by, size, buckets, zone: span.zone.clone() };
    if format == Some(Format::Csv) {
        drop(inquiry);
        api.limits.export(&caller.user)?;
        return export::stream(Format::Csv, "query", Lines { api, asked, now, after: None, done: false }).await;
    }
    let after = cursor.as_ref().map(|cursor| (cursor.bucket, cursor.key.as_slice()));
    let limit = usize::try_from(limit).unwrap_or(100);
    let totals = inquiry.total(&asked.filter, (span.from, span.to)).await?;
    let page = inquiry.group_page(&asked.filter, &asked.by, &asked.buckets, after, limit).await?;
    let next = page.groups.last().filter(|_| page.more).map(|last| {
        GroupCursor { from: span.from, to: span.to, bucket: asked.start_of(last), key: last.key.clone() }.to_string()
    });
    let Span { from, to, zone, period, .. } = span;
    let body = GroupsPage {
        data: asked.rows(&mut inquiry, page.groups).await?,
        totals: totals_of(&totals),
        from: from.millis(),
        to: to.millis(),
        time_zone: zone.name().to_owned(),
        bucket: size.map(|size| size.as_str().to_owned()),
        next_cursor: next,
        as_of: now.millis(),
        period: period.to_owned(),
        calculated_at: now.to_rfc3339(),
    };
    Ok(Json(body).into_response())
}

fn dimensions(q: &mut QueryReader<'_>) -> Vec<Dimension> {
    let by = q.many("group_by", |word| {
        Dimension::parse(word)
            .ok_or_else(|| "must be agent, owner, project, provider, provider_key, model or status".to_owned())
    });
    let repeated = by.iter().enumerate().any(|(index, dimension)| by[..index].contains(dimension));
    if by.len() > MAX_DIMENSIONS || repeated {
        q.error("group_by", "must be at most three different ones");
    }
    by
}

fn filter(q: &mut QueryReader<'_>, caller: &Caller) -> QuestionFilter {
    let key = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // A number that no key can have is the number of no key
        let id = text.parse().ok().filter(|id| *id > 0).unwrap_or(i64::MAX);
        digits.then_some(ProviderKeyId(id)).ok_or_else(|| "must be a number".to_owned())
    };
    QuestionFilter {
        visible_to: visible_to(caller),
        agents: q.agent_ids("agent_id"),
        owners: q.texts("owner_id", 255).into_iter().map(UserId::new).collect(),
        projects: q.texts("project_id", 100).into_iter().map(ProjectId::new).collect(),
        providers: q.texts("provider", 128),
        provider_keys: q.many("provider_key_id", key),
        models: q.texts("model", 200),
        status: q.word("status", &STATUSES),
    }
}

/// A question that has been read.
struct Question {
    filter: QuestionFilter,
    by: Vec<Dimension>,
    size: Option<BucketSize>,
    buckets: Vec<Bucket>,
    zone: Zone,
}

impl Question {
    fn start_of(&self, group: &Group) -> Timestamp {
        self.buckets.get(group.bucket).map_or(Timestamp::EPOCH, |bucket| bucket.start)
    }

    /// Groups as they are shown, with the names of agents.
    async fn rows(&self, inquiry: &mut Inquiry, groups: Vec<Group>) -> Result<Vec<GroupRow>, ApiError> {
        let names = match self.by.iter().position(|dimension| *dimension == Dimension::Agent) {
            None => HashMap::new(),
            Some(index) => {
                let mut agents: Vec<AgentId> = groups.iter().map(|group| agent_of(group, index)).collect();
                agents.sort_unstable();
                agents.dedup();
                inquiry.agent_names(agents).await?
            }
        };
        Ok(groups.iter().map(|group| self.row(group, &names)).collect())
    }

    fn row(&self, group: &Group, names: &HashMap<AgentId, String>) -> GroupRow {
        let mut row = empty_row(totals_of(&group.measures));
        for (index, dimension) in self.by.iter().enumerate() {
            let text = || Some(text_of(group, index));
            let optional = || group.key.get(index).and_then(Key::text).map(str::to_owned);
            match dimension {
                Dimension::Agent => {
                    let agent = agent_of(group, index);
                    (row.agent_id, row.agent_name) = (Some(agent.0), Some(name_of(names, agent)));
                }
                Dimension::Owner => row.owner_id = text(),
                Dimension::Project => row.project_id = Some(optional()),
                Dimension::Provider => row.provider = text(),
                Dimension::ProviderKey => row.provider_key_id = Some(group.key.get(index).and_then(Key::int)),
                Dimension::Model => row.model = text(),
                Dimension::Status => row.status = text(),
            }
        }
        if self.size.is_some() {
            let start = self.start_of(group);
            (row.bucket_start, row.bucket_label) = (Some(start.millis()), Some(label(&self.zone, start)));
        }
        row
    }
}

const fn empty_row(measures: GroupTotals) -> GroupRow {
    GroupRow {
        agent_id: None,
        agent_name: None,
        owner_id: None,
        project_id: None,
        provider: None,
        provider_key_id: None,
        model: None,
        status: None,
        bucket_start: None,
        bucket_label: None,
        measures,
    }
}

fn totals_of(measures: &Measures) -> GroupTotals {
    GroupTotals {
        request_count: measures.requests(),
        successful_requests: measures.completed,
        failed_requests: measures.failed,
        input_tokens: measures.input_tokens,
        output_tokens: measures.output_tokens,
        total_tokens: measures.total_tokens(),
        cost_microdollars: measures.cost(),
        cost_usd: Usd::spent(measures.cost()),
    }
}

impl Row for GroupRow {
    const COLUMNS: &'static [&'static str] = &[
        "bucket_start",
        "bucket_label",
        "agent_id",
        "agent_name",
        "owner_id",
        "project_id",
        "provider",
        "provider_key_id",
        "model",
        "status",
        "request_count",
        "successful_requests",
        "failed_requests",
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "cost_microdollars",
        "cost_usd",
    ];
}

/// The whole result, a stretch at a time: a slow reader holds no state of the database open.
struct Lines {
    api: ApiState,
    asked: Question,
    now: Timestamp,
    after: Option<(Timestamp, Vec<Key>)>,
    done: bool,
}

impl Source for Lines {
    type Row = GroupRow;

    fn columns(&self) -> Vec<&'static str> {
        let has = |dimension| self.asked.by.contains(&dimension);
        let wanted = |column: &&str| match *column {
            "bucket_start" | "bucket_label" => self.asked.size.is_some(),
            "agent_id" | "agent_name" => has(Dimension::Agent),
            "owner_id" => has(Dimension::Owner),
            "project_id" => has(Dimension::Project),
            "provider" => has(Dimension::Provider),
            "provider_key_id" => has(Dimension::ProviderKey),
            "model" => has(Dimension::Model),
            "status" => has(Dimension::Status),
            _ => true,
        };
        GroupRow::COLUMNS.iter().copied().filter(wanted).collect()
    }

    async fn next(&mut self) -> Result<Vec<GroupRow>, ApiError> {
        if self.done {
            return Ok(Vec::new());
        }
        let Question { filter, by, buckets, .. } = &self.asked;
        let mut inquiry = self.api.store.inquire(self.now).await?;
        let after = self.after.as_ref().map(|(start, key)| (*start, key.as_slice()));
        let page = inquiry.group_page(filter, by, buckets, after, FILE_ROWS).await?;
        self.done = !page.more;
        self.after = page.groups.last().map(|last| (self.asked.start_of(last), last.key.clone()));
        self.asked.rows(&mut inquiry, page.groups).await
    }
}
