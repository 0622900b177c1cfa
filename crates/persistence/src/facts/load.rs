//! Loading the facts that a batch touches.

use std::sync::Arc;

use kernel::{AgentId, LeaseId};
use ledger::{Book, Command};

use super::calls::{Call, Calls, EventHalf, Extras, Image, Missing, ReportHalf, Told};
use super::names::Name;
use super::series::key_from_row;
use super::{HashSet, flag};
use crate::db::{Row, args, statements};
use crate::rows::Rows;
use crate::{EventMore, Extra, Item, StoreError, Work};

statements! {
    FACTS = "SELECT f.id, f.series_no, f.occurred_at, f.received_at, f.flags, f.input_tokens, f.output_tokens, f.cost, \
        f.latency_ms, f.event_id, f.request_id, f.lease_id, s.agent_id, s.owner_id, s.project_id, s.provider, \
        s.provider_key_id, s.model, s.status, x.provider, x.model, x.event_cost, x.event_key_id, x.report_lease_id, \
        x.report_request_id, x.error_code, x.error_message, x.trace_id, x.span_id, x.cached_tokens, x.reasoning_tokens, \
        x.tags FROM {rows} CROSS JOIN fact_ids AS k CROSS JOIN facts AS f CROSS JOIN series AS s \
        LEFT JOIN fact_extras AS x ON x.fact_id = f.id \
        WHERE k.agent_id = {int 0} AND k.hash = {int 1} AND f.id = k.fact_id AND s.no = f.series_no";
    REPORTS_TOLD = "SELECT p.lease_id, p.request_id, p.cost, p.tokens, p.model, p.provider, p.occurred_at, \
        p.received_at, l.owner_id, l.project_id, l.provider_key_id FROM {rows} CROSS JOIN reports AS p \
        CROSS JOIN leases AS l WHERE p.lease_id = {text 0} AND p.request_id = {text 1} AND l.id = p.lease_id";
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![("FACTS", &*FACTS), ("REPORTS_TOLD", &*REPORTS_TOLD)]
}

/// A client's time as it counts for facts (§12): that of receipt, if it says more than 31 days before or 5 minutes after.
pub(crate) fn counted(said: kernel::Timestamp, received: kernel::Timestamp) -> kernel::Timestamp {
    const DAYS_MS: i64 = 31 * 86_400_000;
    const MINUTES_MS: i64 = 5 * 60_000;
    if (-DAYS_MS..=MINUTES_MS).contains(&said.since(received)) { said } else { received }
}

impl Work {
    /// Loads the facts that share a name with an event or a new report of the batch, and tells the book which events were
    /// counted before. The leases of reports are in the book, and the reports that are known.
    pub(crate) async fn load_calls(&mut self, items: &[Item], book: &mut Book) -> Result<Calls, StoreError> {
        let mut calls = Calls::default();
        // Names of events, and other names
        let mut named: [Vec<(AgentId, &str)>; 2] = Default::default();
        for item in items {
            match (&item.command, &item.extra) {
                (Command::Event { agent, item, .. }, Extra::Event(facts)) => {
                    named[0].push((*agent, item.id.as_str()));
                    named[1].extend(facts.request_id.as_deref().map(|request| (*agent, request)));
                }
                (Command::Report { lease, item: Some(item), .. }, _) => {
                    let agent = book.leases.get(lease).map(|lease| lease.agent);
                    let known = book.reports.contains_key(&(lease.clone(), item.id.clone()));
                    named[1].extend(agent.filter(|_| !known).map(|agent| (agent, item.id.as_str())));
                }
                _ => {}
            }
        }
        let names: Vec<Name> = named.iter().flatten().map(|(agent, name)| Name::new(*agent, name)).collect();
        if names.is_empty() {
            return Ok(calls);
        }
        calls.asked.extend(&names);
        let found = self.named_facts(names).await?;
        if found.is_empty() {
            return Ok(calls);
        }
        let [events, others] = named.map(|names| names.into_iter().collect::<HashSet<_>>());
        for row in found {
            if let Some(id) = row.opt_text(9)? {
                let agent = AgentId(row.int(12)?);
                // A repeated event, the usual case, needs nothing else of its fact
                let repeated = events.contains(&(agent, id.as_str()));
                let request = row.opt_text(10)?;
                let meets = [Some(&id), request.as_ref()].into_iter().flatten();
                let meets = meets.map(String::as_str).any(|name| others.contains(&(agent, name)));
                if repeated {
                    book.events.insert((agent, id), ());
                    if !meets {
                        continue;
                    }
                }
            }
            calls.add_stored(&row)?;
        }
        Ok(calls)
    }

    /// Loads what the matching of events and reports lacks.
    pub(super) async fn load_missing(&mut self, missing: Missing, calls: &mut Calls) -> Result<(), StoreError> {
        let Missing { names, reports } = missing;
        if !names.is_empty() {
            calls.asked.extend(&names);
            for row in self.named_facts(names).await? {
                calls.add_stored(&row)?;
            }
        }
        if reports.is_empty() {
            return Ok(());
        }
        let mut rows = Rows::new();
        for (_, lease, request) in &reports {
            rows.row().text(lease.as_str()).text(request);
        }
        for row in self.tx.rows(&REPORTS_TOLD, args![rows.finish()]).await? {
            let (lease, request) = (row.text(0)?, row.text(1)?);
            let at = reports.iter().find(|(_, l, r)| l.as_str() == lease && **r == *request).map(|(at, ..)| *at);
            if let Some(report) = at.and_then(|at| calls.all[at].report.as_mut()) {
                report.cost = row.int(2)?;
                report.told = Some(told_from_report(&row)?);
            }
        }
        for (at, lease, request) in reports {
            if calls.all[at].report.as_ref().is_some_and(|report| report.told.is_none()) {
                return Err(StoreError::Corrupt(format!("report {request} of {lease} is a fact and not stored")));
            }
        }
        Ok(())
    }

    async fn named_facts(&mut self, mut names: Vec<Name>) -> Result<Vec<Row>, StoreError> {
        // In the order of the index, each once
        names.sort_unstable();
        names.dedup();
        let mut rows = Rows::new();
        for Name { agent, hash } in names {
            rows.row().int(agent.0).int(hash);
        }
        self.tx.rows(&FACTS, args![rows.finish()]).await
    }
}

fn told_from_report(row: &Row) -> Result<Told, StoreError> {
    let received_at = row.time(7)?;
    Ok(Told {
        owner: row.text(8)?.into(),
        project: shared(row, 9)?.unwrap_or_default(),
        key: row.int(10)?,
        provider: row.text(5)?.into(),
        model: row.text(4)?.into(),
        status: analytics::CallStatus::Completed,
        input: row.int(3)?,
        output: 0,
        cost: row.int(2)?,
        latency: None,
        occurred_at: counted(row.time(6)?, received_at),
        received_at,
    })
}

fn shared(row: &Row, index: usize) -> Result<Option<Arc<str>>, StoreError> {
    Ok(row.opt_text(index)?.map(Arc::from))
}

impl Calls {
    fn add_stored(&mut self, row: &Row) -> Result<(), StoreError> {
        let image = image_from_row(row)?;
        if !self.by_id.contains_key(&image.id) {
            let call = call_of(image)?;
            self.add(call);
        }
        Ok(())
    }
}

/// Reads the columns of `FACTS`.
fn image_from_row(row: &Row) -> Result<Image, StoreError> {
    Ok(Image {
        id: row.int(0)?,
        series_no: row.int(1)?,
        key: key_from_row(row, 12)?,
        occurred_at: row.time(2)?,
        received_at: row.time(3)?,
        flags: row.int(4)?,
        input: row.int(5)?,
        output: row.int(6)?,
        cost: row.int(7)?,
        latency: row.opt_int(8)?,
        event_id: shared(row, 9)?,
        request_id: shared(row, 10)?,
        lease_id: shared(row, 11)?,
        extras: Extras {
            provider: shared(row, 19)?,
            model: shared(row, 20)?,
            event_cost: row.opt_int(21)?,
            event_key: row.opt_int(22)?,
            report_lease: shared(row, 23)?,
            report_request: shared(row, 24)?,
            more: Some(Box::new(EventMore {
                error_code: row.opt_text(25)?,
                error_message: row.opt_text(26)?,
                trace_id: row.opt_text(27)?,
                span_id: row.opt_text(28)?,
                cached_tokens: row.opt_int(29)?,
                reasoning_tokens: row.opt_int(30)?,
                tags: row.opt_text(31)?,
            }))
            .filter(|more| **more != EventMore::default()),
        },
    })
}

/// The sides of a stored fact.
fn call_of(image: Image) -> Result<Call, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("fact {} has no {what}", image.id));
    let (is_event, is_report) = (image.flags & flag::EVENT != 0, image.flags & flag::REPORT != 0);
    let extras = &image.extras;
    let told = Told {
        owner: image.key.owner.clone(),
        project: image.key.project.clone(),
        key: extras.event_key.unwrap_or(image.key.key),
        provider: extras.provider.as_ref().unwrap_or(&image.key.provider).clone(),
        model: extras.model.as_ref().unwrap_or(&image.key.model).clone(),
        status: image.key.status,
        input: image.input,
        output: image.output,
        cost: extras.event_cost.unwrap_or(image.cost),
        latency: image.latency,
        occurred_at: image.occurred_at,
        received_at: image.received_at,
    };
    let report = if is_report {
        let lease = extras.report_lease.as_ref().or(image.lease_id.as_ref()).ok_or_else(|| corrupt("lease"))?;
        let request = extras.report_request.as_ref().or(image.request_id.as_ref()).ok_or_else(|| corrupt("request"))?;
        Some(Box::new(ReportHalf {
            lease: LeaseId::new(Arc::clone(lease)),
            request: Arc::clone(request),
            cost: if is_event && extras.event_cost.is_none() { 0 } else { image.cost },
            told: (!is_event).then(|| told.clone()),
        }))
    } else {
        None
    };
    let event = if is_event {
        let id = image.event_id.clone().ok_or_else(|| corrupt("event id"))?;
        Some(EventHalf {
            request: image.request_id.clone().filter(|request| *request != id),
            id,
            // A lease that is the report's and said to be so is not the event's
            lease: image.lease_id.clone().filter(|lease| extras.report_lease.as_ref() != Some(lease)).map(LeaseId::new),
            told,
            more: extras.more.clone(),
        })
    } else {
        None
    };
    Ok(Call::new(image.key.agent, Some(Box::new(image)), event, report, false))
}

/// What is stored under these names, as rows.
pub(super) fn name_rows(names: impl Iterator<Item = (Name, i64)>) -> Rows {
    let mut rows = Rows::new();
    for (Name { agent, hash }, fact) in names {
        rows.row().int(agent.0).int(hash).int(fact);
    }
    rows
}
