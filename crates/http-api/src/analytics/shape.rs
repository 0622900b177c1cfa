//! Sums as they are shown.

use std::cmp::Reverse;
use std::collections::HashMap;

use analytics::{CallStatus, Dimension, Measures};
use api_types::analytics::Rate;
use api_types::figures::{Percent, Usd};
use kernel::{AgentId, Money, Timestamp};
use persistence::{Group, Inquiry, Key, QuestionFilter};

use super::asked::Asked;
use crate::ApiError;
use crate::list::PageRequest;

/// What was spent.
pub(super) fn usd(measures: &Measures) -> Usd {
    Usd::spent(measures.cost())
}

/// What a completed call costs on average.
pub(super) fn usd_per_call(measures: &Measures) -> Usd {
    Usd::left(measures.cost_per(measures.completed))
}

/// How much the part is of the whole, 0–100.
pub(super) fn share(part: i64, whole: i64) -> Percent {
    Percent::of(Money::from_nanos(part), Money::from_nanos(whole))
}

/// The mean of percentages.
pub(super) fn mean(of: impl ExactSizeIterator<Item = Percent>) -> Percent {
    let count = i64::try_from(of.len()).unwrap_or(i64::MAX);
    share(of.fold(0, |sum: i64, one| sum.saturating_add(one.hundredths())), count.saturating_mul(10_000))
}

/// How many there are in a minute, on average over a stretch of time.
pub(super) fn per_minute(count: i64, (from, to): (Timestamp, Timestamp)) -> Rate {
    let ms = to.since(from);
    if ms <= 0 {
        return Rate::default();
    }
    share(count.saturating_mul(60_000), ms.saturating_mul(100))
}

/// To the nearest whole number; 0 of none.
pub(super) const fn average(sum: i64, count: i64) -> i64 {
    if count <= 0 { 0 } else { sum.saturating_add(count / 2) / count }
}

/// The rows of a page.
pub(super) fn page_of<T>(rows: Vec<T>, request: PageRequest) -> Vec<T> {
    let offset = usize::try_from(request.offset()).unwrap_or(usize::MAX);
    rows.into_iter().skip(offset).take(request.per_page as usize).collect()
}

/// What each agent's facts add up to.
pub(super) async fn by_agent(
    inquiry: &mut Inquiry,
    filter: &QuestionFilter,
    range: (Timestamp, Timestamp),
) -> Result<Vec<(AgentId, Measures)>, ApiError> {
    let groups = inquiry.sums(filter, &[Dimension::Agent], &[range]).await?;
    Ok(groups.into_iter().map(|group| (agent_of(&group, 0), group.measures)).collect())
}

/// What each agent's completed calls add up to: the largest figure first, then the highest id.
pub(super) async fn ranked_agents<F: Ord>(
    inquiry: &mut Inquiry,
    asked: &Asked,
    figure: impl Fn(&Measures) -> F,
) -> Result<Vec<(AgentId, Measures)>, ApiError> {
    let mut agents = by_agent(inquiry, &asked.filter.with_status(CallStatus::Completed), asked.range()).await?;
    agents.sort_by_cached_key(|(agent, measures)| Reverse((figure(measures), *agent)));
    Ok(agents)
}

/// The agent among the values of a group.
pub(super) fn agent_of(group: &Group, index: usize) -> AgentId {
    AgentId(group.key.get(index).and_then(Key::int).unwrap_or(0))
}

/// A text among the values of a group.
pub(super) fn text_of(group: &Group, index: usize) -> String {
    group.key.get(index).and_then(Key::text).unwrap_or_default().to_owned()
}

/// An agent's name, which every agent has.
pub(super) fn name_of(names: &HashMap<AgentId, String>, agent: AgentId) -> String {
    names.get(&agent).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use kernel::Timestamp;

    use super::{average, mean, per_minute, share};

    #[test]
    fn rates_have_two_decimals_and_are_nothing_over_no_time() {
        let at = Timestamp::from_millis;
        assert_eq!(per_minute(1, (at(0), at(180_000))).to_string(), "0.33");
        assert_eq!(per_minute(90, (at(0), at(60_000))).to_string(), "90");
        assert_eq!(per_minute(5, (at(7), at(7))).to_string(), "0");
    }

    #[test]
    fn averages_are_to_the_nearest() {
        assert_eq!((average(5, 2), average(4, 3), average(9, 0)), (3, 1, 0));
        assert_eq!(mean([share(1, 2), share(1, 1)].into_iter()).to_string(), "75");
        assert_eq!(
            mean(std::iter::empty::<api_types::figures::Percent>().collect::<Vec<_>>().into_iter()).to_string(),
            "0"
        );
    }
}
