//! What is asked, and sums as bodies.

use analytics::{Dimension, Measures};
use api_types::usage::{ProviderUsageBody, UsageBody};
use kernel::{ProjectId, Timestamp};
use persistence::{Group, QuestionFilter, Visibility};
use utoipa::IntoParams;

use crate::{ApiError, ApiState, Caller, Query};

/// Which time a question is about (for its description).
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `asked` reads")]
pub(super) struct Range {
    /// At or after: milliseconds, RFC 3339 or a date; also `start_date`
    from: Option<String>,
    /// Before; a date includes that day; also `end_date`
    to: Option<String>,
    /// IANA zone of dates, default UTC
    time_zone: Option<String>,
}

/// Which project's facts a question is about (for its description).
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `asked` reads")]
pub(super) struct OfProject {
    /// Agents that were in this project then
    project_id: Option<String>,
}

/// The furthest ahead of now that a fact may count, and a little: a range without an end takes in all there are.
const AHEAD_MS: i64 = 5 * 60_000 + 1;

/// A question about usage.
pub(super) struct Asked {
    pub(super) filter: QuestionFilter,
    pub(super) range: (Timestamp, Timestamp),
    pub(super) zone: kernel::Zone,
}

/// Reads the question of a caller.
pub(super) fn asked(api: &ApiState, caller: &Caller, query: &Query) -> Result<Asked, ApiError> {
    let mut q = query.reader();
    let range = q.time_range();
    let project = q.text("project_id", 1_000);
    let (range, project) = q.finish((range, project))?;
    let filter = QuestionFilter {
        visible_to: if caller.is_admin() { Visibility::All } else { Visibility::Of(caller.user.clone()) },
        projects: project.into_iter().map(ProjectId::new).collect(),
        ..QuestionFilter::default()
    };
    let from = range.from.unwrap_or(Timestamp::EPOCH);
    let to = range.to.unwrap_or_else(|| api.clock.now().plus_millis(AHEAD_MS));
    Ok(Asked { filter, range: (from, to), zone: range.zone })
}

impl Asked {
    /// The sums along a dimension, the most expensive first, then by name.
    pub(super) async fn by(&self, api: &ApiState, dimension: Dimension) -> Result<Vec<Group>, ApiError> {
        let mut inquiry = api.store.inquire(api.clock.now()).await?;
        let mut groups = inquiry.sums(&self.filter, &[dimension], &[self.range]).await?;
        groups.sort_by(|a, b| b.measures.cost_nanos.cmp(&a.measures.cost_nanos).then_with(|| a.key.cmp(&b.key)));
        Ok(groups)
    }

    /// What was used in all and of each provider.
    pub(super) async fn usage(&self, api: &ApiState) -> Result<UsageBody, ApiError> {
        let groups = self.by(api, Dimension::Provider).await?;
        let total: Measures = groups.iter().map(|group| group.measures).sum();
        Ok(UsageBody {
            token_id: None,
            total_tokens: total.total_tokens(),
            total_requests: total.requests(),
            total_cost_cents: total.cost().cents_half_up(),
            providers: groups.iter().map(provider).collect(),
        })
    }
}

/// What was used of nothing.
pub(super) const fn nothing() -> UsageBody {
    UsageBody { token_id: None, total_tokens: 0, total_requests: 0, total_cost_cents: 0, providers: Vec::new() }
}

/// The text of a group's only key; empty where there is none.
pub(super) fn name(group: &Group) -> String {
    group.key.first().and_then(|key| key.text()).unwrap_or_default().to_owned()
}

/// A group by provider as a body.
pub(super) fn provider(group: &Group) -> ProviderUsageBody {
    ProviderUsageBody {
        provider: name(group),
        tokens: group.measures.total_tokens(),
        requests: group.measures.requests(),
        cost_cents: group.measures.cost().cents_half_up(),
    }
}
