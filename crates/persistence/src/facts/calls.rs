//! Calls as events and reports tell of them, and how the two meet.
//!
//! An event and a report of one agent that share an id tell of the same call. Mostly there is one of each, and whichever
//! comes second joins the first. But one id may be used for reports on several leases, and by several events, so who
//! belongs to whom must not depend on who came first: each would rather belong to a partner on its own lease, then to one
//! that it shares the proper request id with, then to the first by name ([`rank`]). Ranks are the same seen from both
//! sides, so there is exactly one arrangement in which no two would rather leave their partners for each other. It is
//! kept by letting whoever comes, one at a time, take the best partner that prefers it, and whoever is left look again.

use std::sync::Arc;

use analytics::CallStatus;
use kernel::{AgentId, LeaseId, Timestamp};

use super::names::{Name, Names};
use super::series::SeriesKey;
use super::{HashMap, HashSet};
use crate::EventMore;

/// What one side says of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) owner: Arc<str>,
    pub(super) project: Arc<str>,
    pub(super) key: i64,
    pub(super) provider: Arc<str>,
    pub(super) model: Arc<str>,
    pub(super) status: CallStatus,
    pub(super) input: i64,
    pub(super) output: i64,
    pub(super) cost: i64,
    pub(super) latency: Option<i64>,
    pub(super) occurred_at: Timestamp,
    pub(super) received_at: Timestamp,
}

/// An event.
#[derive(Clone, Debug)]
pub(super) struct EventHalf {
    pub(super) id: Arc<str>,
    /// The id of the report, where it is not the event's own.
    pub(super) request: Option<Arc<str>>,
    /// The lease it was attributed to.
    pub(super) lease: Option<LeaseId>,
    pub(super) told: Told,
    /// Nothing where it says nothing more.
    pub(super) more: Option<Box<EventMore>>,
}

/// A report.
#[derive(Clone, Debug)]
pub(super) struct ReportHalf {
    pub(super) lease: LeaseId,
    pub(super) request: Arc<str>,
    /// At least what it says; exactly, where that is more than the event of the call says.
    pub(super) cost: i64,
    /// What it says; not loaded for reports that stay with their event.
    pub(super) told: Option<Told>,
}

/// A fact.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) agent: AgentId,
    /// As it is stored.
    pub(super) stored: Option<Box<Image>>,
    pub(super) event: Option<EventHalf>,
    pub(super) report: Option<Box<ReportHalf>>,
    pub(super) touched: bool,
    /// Those of its sides, as they were when it was made or last renamed.
    names: Names,
}

/// What is stored of a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) id: i64,
    pub(super) series_no: i64,
    pub(super) key: SeriesKey,
    pub(super) occurred_at: Timestamp,
    pub(super) received_at: Timestamp,
    pub(super) flags: i64,
    pub(super) input: i64,
    pub(super) output: i64,
    pub(super) cost: i64,
    pub(super) latency: Option<i64>,
    pub(super) event_id: Option<Arc<str>>,
    pub(super) request_id: Option<Arc<str>>,
    pub(super) lease_id: Option<Arc<str>>,
    pub(super) extras: Extras,
}

/// The row of `fact_extras`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extras {
    pub(super) provider: Option<Arc<str>>,
    pub(super) model: Option<Arc<str>>,
    pub(super) event_cost: Option<i64>,
    pub(super) event_key: Option<i64>,
    pub(super) report_lease: Option<Arc<str>>,
    pub(super) report_request: Option<Arc<str>>,
    /// Nothing where it says nothing more.
    pub(super) more: Option<Box<EventMore>>,
}

/// More facts than that do not come to share a name; those beyond it find no partner.
const NAMESAKES: usize = 32;
/// So often the names are looked up of those who were left by their partners.
const ROUNDS: usize = 8;

/// The facts a batch touches.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(super) all: Vec<Call>,
    pub(super) by_id: HashMap<i64, usize>,
    by_name: HashMap<Name, Vec<usize>>,
    /// Names whose facts are loaded.
    pub(super) asked: HashSet<Name>,
    /// Facts with one side only that look for a partner.
    queue: Vec<usize>,
    /// Whether all names of those in the queue are known to have been asked for: to look through the queue for each fact in it would take
    /// time that grows with its square.
    all_asked: bool,
    rounds: usize,
}

/// What must be loaded before the matching can go on.
#[derive(Debug, Default)]
pub(super) struct Missing {
    pub(super) names: Vec<Name>,
    /// Reports that leave their partner, by lease and request id; with the fact they are part of.
    pub(super) reports: Vec<(usize, LeaseId, Arc<str>)>,
}

impl Missing {
    pub(super) const fn is_empty(&self) -> bool {
        self.names.is_empty() && self.reports.is_empty()
    }
}

/// How much the two belong together: the least is the best. No two pairs that have one side in common rank the same.
fn rank<'a>(event: &'a EventHalf, report: &'a ReportHalf) -> (bool, bool, &'a str, &'a str) {
    let proper = event.request.as_ref().unwrap_or(&event.id);
    let (other_lease, other_id) = (event.lease.as_ref() != Some(&report.lease), *proper != report.request);
    (other_lease, other_id, report.lease.as_str(), &event.id)
}

fn share_an_id(event: &EventHalf, report: &ReportHalf) -> bool {
    event.id == report.request || event.request.as_ref() == Some(&report.request)
}

impl Call {
    pub(super) fn new(
        agent: AgentId,
        stored: Option<Box<Image>>,
        event: Option<EventHalf>,
        report: Option<Box<ReportHalf>>,
        touched: bool,
    ) -> Self {
        let mut call = Self { agent, stored, event, report, touched, names: Names::default() };
        call.rename();
        call
    }

    /// Whether both sides went to other facts.
    pub(super) const fn is_gone(&self) -> bool {
        self.event.is_none() && self.report.is_none()
    }

    /// The names it goes by, its event's own first.
    pub(super) const fn names(&self) -> &Names {
        &self.names
    }

    fn rename(&mut self) {
        let (event, report) = (self.event.as_ref(), self.report.as_ref());
        self.names = Names::new(
            self.agent,
            event.map(|event| &*event.id),
            event.and_then(|event| event.request.as_deref()),
            report.map(|report| &*report.request),
        );
    }
}

impl Calls {
    /// Adds a fact, stored or new. A new one looks for a partner.
    pub(super) fn add(&mut self, call: Call) -> usize {
        let at = self.all.len();
        for name in call.names.iter() {
            self.by_name.entry(name).or_default().push(at);
        }
        let stored = call.stored.as_ref().map(|image| image.id);
        self.all.push(call);
        match stored {
            Some(id) => drop(self.by_id.insert(id, at)),
            None => self.wait(at),
        }
        at
    }

    /// The fact `at` looks for a partner.
    fn wait(&mut self, at: usize) {
        self.queue.push(at);
        self.all_asked &= self.all[at].names.iter().all(|name| self.asked.contains(&name));
    }

    /// Whether so many facts share the name that no more are to be found by it.
    pub(super) fn is_crowded(&self, name: Name) -> bool {
        self.by_name.get(&name).is_some_and(|facts| facts.len() > NAMESAKES)
    }

    /// Finds partners for those who look for one, until all have one or none would take them; or says what must be
    /// loaded first.
    pub(super) fn settle(&mut self) -> Missing {
        while let Some(at) = self.queue.last().copied() {
            let call = &self.all[at];
            if call.is_gone() || (call.event.is_some() && call.report.is_some()) {
                self.queue.pop();
                continue;
            }
            if !self.all_asked && self.rounds < ROUNDS {
                let names = self.unasked();
                if !names.is_empty() {
                    self.rounds += 1;
                    return Missing { names, ..Missing::default() };
                }
                self.all_asked = true;
            }
            if let Some(partner) = self.best(at) {
                let reports = self.unread(at, partner);
                if !reports.is_empty() {
                    return Missing { reports, ..Missing::default() };
                }
                self.queue.pop();
                self.join(at, partner);
            } else {
                self.queue.pop();
            }
        }
        Missing::default()
    }

    /// Names of those who look for a partner, whose facts are not loaded.
    fn unasked(&self) -> Vec<Name> {
        let mut names = Vec::new();
        for call in self.queue.iter().map(|at| &self.all[*at]) {
            names.extend(call.names.iter().filter(|name| !self.asked.contains(name)));
        }
        names
    }

    /// The best partner that would take the fact, which has one side only.
    fn best(&self, at: usize) -> Option<usize> {
        let call = &self.all[at];
        let mut best = None;
        for name in call.names.iter() {
            let namesakes = self.by_name.get(&name).into_iter().flatten().copied();
            // Those who wait for their turn will look at this one then
            for other in namesakes.filter(|other| *other != at && !self.queue.contains(other)) {
                let partner = &self.all[other];
                let (event, report) = match (&call.event, &partner.report, &partner.event, &call.report) {
                    (Some(event), Some(report), _, _) | (None, _, Some(event), Some(report)) => (event, report),
                    _ => continue,
                };
                let new = rank(event, report);
                let now = partner.event.as_ref().zip(partner.report.as_ref()).map(|(e, r)| rank(e, r));
                if share_an_id(event, report)
                    && now.is_none_or(|now| new < now)
                    && best.is_none_or(|(rank, _)| new < rank)
                {
                    best = Some((new, other));
                }
            }
        }
        best.map(|(_, other)| other)
    }

    /// Reports that change their partner, or get one that needs to know more of them, and are not read yet.
    fn unread(&self, at: usize, partner: usize) -> Vec<(usize, LeaseId, Arc<str>)> {
        let unread = |at: usize| {
            let report = self.all[at].report.as_ref().filter(|report| report.told.is_none())?;
            Some((at, report.lease.clone(), report.request.clone()))
        };
        unread(at).into_iter().chain(unread(partner)).collect()
    }

    /// Brings the sides together. A fact keeps its event, unless one comes to a report that had none: so the number of a
    /// fact, once given, stays with what was told first.
    fn join(&mut self, at: usize, partner: usize) {
        self.all[at].touched = true;
        self.all[partner].touched = true;
        if let Some(event) = self.all[at].event.take() {
            if self.all[partner].event.is_none() {
                self.move_event(event, at, partner);
            } else {
                let report = self.all[partner].report.take();
                self.all[at].event = Some(event);
                self.move_report(report, at);
                self.all[partner].rename();
                self.wait(partner);
            }
            return;
        }
        let report = self.all[at].report.take();
        let left = self.all[partner].report.take();
        self.move_report(report, partner);
        if left.is_some() {
            // The fact of the report that comes is free for the one that has to go
            self.all[at].report = left;
            self.rename(at);
            self.wait(at);
        }
    }

    fn move_event(&mut self, event: EventHalf, from: usize, to: usize) {
        // A stored fact gives way to one that is stored longer
        let older = |call: &Call| call.stored.as_ref().map_or(i64::MAX, |image| image.id);
        if older(&self.all[from]) < older(&self.all[to]) {
            self.all[from].event = Some(event);
            let report = self.all[to].report.take();
            self.move_report(report, from);
        } else {
            self.all[to].event = Some(event);
            self.rename(to);
        }
    }

    fn move_report(&mut self, report: Option<Box<ReportHalf>>, to: usize) {
        self.all[to].report = report;
        self.rename(to);
    }

    /// Makes the fact known by names that came to it.
    fn rename(&mut self, at: usize) {
        self.all[at].rename();
        for name in self.all[at].names.iter() {
            self.all_asked &= self.asked.contains(&name);
            let namesakes = self.by_name.entry(name).or_default();
            if !namesakes.contains(&at) {
                namesakes.push(at);
            }
        }
    }
}

#[cfg(test)]
mod tests;
