//! Facts of a batch: made, changed and written, with what they add to the roll-ups.

use std::sync::Arc;

use analytics::{CallStatus, Folded};
use kernel::{LeaseId, ProjectId, Timestamp};
use ledger::{Applied, Command, Lease, Outcome};

use super::HashSet;
use super::calls::{Call, Calls, EventHalf, Extras, Image, ReportHalf, Told};
use super::cells::Cells;
use super::flag;
use super::load::{counted, name_rows};
use super::names::{Name, Names};
use super::series::{Series, SeriesKey};
use super::sketches::Noted;
use crate::db::{args, statements};
use crate::engine::Checkout;
use crate::rows::Rows;
use crate::{Backend, EventMore, Extra, Item, StoreError, Work};

statements! {
    /// The numbers of new facts end with what the first column says. On PostgreSQL a sequence gives them out, and the lock
    /// keeps what is folded as it is while facts are added to it.
    HEAD = "UPDATE rollup_head SET last_fact = last_fact + $1 WHERE id = 1 \
        RETURNING last_fact, sketching_fact, hours_until, days_until, months_until"
        | "SELECT last_fact, sketching_fact, hours_until, days_until, months_until FROM rollup_head \
        WHERE id = 1 AND CAST($1 AS BIGINT) >= 0 FOR SHARE";
    NUMBERS = "SELECT 0 WHERE $1 < 0" | "SELECT nextval('fact_numbers') FROM generate_series(1, $1)";
    INSERT_FACTS = "INSERT INTO facts (id, series_no, occurred_at, received_at, flags, input_tokens, output_tokens, \
        cost, latency_ms, event_id, request_id, lease_id) SELECT {int 0}, {int 1}, {int 2}, {int 3}, {int 4}, {int 5}, \
        {int 6}, {int 7}, {int 8}, {text 9}, {text 10}, {text 11} FROM {rows}";
    UPDATE_FACTS = "UPDATE facts SET series_no = v.series_no, occurred_at = v.occurred_at, received_at = v.received_at, \
        flags = v.flags, input_tokens = v.input_tokens, output_tokens = v.output_tokens, cost = v.cost, \
        latency_ms = v.latency_ms, event_id = v.event_id, request_id = v.request_id, lease_id = v.lease_id \
        FROM (SELECT {int 0} AS id, {int 1} AS series_no, {int 2} AS occurred_at, {int 3} AS received_at, \
        {int 4} AS flags, {int 5} AS input_tokens, {int 6} AS output_tokens, {int 7} AS cost, {int 8} AS latency_ms, \
        {text 9} AS event_id, {text 10} AS request_id, {text 11} AS lease_id FROM {rows}) AS v WHERE facts.id = v.id";
    DELETE_FACTS = "DELETE FROM facts WHERE id IN (SELECT {int 0} FROM {rows})";
    INSERT_IDS = "INSERT INTO fact_ids (agent_id, hash, fact_id) SELECT {int 0}, {int 1}, {int 2} FROM {rows} \
        WHERE true ON CONFLICT DO NOTHING";
    DELETE_IDS = "DELETE FROM fact_ids WHERE (agent_id, hash, fact_id) IN (SELECT {int 0}, {int 1}, {int 2} FROM {rows})";
    DELETE_EXTRAS = "DELETE FROM fact_extras WHERE fact_id IN (SELECT {int 0} FROM {rows})";
    INSERT_EXTRAS = "INSERT INTO fact_extras (fact_id, provider, model, event_cost, event_key_id, report_lease_id, \
        report_request_id, error_code, error_message, trace_id, span_id, cached_tokens, reasoning_tokens, tags) \
        SELECT {int 0}, {text 1}, {text 2}, {int 3}, {int 4}, {text 5}, {text 6}, {text 7}, {text 8}, {text 9}, \
        {text 10}, {int 11}, {int 12}, {text 13} FROM {rows}";
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![
        ("HEAD", &*HEAD),
        ("INSERT_FACTS", &*INSERT_FACTS),
        ("UPDATE_FACTS", &*UPDATE_FACTS),
        ("DELETE_FACTS", &*DELETE_FACTS),
        ("INSERT_IDS", &*INSERT_IDS),
        ("DELETE_IDS", &*DELETE_IDS),
        ("DELETE_EXTRAS", &*DELETE_EXTRAS),
        ("INSERT_EXTRAS", &*INSERT_EXTRAS),
    ]
}

/// How a fact changes.
struct Change {
    at: usize,
    before: Option<Box<Image>>,
    after: Option<Box<Image>>,
}

impl Work {
    /// Makes facts of what the commands of a batch told, writes them, and brings roll-ups up to date. Returns of each
    /// item whether it told of a call that nothing had told of before.
    pub(crate) async fn record(
        &mut self,
        items: &[Item],
        results: &[(usize, Applied)],
        checkout: &mut Checkout,
    ) -> Result<Vec<bool>, StoreError> {
        let mut calls = std::mem::take(&mut checkout.calls);
        let mut made: Vec<(usize, usize)> = Vec::new();
        let mut news = vec![false; items.len()];
        calls.all.reserve(results.len());
        let mut words = Words::default();
        for (index, applied) in results {
            if let Some(call) = new_call(&items[*index], applied, checkout, &mut words, self.now)? {
                made.push((*index, calls.add(call)));
            }
        }
        if made.is_empty() {
            return Ok(news);
        }
        loop {
            let missing = calls.settle();
            if missing.is_empty() {
                break;
            }
            self.load_missing(missing, &mut calls).await?;
        }
        self.write_calls(&calls).await?;
        for (index, at) in made {
            news[index] = !calls.all[at].is_gone();
        }
        Ok(news)
    }

    async fn write_calls(&mut self, calls: &Calls) -> Result<(), StoreError> {
        let touched = |call: &Call| call.touched || call.stored.is_none();
        let changed: Vec<usize> = (0..calls.all.len()).filter(|at| touched(&calls.all[*at])).collect();
        let there = |at: &&usize| !calls.all[**at].is_gone();
        let keys: Vec<SeriesKey> = changed.iter().filter(there).filter_map(|at| key_of(&calls.all[*at])).collect();
        let series = self.series_of(&keys).await?;
        let mut keys = keys.into_iter().zip(series);
        let fresh = changed.iter().filter(there).filter(|at| calls.all[**at].stored.is_none()).count();
        let (mut numbers, folded, sketching) = self.head(fresh).await?;

        let mut changes = Vec::with_capacity(changed.len());
        for at in changed {
            let call = &calls.all[at];
            let after = if call.is_gone() {
                None
            } else {
                let id = call.stored.as_ref().map(|image| image.id).or_else(|| numbers.next());
                let id = id.ok_or_else(|| StoreError::Corrupt("the numbers of facts have run out".to_owned()))?;
                let key = keys.next().ok_or_else(|| StoreError::Corrupt(format!("fact {id} has no series")))?;
                Some(Box::new(image_of(call, id, key)?))
            };
            let before = call.stored.clone();
            if before != after {
                changes.push(Change { at, before, after });
            }
        }
        self.write_facts(&changes).await?;
        self.write_names(&changes, calls).await?;
        self.write_extras(&changes).await?;

        let mut cells = Cells::default();
        let mut noted = Noted::default();
        for Change { before, after, .. } in &changes {
            cells.change(before.as_deref(), after.as_deref(), &folded);
            if let Some(before) = before.as_ref().filter(|image| image.id <= sketching) {
                noted.change(before, after.as_deref());
            }
        }
        self.write_cells(cells).await?;
        self.note(noted).await
    }

    /// Numbers for new facts, how far the roll-ups are folded, and up to which fact there may be sketches.
    async fn head(&mut self, fresh: usize) -> Result<(std::vec::IntoIter<i64>, Folded, i64), StoreError> {
        let count = i64::try_from(fresh).unwrap_or(i64::MAX);
        let row = self.tx.row(&HEAD, args![count]).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt("the roll-ups have no head".to_owned()))?;
        let folded = Folded { hours: row.time(2)?, days: row.time(3)?, months: row.time(4)? };
        let (last, sketching) = (row.int(0)?, row.int(1)?);
        let numbers: Vec<i64> = if self.tx.backend() == Backend::Sqlite {
            (last - count + 1..=last).collect()
        } else if count == 0 {
            Vec::new()
        } else {
            let rows = self.tx.rows(&NUMBERS, args![count]).await?;
            rows.iter().map(|row| row.int(0)).collect::<Result<_, _>>()?
        };
        Ok((numbers.into_iter(), folded, sketching))
    }

    async fn write_facts(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let (mut fresh, mut changed, mut gone) = (Rows::new(), Rows::new(), Rows::new());
        for change in changes {
            match (&change.before, &change.after) {
                (None, Some(image)) => fact_row(&mut fresh, image),
                (Some(_), Some(image)) => fact_row(&mut changed, image),
                (Some(image), None) => {
                    gone.row().int(image.id);
                }
                (None, None) => {}
            }
        }
        for (sql, rows) in [(&DELETE_FACTS, gone), (&UPDATE_FACTS, changed), (&INSERT_FACTS, fresh)] {
            if !rows.is_empty() {
                self.tx.run(sql, args![rows.finish()]).await?;
            }
        }
        Ok(())
    }

    async fn write_names(&mut self, changes: &[Change], calls: &Calls) -> Result<(), StoreError> {
        let mut fresh: Vec<(Name, i64)> = Vec::new();
        let mut gone: Vec<(Name, i64)> = Vec::new();
        for change in changes {
            let call = &calls.all[change.at];
            let before = change.before.as_deref().map_or_else(Names::default, names_of);
            let after = if change.after.is_some() { *call.names() } else { Names::default() };
            if let Some(image) = &change.before {
                gone.extend(before.iter().filter(|name| !after.contains(*name)).map(|name| (name, image.id)));
            }
            let Some(image) = &change.after else { continue };
            for name in after.iter().filter(|name| !before.contains(*name)) {
                // An event is always found by its own id, or it would be counted again
                if after.is_of_event(name) || !calls.is_crowded(name) {
                    fresh.push((name, image.id));
                }
            }
        }
        fresh.sort_unstable();
        for (sql, names) in [(&DELETE_IDS, gone), (&INSERT_IDS, fresh)] {
            if !names.is_empty() {
                let rows = name_rows(names.into_iter());
                self.tx.run(sql, args![rows.finish()]).await?;
            }
        }
        Ok(())
    }

    async fn write_extras(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let (mut gone, mut fresh) = (Rows::new(), Rows::new());
        let none = Extras::default();
        for change in changes {
            let before = change.before.as_ref().map_or(&none, |image| &image.extras);
            let after = change.after.as_ref().map_or(&none, |image| &image.extras);
            if before == after {
                continue;
            }
            if let Some(image) = change.before.as_ref().filter(|_| *before != none) {
                gone.row().int(image.id);
            }
            if let Some(image) = change.after.as_ref().filter(|_| *after != none) {
                extras_row(&mut fresh, image.id, after);
            }
        }
        for (sql, rows) in [(&DELETE_EXTRAS, gone), (&INSERT_EXTRAS, fresh)] {
            if !rows.is_empty() {
                self.tx.run(sql, args![rows.finish()]).await?;
            }
        }
        Ok(())
    }
}

/// The names an image goes by.
fn names_of(image: &Image) -> Names {
    let [event, request, report] =
        [&image.event_id, &image.request_id, &image.extras.report_request].map(Option::as_deref);
    Names::new(image.key.agent, event, request, report)
}

/// Names of providers and models: a batch has the same ones again and again.
#[derive(Default)]
struct Words(HashSet<Arc<str>>);

impl Words {
    fn shared(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.0.get(word) {
            return Arc::clone(known);
        }
        let new: Arc<str> = word.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}

/// What the command told that was not known.
fn new_call(
    item: &Item,
    applied: &Applied,
    checkout: &Checkout,
    words: &mut Words,
    now: Timestamp,
) -> Result<Option<Call>, StoreError> {
    let shared = |project: &Option<ProjectId>| project.as_ref().map(ProjectId::shared).unwrap_or_default();
    let of_lease = |lease: &Lease| {
        let key = checkout.terms.get(&lease.id).map_or(0, |terms| terms.provider_key.0);
        (lease.owner.shared(), shared(&lease.project), key)
    };
    let call = |agent, event, report| Call::new(agent, None, event, report, true);
    match (&item.command, &applied.outcome) {
        (Command::Event { agent, item: spending, .. }, Outcome::Counted { lease, duplicate: false }) => {
            let Extra::Event(facts) = &item.extra else {
                return Err(StoreError::Corrupt("an event came without its facts".to_owned()));
            };
            let (owner, project, key) = match (lease, checkout.book.agents.get(agent)) {
                (Some(lease), _) => of_lease(lease),
                (None, Some(book)) => (book.owner.shared(), shared(&book.project), 0),
                (None, None) => return Err(StoreError::Corrupt("an event was counted for nobody".to_owned())),
            };
            let told = Told {
                owner,
                project,
                key: facts.provider_key.map_or(key, |key| key.0),
                provider: words.shared(&facts.provider),
                model: words.shared(&facts.model),
                status: facts.status,
                input: facts.input_tokens,
                output: facts.output_tokens,
                cost: spending.cost.nanos(),
                latency: facts.latency_ms,
                occurred_at: counted(spending.occurred_at, now),
                received_at: now,
            };
            let event = EventHalf {
                id: spending.id.as_str().into(),
                request: facts.request_id.as_deref().filter(|request| *request != spending.id).map(Arc::from),
                lease: lease.as_ref().map(|lease| lease.id.clone()),
                told,
                more: facts.more.clone().filter(|more| **more != EventMore::default()),
            };
            Ok(Some(call(*agent, Some(event), None)))
        }
        (Command::Report { item: Some(spending), .. }, Outcome::Reported { lease, duplicate: false, .. }) => {
            let Extra::Call(facts) = &item.extra else {
                return Err(StoreError::Corrupt("a report came without its call".to_owned()));
            };
            let (owner, project, key) = of_lease(lease);
            let told = Told {
                owner,
                project,
                key,
                provider: words.shared(&facts.provider),
                model: words.shared(&facts.model),
                status: CallStatus::Completed,
                input: facts.tokens,
                output: 0,
                cost: spending.cost.nanos(),
                latency: None,
                occurred_at: counted(spending.occurred_at, now),
                received_at: now,
            };
            let request = spending.id.as_str().into();
            let report = ReportHalf { lease: lease.id.clone(), request, cost: told.cost, told: Some(told) };
            Ok(Some(call(lease.agent, None, Some(Box::new(report)))))
        }
        _ => Ok(None),
    }
}

/// What counts of the two sides: the event's word goes before the report's. Only the lease knows better than an event
/// that none could be told of, for whom the call was and with which key.
fn told_of(call: &Call) -> Option<(&Told, &Told)> {
    let event = call.event.as_ref().map(|event| &event.told);
    let report = call.report.as_ref().and_then(|report| report.told.as_ref());
    let stray = call.event.as_ref().is_some_and(|event| event.lease.is_none());
    match (event, report) {
        (Some(event), Some(report)) if stray => Some((event, report)),
        (Some(event), _) => Some((event, event)),
        (None, Some(report)) => Some((report, report)),
        (None, None) => None,
    }
}

fn key_of(call: &Call) -> Option<SeriesKey> {
    let (told, whose) = told_of(call)?;
    Some(SeriesKey {
        agent: call.agent,
        owner: Arc::clone(&whose.owner),
        project: Arc::clone(&whose.project),
        provider: Arc::clone(&told.provider),
        key: if told.key == 0 { whose.key } else { told.key },
        model: Arc::clone(&told.model),
        status: told.status,
    })
}

fn image_of(call: &Call, id: i64, (key, series): (SeriesKey, Series)) -> Result<Image, StoreError> {
    let (told, _) = told_of(call).ok_or_else(|| StoreError::Corrupt(format!("fact {id} has no side")))?;
    let Series { no, renamed } = series;
    let (event, report) = (call.event.as_ref(), call.report.as_deref());
    let reported = report.map_or(0, |report| report.cost);
    let received = [event.map(|e| &e.told), report.and_then(|r| r.told.as_ref())];
    let received = received.into_iter().flatten().map(|told| told.received_at).min();
    let mut flags = 0;
    for (is, bit) in [
        (event.is_some(), flag::EVENT),
        (report.is_some(), flag::REPORT),
        (told.status == CallStatus::Failed, flag::FAILED),
    ] {
        flags |= if is { bit } else { 0 };
    }
    let lease = event.and_then(|event| event.lease.as_ref()).or(report.map(|report| &report.lease));
    let request = event.and_then(|event| event.request.as_ref()).or(report.map(|report| &report.request));
    let both = event.zip(report);
    let extras = Extras {
        provider: renamed.then(|| Arc::clone(&told.provider)),
        model: renamed.then(|| Arc::clone(&told.model)),
        event_cost: both.filter(|(event, _)| event.told.cost < reported).map(|(event, _)| event.told.cost),
        event_key: both.filter(|(event, _)| event.lease.is_none()).map(|(event, _)| event.told.key),
        report_lease: both
            .filter(|(event, report)| event.lease.as_ref() != Some(&report.lease))
            .map(|(_, report)| report.lease.shared()),
        report_request: both
            .filter(|(_, report)| request != Some(&report.request))
            .map(|(_, report)| Arc::clone(&report.request)),
        more: event.and_then(|event| event.more.clone()),
    };
    Ok(Image {
        id,
        series_no: no,
        key,
        occurred_at: told.occurred_at,
        received_at: received.unwrap_or(told.received_at),
        flags,
        input: told.input,
        output: told.output,
        cost: told.cost.max(reported),
        latency: told.latency,
        event_id: event.map(|event| event.id.clone()),
        request_id: request.cloned(),
        lease_id: lease.map(LeaseId::shared),
        extras,
    })
}

fn fact_row(rows: &mut Rows, image: &Image) {
    rows.row()
        .int(image.id)
        .int(image.series_no)
        .int(image.occurred_at.millis())
        .int(image.received_at.millis())
        .int(image.flags)
        .int(image.input)
        .int(image.output)
        .int(image.cost)
        .opt_int(image.latency)
        .opt_text(image.event_id.as_deref())
        .opt_text(image.request_id.as_deref())
        .opt_text(image.lease_id.as_deref());
}

fn extras_row(rows: &mut Rows, id: i64, extras: &Extras) {
    let none = EventMore::default();
    let more = extras.more.as_deref().unwrap_or(&none);
    rows.row()
        .int(id)
        .opt_text(extras.provider.as_deref())
        .opt_text(extras.model.as_deref())
        .opt_int(extras.event_cost)
        .opt_int(extras.event_key)
        .opt_text(extras.report_lease.as_deref())
        .opt_text(extras.report_request.as_deref())
        .opt_text(more.error_code.as_deref())
        .opt_text(more.error_message.as_deref())
        .opt_text(more.trace_id.as_deref())
        .opt_text(more.span_id.as_deref())
        .opt_int(more.cached_tokens)
        .opt_int(more.reasoning_tokens)
        .opt_text(more.tags.as_deref());
}
