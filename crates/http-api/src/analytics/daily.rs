//! What agents did, day by day: the rows of exports.

use analytics::buckets::short_label;
use analytics::{Bucket, BucketSize, CallStatus, Dimension, Measures, buckets};
use axum::response::Response;
use kernel::{Timestamp, Zone};
use persistence::{Key, QuestionFilter};

use super::asked::Asked;
use super::shape::{agent_of, name_of, text_of};
use crate::export::{self, Format, Row, Source};
use crate::{ApiError, ApiState, Caller, Query};

/// Rows of a file that are read at once.
const FILE_ROWS: usize = 2_000;
const BY: [Dimension; 3] = [Dimension::Agent, Dimension::Provider, Dimension::Model];

/// The completed calls of an agent to a model on a day.
pub(super) struct Line {
    pub(super) date: String,
    pub(super) agent_id: i64,
    pub(super) agent_name: String,
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) measures: Measures,
}

/// Sends the file of what was asked for; each line is made into a row.
pub(super) async fn file<R: Row + 'static>(
    api: ApiState,
    caller: &Caller,
    query: &Query,
    name: &'static str,
    make: fn(Line) -> R,
) -> Result<Response, ApiError> {
    let format = Format::wanted(query)?;
    let asked = Asked::alone(query, &api, caller)?;
    api.limits.export(&caller.user)?;
    let (from, to) = asked.range_with_facts(&mut asked.inquire(&api).await?).await?;
    let days = buckets(BucketSize::Day, &asked.span.zone, from, to);
    let days = days.map_err(|too_many| ApiError::field("from", too_many.to_string()))?;
    let filter = asked.filter.with_status(CallStatus::Completed);
    let lines = Lines { api, filter, days, zone: asked.span.zone, now: asked.now, after: None, done: false, make };
    export::stream(format.unwrap_or(Format::Json), name, lines).await
}

/// A stretch at a time: a slow reader holds no state of the database open.
struct Lines<R> {
    api: ApiState,
    filter: QuestionFilter,
    days: Vec<Bucket>,
    zone: Zone,
    now: Timestamp,
    after: Option<(Timestamp, Vec<Key>)>,
    done: bool,
    make: fn(Line) -> R,
}

impl<R: Row + 'static> Source for Lines<R> {
    type Row = R;

    async fn next(&mut self) -> Result<Vec<R>, ApiError> {
        if self.done {
            return Ok(Vec::new());
        }
        let mut inquiry = self.api.store.inquire(self.now).await?;
        let after = self.after.as_ref().map(|(start, key)| (*start, key.as_slice()));
        let page = inquiry.group_page(&self.filter, &BY, &self.days, after, FILE_ROWS).await?;
        let start_of = |bucket: usize| self.days.get(bucket).map_or(Timestamp::EPOCH, |day| day.start);
        self.done = !page.more;
        self.after = page.groups.last().map(|last| (start_of(last.bucket), last.key.clone()));
        let mut agents: Vec<_> = page.groups.iter().map(|group| agent_of(group, 0)).collect();
        agents.sort_unstable();
        agents.dedup();
        let names = inquiry.agent_names(agents).await?;
        let line = |group: &persistence::Group| Line {
            date: short_label(BucketSize::Day, &self.zone, start_of(group.bucket)),
            agent_id: agent_of(group, 0).0,
            agent_name: name_of(&names, agent_of(group, 0)),
            provider: text_of(group, 1),
            model: text_of(group, 2),
            measures: group.measures,
        };
        Ok(page.groups.iter().map(line).map(self.make).collect())
    }
}
