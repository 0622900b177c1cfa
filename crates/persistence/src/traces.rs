//! Traces (§15): facts one by one with all that is known of them, which is figures and names and never what was said.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;

use analytics::CallStatus;
use kernel::{AgentId, LeaseId, Money, ProjectId, ProviderKeyId, Timestamp, UserId};

use crate::db::{Row, Value, args, statements};
use crate::facts::{hash_of, slot, source_of};
use crate::listing::{Visibility, number_rows};
use crate::slice::{BadCursor, Slice};
use crate::{Store, StoreError};

/// A fact with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Its number, never used again.
    pub id: i64,
    /// The id of the event that told of it.
    pub event_id: Option<String>,
    /// The id under which it was reported.
    pub request_id: Option<String>,
    /// The lease it was paid from.
    pub lease: Option<LeaseId>,
    /// Whose call it was.
    pub agent: AgentId,
    /// The agent's name now, or its last one.
    pub agent_name: String,
    /// Who owns the agent now, and may see this.
    pub agent_owner: UserId,
    /// Who owned it then.
    pub owner: UserId,
    /// The project it was in then.
    pub project: Option<ProjectId>,
    /// The kind of provider.
    pub provider: String,
    /// The key, where it is known.
    pub provider_key: Option<ProviderKeyId>,
    /// The model.
    pub model: String,
    /// How it ended.
    pub status: CallStatus,
    /// Why it failed.
    pub error_code: Option<String>,
    /// Why it failed, for people.
    pub error_message: Option<String>,
    /// Tokens in.
    pub input_tokens: i64,
    /// Tokens out.
    pub output_tokens: i64,
    /// Of the tokens in, those that were cached.
    pub cached_tokens: Option<i64>,
    /// Of the tokens out, those spent on reasoning.
    pub reasoning_tokens: Option<i64>,
    /// What it cost.
    pub cost: Money,
    /// How long it took.
    pub latency_ms: Option<i64>,
    /// When it counts.
    pub occurred_at: Timestamp,
    /// When it was first heard of.
    pub received_at: Timestamp,
    /// What told of it: `event`, `report` or `both`.
    pub source: &'static str,
    /// W3C trace id.
    pub trace_id: Option<String>,
    /// W3C span id.
    pub span_id: Option<String>,
    /// A JSON object of texts.
    pub tags: Option<String>,
}

/// Which traces. What is not given does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceFilter {
    /// Whose eyes it is for: traces of agents that they own now.
    pub visible_to: Visibility,
    /// Of one of these agents.
    pub agents: Vec<AgentId>,
    /// Of agents that then were in one of these projects.
    pub projects: Vec<ProjectId>,
    /// Through one of these kinds of provider.
    pub providers: Vec<String>,
    /// On one of these models.
    pub models: Vec<String>,
    /// With one of these outcomes.
    pub statuses: Vec<CallStatus>,
    /// Paid from one of these leases.
    pub leases: Vec<LeaseId>,
    /// Reported under one of these ids.
    pub requests: Vec<String>,
    /// Counted at or after this.
    pub from: Option<Timestamp>,
    /// Counted before this.
    pub to: Option<Timestamp>,
    /// That cost at least so many micro-dollars, as they are shown.
    pub min_cost_micros: Option<i64>,
}

/// A place in the list of traces; written and read as an opaque text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceCursor {
    at: Timestamp,
    id: i64,
}

impl fmt::Display for TraceCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at.millis(), self.id)
    }
}

impl FromStr for TraceCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (at, id) = text.split_once('.').ok_or(BadCursor)?;
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            if is_number { text.parse::<i64>().map_err(|_| BadCursor) } else { Err(BadCursor) }
        };
        Ok(Self { at: Timestamp::from_millis(number(at)?), id: number(id)? })
    }
}

/// What stands in a series for names beyond those that are told apart for an agent; the fact then has its own.
const OTHER: &str = "other";

/// Of so few series the youngest facts are found series by series; of more, by going back in time.
const FEW_SERIES: usize = 64;

statements! {
    DETAILS = "SELECT f.id, f.event_id, f.request_id, f.lease_id, s.agent_id, a.name, a.owner_id, s.owner_id, s.project_id, \
        COALESCE(x.provider, s.provider), s.provider_key_id, COALESCE(x.model, s.model), s.status, x.error_code, \
        x.error_message, f.input_tokens, f.output_tokens, x.cached_tokens, x.reasoning_tokens, f.cost, f.latency_ms, \
        f.occurred_at, f.received_at, f.flags, x.trace_id, x.span_id, x.tags \
        FROM {rows} CROSS JOIN facts AS f CROSS JOIN series AS s CROSS JOIN agents AS a \
        LEFT JOIN fact_extras AS x ON x.fact_id = f.id \
        WHERE f.id = {int 0} AND s.no = f.series_no AND a.id = s.agent_id";
    AGENTS_OF_LEASES = "SELECT DISTINCT l.agent_id FROM {rows} CROSS JOIN leases AS l WHERE l.id = {text 0}";
}

/// For the test of plans.
#[cfg(test)]
pub(crate) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![("DETAILS", &*DETAILS), ("AGENTS_OF_LEASES", &*AGENTS_OF_LEASES)]
}

impl Store {
    /// The traces, youngest first, at most `limit` after the cursor.
    pub async fn traces(
        &self,
        wanted: &TraceFilter,
        after: Option<TraceCursor>,
        limit: u32,
    ) -> Result<Slice<Trace, TraceCursor>, StoreError> {
        let Some(places) = self.trace_places(wanted, after, limit.saturating_add(1)).await? else {
            return Ok(Slice { rows: Vec::new(), next: None });
        };
        let Slice { rows: places, next } = Slice::cut(places, limit, |place| *place);
        let mut found: HashMap<i64, Trace> =
            self.traces_of(&places.iter().map(|place| place.id).collect::<Vec<_>>()).await?;
        // One that has been pruned in between is left out
        Ok(Slice { rows: places.iter().filter_map(|place| found.remove(&place.id)).collect(), next })
    }

    /// One trace.
    pub async fn trace(&self, id: i64) -> Result<Option<Trace>, StoreError> {
        Ok(self.traces_of(&[id]).await?.remove(&id))
    }

    async fn traces_of(&self, ids: &[i64]) -> Result<HashMap<i64, Trace>, StoreError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.db.rows(&DETAILS, args![number_rows(ids.iter().copied())]).await?;
        rows.iter().map(|row| trace(row).map(|trace| (trace.id, trace))).collect()
    }

    /// Where the traces stand in the list; `None` where there can be none.
    async fn trace_places(
        &self,
        wanted: &TraceFilter,
        after: Option<TraceCursor>,
        limit: u32,
    ) -> Result<Option<Vec<TraceCursor>>, StoreError> {
        let mut wanted = wanted.clone();
        if !wanted.leases.is_empty() {
            let mut rows = crate::rows::Rows::new();
            for lease in &wanted.leases {
                rows.row().text(lease.as_str());
            }
            let agents = self.db.rows(&AGENTS_OF_LEASES, args![rows.finish()]).await?;
            let agents = agents.iter().map(|row| row.int(0).map(AgentId)).collect::<Result<Vec<_>, _>>()?;
            let asked = std::mem::replace(&mut wanted.agents, agents);
            wanted.agents.retain(|agent| asked.is_empty() || asked.contains(agent));
            if wanted.agents.is_empty() {
                return Ok(None);
            }
        }
        let (sql, args) = if !wanted.requests.is_empty() {
            named_question(&wanted, after, limit)
        } else if wanted.narrows_series() {
            let (sql, args) = series_question(&wanted);
            let series = self.db.rows_of(sql, args).await?;
            let one = |row: &Row| Ok((row.int(0)?, row.int(1)? != 0));
            let series = series.iter().map(one).collect::<Result<Vec<_>, StoreError>>()?;
            if series.is_empty() {
                return Ok(None);
            }
            if series.len() <= FEW_SERIES {
                few_question(&wanted, &series, after, limit)
            } else {
                time_question(&wanted, after, limit)
            }
        } else {
            time_question(&wanted, after, limit)
        };
        let rows = self.db.rows_of(sql, args).await?;
        let place = |row: &Row| Ok(TraceCursor { id: row.int(0)?, at: row.time(1)? });
        rows.iter().map(place).collect::<Result<Vec<_>, StoreError>>().map(Some)
    }
}

fn trace(row: &Row) -> Result<Trace, StoreError> {
    let status = CallStatus::parse(&row.text(12)?);
    Ok(Trace {
        id: row.int(0)?,
        event_id: row.opt_text(1)?,
        request_id: row.opt_text(2)?,
        lease: row.opt_text(3)?.map(LeaseId::new),
        agent: AgentId(row.int(4)?),
        agent_name: row.text(5)?,
        agent_owner: UserId::new(row.text(6)?),
        owner: UserId::new(row.text(7)?),
        project: Some(row.text(8)?).filter(|project| !project.is_empty()).map(ProjectId::new),
        provider: row.text(9)?,
        provider_key: Some(row.int(10)?).filter(|key| *key != 0).map(ProviderKeyId),
        model: row.text(11)?,
        status: status.ok_or_else(|| StoreError::Corrupt("a call of unknown outcome".to_owned()))?,
        error_code: row.opt_text(13)?,
        error_message: row.opt_text(14)?,
        input_tokens: row.int(15)?,
        output_tokens: row.int(16)?,
        cached_tokens: row.opt_int(17)?,
        reasoning_tokens: row.opt_int(18)?,
        cost: row.money(19)?,
        latency_ms: row.opt_int(20)?,
        occurred_at: row.time(21)?,
        received_at: row.time(22)?,
        source: source_of(row.int(23)?),
        trace_id: row.opt_text(24)?,
        span_id: row.opt_text(25)?,
        tags: row.opt_text(26)?,
    })
}

impl TraceFilter {
    /// Whether it leaves out series of facts as a whole.
    fn narrows_series(&self) -> bool {
        self.visible_to != Visibility::All
            || !self.agents.is_empty()
            || !self.projects.is_empty()
            || !self.providers.is_empty()
            || !self.models.is_empty()
            || !self.statuses.is_empty()
    }
}

/// A statement on the way; values are bound where they stand.
#[derive(Default)]
struct Text {
    sql: String,
    args: Vec<Value>,
}

impl Text {
    fn push(&mut self, sql: &'static str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.args.push(value.into());
        let _ = write!(self.sql, "${}", self.args.len());
        self
    }

    fn one_of<V: Into<Value>>(&mut self, column: &'static str, values: impl IntoIterator<Item = V>) -> &mut Self {
        let mut any = false;
        for value in values {
            if std::mem::replace(&mut any, true) {
                self.push(", ");
            } else {
                self.push(" AND ").push(column).push(" IN (");
            }
            self.bind(value);
        }
        self.push(if any { ")" } else { "" })
    }

    fn finish(self) -> (Arc<str>, Vec<Value>) {
        (Arc::from(self.sql), self.args)
    }

    /// Conditions on the series, `series AS s`, each after ` AND `.
    fn series(&mut self, wanted: &TraceFilter) -> &mut Self {
        if let Some(user) = wanted.visible_to.user() {
            self.push(" AND s.agent_id IN (SELECT own.id FROM agents AS own WHERE own.owner_id = ")
                .bind(user)
                .push(")");
        }
        self.one_of("s.agent_id", wanted.agents.iter().map(|agent| agent.0))
            .one_of("s.project_id", wanted.projects.iter().map(ProjectId::as_str))
            .one_of("s.provider", or_other(&wanted.providers))
            .one_of("s.model", or_other(&wanted.models))
            .one_of("s.status", wanted.statuses.iter().map(|status| status.as_str()))
    }

    /// Conditions on the names of the fact where its series may have [`OTHER`] in their place, each after ` AND `.
    fn own_names(&mut self, wanted: &TraceFilter) -> &mut Self {
        let provider = "COALESCE((SELECT x.provider FROM fact_extras AS x WHERE x.fact_id = f.id), \
            (SELECT n.provider FROM series AS n WHERE n.no = f.series_no))";
        let model = "COALESCE((SELECT x.model FROM fact_extras AS x WHERE x.fact_id = f.id), \
            (SELECT n.model FROM series AS n WHERE n.no = f.series_no))";
        self.one_of(provider, wanted.providers.iter().map(String::as_str))
            .one_of(model, wanted.models.iter().map(String::as_str))
    }

    /// Which slots of the index by time have facts that fit, each after ` AND `.
    fn slots(&mut self, wanted: &TraceFilter, after: Option<TraceCursor>) -> &mut Self {
        if let Some(from) = wanted.from {
            self.push(" AND f.occurred_at / 10000 >= ").bind(slot(from));
        }
        if let Some(to) = wanted.to.into_iter().chain(after.map(|after| after.at)).min() {
            self.push(" AND f.occurred_at / 10000 <= ").bind(slot(to));
        }
        self
    }

    /// Conditions on the fact, `facts AS f`, each after ` AND `.
    fn fact(&mut self, wanted: &TraceFilter, after: Option<TraceCursor>) -> &mut Self {
        if let Some(from) = wanted.from {
            self.push(" AND f.occurred_at >= ").bind(from);
        }
        if let Some(to) = wanted.to {
            self.push(" AND f.occurred_at < ").bind(to);
        }
        if let Some(TraceCursor { at, id }) = after {
            self.push(" AND f.occurred_at <= ").bind(at).push(" AND (f.occurred_at < ").bind(at);
            self.push(" OR f.id < ").bind(id).push(")");
        }
        if let Some(least) = wanted.min_cost_micros.filter(|least| *least > 0) {
            // Shown is the cost rounded up to micro-dollars
            self.push(" AND f.cost > ").bind((least - 1).saturating_mul(1_000));
        }
        self.one_of("f.lease_id", wanted.leases.iter().map(LeaseId::as_str))
    }
}

/// Names that a series may have for facts of these; no names are any.
fn or_other(names: &[String]) -> impl Iterator<Item = &str> {
    let other = (!names.is_empty()).then_some(OTHER);
    names.iter().map(String::as_str).chain(other)
}

/// The numbers of the series, one more than are few, and whether names of its facts may be others than its own.
pub(crate) fn series_question(wanted: &TraceFilter) -> (Arc<str>, Vec<Value>) {
    let mut text = Text::default();
    text.push("SELECT s.no, CAST(CASE WHEN s.provider = ").bind(OTHER).push(" OR s.model = ").bind(OTHER);
    text.push(" THEN 1 ELSE 0 END AS BIGINT) FROM series AS s WHERE s.no > 0").series(wanted).push(" LIMIT ");
    text.bind(i64::try_from(FEW_SERIES).unwrap_or(i64::MAX).saturating_add(1));
    text.finish()
}

/// Youngest first of a few series: the first of each, from its index, and of those the first.
pub(crate) fn few_question(
    wanted: &TraceFilter,
    series: &[(i64, bool)],
    after: Option<TraceCursor>,
    limit: u32,
) -> (Arc<str>, Vec<Value>) {
    let mut text = Text::default();
    text.push("SELECT u.id, u.occurred_at FROM (");
    for (index, (no, is_other)) in series.iter().enumerate() {
        text.push(if index == 0 { "" } else { " UNION ALL " });
        text.push(
            "SELECT * FROM (SELECT f.id AS id, f.occurred_at AS occurred_at FROM facts AS f WHERE f.series_no = ",
        );
        text.bind(*no).fact(wanted, after);
        if *is_other {
            text.own_names(wanted);
        }
        text.push(" ORDER BY f.occurred_at DESC, f.id DESC LIMIT ").bind(i64::from(limit)).push(") AS youngest");
    }
    text.push(") AS u ORDER BY u.occurred_at DESC, u.id DESC LIMIT ").bind(i64::from(limit));
    text.finish()
}

/// Youngest first of all or of many series: back in time until there are enough.
pub(crate) fn time_question(wanted: &TraceFilter, after: Option<TraceCursor>, limit: u32) -> (Arc<str>, Vec<Value>) {
    let mut text = Text::default();
    text.push("SELECT f.id, f.occurred_at FROM facts AS f WHERE f.occurred_at / 10000 >= 0");
    text.slots(wanted, after).fact(wanted, after);
    if wanted.narrows_series() {
        // The sign keeps the databases from going by the series: a page would cost all facts of them
        text.push(" AND +f.series_no IN (SELECT s.no FROM series AS s WHERE s.no > 0").series(wanted).push(")");
        text.own_names(wanted);
    }
    text.push(" ORDER BY f.occurred_at / 10000 DESC, f.occurred_at DESC, f.id DESC LIMIT ").bind(i64::from(limit));
    text.finish()
}

/// Those of these request ids: by their names, agent by agent.
pub(crate) fn named_question(wanted: &TraceFilter, after: Option<TraceCursor>, limit: u32) -> (Arc<str>, Vec<Value>) {
    let mut text = Text::default();
    text.push("SELECT f.id, f.occurred_at FROM agents AS a CROSS JOIN fact_ids AS k CROSS JOIN facts AS f ");
    text.push("CROSS JOIN series AS s WHERE k.agent_id = a.id AND f.id = k.fact_id AND s.no = f.series_no");
    if let Some(user) = wanted.visible_to.user() {
        text.push(" AND a.owner_id = ").bind(user);
    }
    text.one_of("k.hash", wanted.requests.iter().map(|name| Value::from(hash_of(name))));
    text.one_of("f.request_id", wanted.requests.iter().map(String::as_str));
    text.series(wanted).fact(wanted, after).own_names(wanted);
    text.push(" ORDER BY f.occurred_at DESC, f.id DESC LIMIT ").bind(i64::from(limit));
    text.finish()
}

#[cfg(test)]
mod tests {
    use kernel::{AgentId, LeaseId, UserId};

    use super::{TraceCursor, TraceFilter, few_question, named_question, time_question};
    use crate::listing::Visibility;

    #[test]
    fn a_place_is_read_as_it_was_written_and_nothing_else_is_one() {
        assert_eq!("12.7".parse::<TraceCursor>().map(|place| place.to_string()).as_deref(), Ok("12.7"));
        for bad in ["", ".", "1.", ".1", "1", "-1.2", "1.2.3", "1.99999999999999999999", "a.b"] {
            assert!(bad.parse::<TraceCursor>().is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_bound_in_the_order_of_their_places() {
        let wanted = TraceFilter {
            visible_to: Visibility::Of(UserId::new("user_1")),
            agents: vec![AgentId(1), AgentId(2)],
            leases: vec![LeaseId::new("lease_1")],
            requests: vec!["r".to_owned()],
            ..TraceFilter::default()
        };
        let after = "12.7".parse().ok();
        for (sql, args) in [
            few_question(&wanted, &[(5, false), (6, true)], after, 20),
            time_question(&wanted, after, 20),
            named_question(&wanted, after, 20),
        ] {
            for place in 1..=args.len() {
                assert!(sql.contains(&format!("${place}")), "{place} in {sql}");
            }
            assert!(!sql.contains(&format!("${}", args.len() + 1)), "{sql}");
            assert_eq!(sql.matches('(').count(), sql.matches(')').count(), "{sql}");
        }
    }
}
