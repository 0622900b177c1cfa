//! The books of one lease on the client's side: pure bookkeeping, no I/O.
//!
//! A living lease and one that is read back from a journal go through the same functions, so what recovery finds is
//! what the process knew.

use std::collections::{BTreeMap, BTreeSet};

use budget_protocol::ReportItem;
use kernel::{Money, Timestamp};

use crate::journal::Record;

/// The model and provider of a call whose outcome nobody knows.
pub(crate) const UNKNOWN: &str = "unknown";

/// An open reservation.
#[derive(Clone, Copy, Debug)]
struct Hold {
    worst: Money,
    /// It is on disk, so its call may have been made.
    live: bool,
}

/// What was lent, what is charged, what is reserved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    granted: Money,
    /// Settled calls, those of unknown outcome at their worst case.
    charged: Money,
    /// The sum of `open`.
    outstanding: Money,
    /// By reservation.
    open: BTreeMap<String, Hold>,
    /// Settled and not yet acknowledged, by `seq`.
    pending: BTreeMap<i64, ReportItem>,
    /// Those of `pending` that are durable, so that recovery would report the same.
    ready: BTreeSet<i64>,
    /// Items that the server refused to book one by one; the final figure covers them.
    refused: u64,
    last_seq: i64,
}

impl Book {
    pub(crate) fn new(granted: Money) -> Self {
        Self { granted, ..Self::default() }
    }

    pub(crate) const fn granted(&self) -> Money {
        self.granted
    }

    pub(crate) const fn charged(&self) -> Money {
        self.charged
    }

    pub(crate) const fn outstanding(&self) -> Money {
        self.outstanding
    }

    /// What a new reservation may take.
    pub(crate) const fn left(&self) -> Money {
        self.granted.minus_or_zero(self.charged).minus_or_zero(self.outstanding)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Takes a reservation if it fits.
    pub(crate) fn reserve(&mut self, id: &str, worst: Money) -> bool {
        if worst.is_negative() || worst > self.left() {
            return false;
        }
        self.hold(id, Hold { worst, live: false });
        true
    }

    /// The reservation is on disk; `false` if it is not open any more.
    pub(crate) fn confirm(&mut self, id: &str) -> bool {
        self.open.get_mut(id).map(|hold| hold.live = true).is_some()
    }

    fn hold(&mut self, id: &str, hold: Hold) {
        if self.open.insert(id.to_owned(), hold).is_none() {
            self.outstanding = sum(self.outstanding, hold.worst);
        }
    }

    fn release(&mut self, id: &str) -> Option<Money> {
        let worst = self.open.remove(id)?.worst;
        self.outstanding = self.outstanding.minus_or_zero(worst);
        Some(worst)
    }

    /// Gives a reservation back; `false` if it is not open.
    pub(crate) fn cancel(&mut self, id: &str) -> bool {
        self.release(id).is_some()
    }

    /// Settles a reservation. `None` if it is not open (any more), else the record for the journal, with its `seq`.
    pub(crate) fn commit(&mut self, id: &str, call: Call) -> Option<Record> {
        let worst = self.release(id)?;
        let seq = self.last_seq + 1;
        let record = Record::Commit {
            id: id.to_owned(),
            seq,
            cost: call.cost.unwrap_or(worst).nanos(),
            tokens: call.tokens,
            model: call.model,
            provider: call.provider,
            at: call.at.millis(),
        };
        self.settle(&record);
        Some(record)
    }

    /// Charges every open reservation in full; those that are not on disk yet, so that nobody can have made the call,
    /// are given back instead.
    pub(crate) fn commit_open(&mut self, provider: &str, at: Timestamp) -> Vec<Record> {
        let open: Vec<(String, bool)> = self.open.iter().map(|(id, hold)| (id.clone(), hold.live)).collect();
        let settle = |(id, live): (String, bool)| {
            if live {
                return self.commit(&id, Call::unknown(provider, at));
            }
            self.cancel(&id);
            None
        };
        open.into_iter().filter_map(settle).collect()
    }

    fn settle(&mut self, record: &Record) {
        let Record::Commit { id, seq, cost, tokens, model, provider, at } = record else { return };
        let cost = Money::from_nanos(*cost);
        self.release(id);
        self.charged = sum(self.charged, cost);
        self.last_seq = self.last_seq.max(*seq);
        let item = ReportItem {
            request_id: id.clone(),
            tokens: *tokens,
            cost: cost.min(Money::MAX_CALL),
            model: model.clone(),
            provider: provider.clone(),
            timestamp: Some(Timestamp::from_millis(*at)),
            spent_total: None,
            seq: Some(*seq),
        };
        self.pending.insert(*seq, item);
    }

    /// A settled call may be reported: its record is durable (or never will be).
    pub(crate) fn ready(&mut self, seq: i64) {
        if self.pending.contains_key(&seq) {
            self.ready.insert(seq);
        }
    }

    /// The next items to report, oldest first.
    pub(crate) fn next_batch(&self, most: usize) -> Vec<(i64, ReportItem)> {
        let items = self.ready.iter().filter_map(|seq| Some((*seq, self.pending.get(seq)?.clone())));
        items.take(most).collect()
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    /// Items that the server has booked, or refused for good (`refused` of them).
    pub(crate) fn acknowledge(&mut self, seqs: &[i64], refused: u64) {
        for seq in seqs {
            self.pending.remove(seq);
            self.ready.remove(seq);
        }
        self.refused = self.refused.saturating_add(refused);
    }

    /// The figure to state as spent, in whole micro-dollars.
    ///
    /// The server merges it by maximum with the exact reports. Where those are all booked they decide, and the figure
    /// rounds down so as not to add a part of a micro-dollar that nobody spent; where one is missing it rounds up.
    pub(crate) fn stated(&self) -> Money {
        let exact = self.pending.is_empty() && self.refused == 0;
        let micros = if exact { self.charged.micros_floor() } else { self.charged.micros_ceil() };
        Money::from_micros(micros).unwrap_or(Money::MAX_CAP).min(Money::MAX_CAP)
    }

    /// Does what a journaled record says.
    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::Lease { granted, .. } => self.granted = Money::from_nanos(*granted),
            Record::Reserve { id, worst } => {
                self.hold(id, Hold { worst: Money::from_nanos(*worst), live: true });
            }
            Record::Cancel { id } => {
                self.release(id);
            }
            Record::Commit { seq, .. } => {
                self.settle(record);
                self.ready(*seq);
            }
            Record::Acknowledged { seqs, refused } => self.acknowledge(seqs, *refused),
            Record::Open { .. } | Record::Refresh { .. } | Record::Refreshed { .. } => {}
        }
    }
}

fn sum(a: Money, b: Money) -> Money {
    a.plus(b).unwrap_or(Money::MAX_BALANCE)
}

/// What a settled call was; without a cost, its worst case.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) cost: Option<Money>,
    pub(crate) tokens: i64,
    pub(crate) model: String,
    pub(crate) provider: String,
    pub(crate) at: Timestamp,
}

impl Call {
    /// A call whose outcome nobody knows.
    pub(crate) fn unknown(provider: &str, at: Timestamp) -> Self {
        Self { cost: None, tokens: 0, model: UNKNOWN.to_owned(), provider: provider.to_owned(), at }
    }
}

#[cfg(test)]
mod tests {
    use kernel::{Money, Timestamp};
    use proptest::prelude::*;

    use super::{Book, Call};
    use crate::journal::Record;

    fn call(cost: i64) -> Call {
        let cost = Some(Money::from_nanos(cost));
        Call { cost, tokens: 1, model: "m".into(), provider: "p".into(), at: Timestamp::EPOCH }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut book = Book::new(Money::from_nanos(10));
        assert!(book.reserve("a", Money::from_nanos(6)));
        assert!(!book.reserve("b", Money::from_nanos(5)));
        assert!(book.reserve("b", Money::from_nanos(4)));
        assert!(!book.reserve("c", Money::from_nanos(1)) && book.reserve("free", Money::ZERO));
        assert!(book.cancel("a") && !book.cancel("a"));
        assert_eq!(book.left(), Money::from_nanos(6));
    }

    #[test]
    fn a_settled_reservation_cannot_be_settled_again() {
        let mut book = Book::new(Money::from_nanos(10));
        assert!(book.reserve("a", Money::from_nanos(6)));
        assert!(book.commit("a", call(2)).is_some());
        assert!(book.commit("a", call(2)).is_none() && !book.cancel("a"));
        assert_eq!(book.charged(), Money::from_nanos(2));
    }

    #[test]
    fn a_call_above_its_reservation_is_charged_in_full() {
        let mut book = Book::new(Money::from_nanos(10));
        assert!(book.reserve("a", Money::from_nanos(6)));
        assert!(book.commit("a", call(60)).is_some());
        assert_eq!((book.charged(), book.left()), (Money::from_nanos(60), Money::ZERO));
    }

    #[test]
    fn the_figure_rounds_up_only_while_reports_are_missing() {
        let mut book = Book::new(Money::from_nanos(10_000));
        assert!(book.reserve("a", Money::from_nanos(2_000)));
        book.commit("a", call(1_500));
        assert_eq!(book.stated(), Money::from_nanos(2_000));
        book.acknowledge(&[1], 0);
        assert_eq!(book.stated(), Money::from_nanos(1_000));
        book.acknowledge(&[], 1);
        assert_eq!(book.stated(), Money::from_nanos(2_000));
    }

    #[test]
    fn what_is_not_on_disk_yet_is_given_back_and_not_charged_when_the_books_are_closed() {
        let mut book = Book::new(Money::from_nanos(10));
        assert!(book.reserve("a", Money::from_nanos(6)) && book.reserve("b", Money::from_nanos(3)));
        assert!(book.confirm("a"));
        assert_eq!(book.commit_open("p", Timestamp::EPOCH).len(), 1);
        assert_eq!((book.charged(), book.outstanding()), (Money::from_nanos(6), Money::ZERO));
        assert!(!book.confirm("b"), "its caller learns that it came too late");
    }

    #[test]
    fn only_durable_items_are_reported() {
        let mut book = Book::new(Money::from_nanos(10));
        assert!(book.reserve("a", Money::from_nanos(1)) && book.reserve("b", Money::from_nanos(1)));
        book.commit("a", call(1));
        book.commit("b", call(1));
        book.ready(2);
        assert_eq!(book.next_batch(9).iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [2]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Reserve(i64),
        Commit(usize, i64),
        Cancel(usize),
        Drop(usize),
        Acknowledge(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_i64..400).prop_map(Step::Reserve),
            2 => (0_usize..8, 0_i64..400).prop_map(|(i, c)| Step::Commit(i, c)),
            1 => (0_usize..8).prop_map(Step::Cancel),
            1 => (0_usize..8).prop_map(Step::Drop),
            1 => (0_usize..4).prop_map(Step::Acknowledge),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        /// Whatever happens and wherever the process dies: what recovery will charge covers what can have been spent,
        /// and never exceeds the grant as long as calls keep to their reservations.
        #[test]
        fn recovery_from_any_prefix_charges_at_least_what_was_spent(steps in steps()) {
            let granted = Money::from_nanos(1_000);
            let mut book = Book::new(granted);
            let mut journal = vec![Record::Lease { lease_id: "l".into(), granted: 1_000, provider: "p".into() }];
            // What the provider may have charged by the time the journal has this many records
            let mut really_spent = vec![Money::ZERO];
            let mut in_flight: Vec<(String, i64)> = Vec::new();
            let mut settled = 0_i64;
            for (n, step) in steps.into_iter().enumerate() {
                let record = match step {
                    Step::Reserve(worst) => {
                        let id = format!("r{n}");
                        book.reserve(&id, Money::from_nanos(worst)).then(|| {
                            in_flight.push((id.clone(), worst));
                            Record::Reserve { id, worst }
                        })
                    }
                    Step::Commit(i, cost) if i < in_flight.len() => {
                        let (id, worst) = in_flight.remove(i);
                        settled += cost.min(worst);
                        book.commit(&id, call(cost.min(worst)))
                    }
                    Step::Drop(i) if i < in_flight.len() => {
                        let (id, worst) = in_flight.remove(i);
                        settled += worst;
                        book.commit(&id, Call::unknown("p", Timestamp::EPOCH))
                    }
                    Step::Cancel(i) if i < in_flight.len() => {
                        let (id, _) = in_flight.remove(i);
                        book.cancel(&id).then_some(Record::Cancel { id })
                    }
                    Step::Acknowledge(most) => {
                        let all: Vec<i64> = book.pending.keys().copied().take(most).collect();
                        book.acknowledge(&all, 0);
                        Some(Record::Acknowledged { seqs: all, refused: 0 })
                    }
                    _ => None,
                };
                if let Some(record) = record {
                    journal.push(record);
                    really_spent.push(Money::from_nanos(settled + in_flight.iter().map(|(_, w)| *w).sum::<i64>()));
                }
                prop_assert!(book.charged().nanos() + book.outstanding().nanos() + book.left().nanos() == 1_000);
            }
            for (records, spent) in (1..=journal.len()).zip(really_spent) {
                let mut replayed = Book::default();
                journal[..records].iter().for_each(|r| replayed.apply(r));
                replayed.commit_open("p", Timestamp::EPOCH);
                prop_assert!(replayed.charged() >= spent && replayed.charged() <= granted);
            }
            let mut replayed = Book::default();
            journal.iter().for_each(|r| replayed.apply(r));
            prop_assert_eq!(replayed.charged(), book.charged());
            prop_assert_eq!(replayed.outstanding(), book.outstanding());
            prop_assert!(replayed.open.keys().eq(book.open.keys()));
            prop_assert_eq!(replayed.pending_count(), book.pending_count());
        }
    }
}
