//! The youngest events, kept once for everybody.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::Event;

/// What reading the ring came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Read up to here.
    To(i64),
    /// The events after this place have gone.
    Behind,
    /// The ring is of another epoch, or has none yet.
    Elsewhere,
}

/// The youngest events without holes, bounded in number and in bytes.
pub(crate) struct Ring {
    epoch: Option<Arc<str>>,
    events: VecDeque<Arc<Event>>,
    /// The place of the last event that was pushed.
    head: i64,
    bytes: usize,
    max_events: usize,
    max_bytes: usize,
}

impl Ring {
    pub(crate) fn new(max_events: usize, max_bytes: usize) -> Self {
        Self { epoch: None, events: VecDeque::new(), head: 0, bytes: 0, max_events, max_bytes }
    }

    /// Forgets everything; the next event is `head + 1` of that epoch.
    pub(crate) fn reset(&mut self, epoch: Arc<str>, head: i64) {
        self.epoch = Some(epoch);
        self.events.clear();
        self.bytes = 0;
        self.head = head;
    }

    /// The epoch and the last place, once there is one.
    pub(crate) fn head(&self) -> Option<(Arc<str>, i64)> {
        self.epoch.clone().map(|epoch| (epoch, self.head))
    }

    /// Whether events after this place can be read here.
    pub(crate) fn reaches(&self, epoch: &str, after: i64) -> bool {
        self.epoch.as_deref() == Some(epoch) && after <= self.head && after >= self.oldest() - 1
    }

    fn oldest(&self) -> i64 {
        self.events.front().map_or(self.head + 1, |event| event.seq())
    }

    /// Adds the next event. False if it is not the next; then nothing is added.
    pub(crate) fn push(&mut self, event: Arc<Event>) -> bool {
        if event.seq() != self.head + 1 {
            return false;
        }
        self.head += 1;
        self.bytes += event.size();
        self.events.push_back(event);
        while self.events.len() > self.max_events || (self.bytes > self.max_bytes && self.events.len() > 1) {
            if let Some(gone) = self.events.pop_front() {
                self.bytes -= gone.size();
            }
        }
        true
    }

    /// Shows the events after a place, in order, for as long as `take` says to go on.
    pub(crate) fn read(&self, epoch: &str, after: i64, mut take: impl FnMut(&Arc<Event>) -> bool) -> Reach {
        if self.epoch.as_deref() != Some(epoch) {
            return Reach::Elsewhere;
        }
        // Whoever has read elsewhere may be ahead of us
        let Ok(skip) = usize::try_from((after + 1 - self.oldest()).max(-1)) else { return Reach::Behind };
        let mut to = after;
        for event in self.events.range(skip.min(self.events.len())..) {
            if !take(event) {
                break;
            }
            to = event.seq();
        }
        Reach::To(to)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kernel::Timestamp;

    use super::{Reach, Ring};
    use crate::event::{Entry, Event};

    fn event(seq: i64) -> Arc<Event> {
        Arc::new(Event::new("e", Entry { seq, agent: None, name: "n", payload: "{}", at: Timestamp::EPOCH }))
    }

    fn ring(from: i64, to: i64) -> Ring {
        let mut ring = Ring::new(4, 1 << 20);
        ring.reset("e".into(), from - 1);
        for seq in from..=to {
            assert!(ring.push(event(seq)));
        }
        ring
    }

    fn read(ring: &Ring, after: i64, limit: usize) -> (Vec<i64>, Reach) {
        let mut seen = Vec::new();
        let reach = ring.read("e", after, |event| {
            let room = seen.len() < limit;
            if room {
                seen.push(event.seq());
            }
            room
        });
        (seen, reach)
    }

    #[test]
    fn it_keeps_the_youngest_without_holes() {
        let mut ring = ring(1, 6);
        assert_eq!(read(&ring, 2, 9), (vec![3, 4, 5, 6], Reach::To(6)));
        assert_eq!(read(&ring, 4, 1), (vec![5], Reach::To(5)));
        assert_eq!(read(&ring, 6, 9), (vec![], Reach::To(6)));
        assert_eq!(read(&ring, 1, 9), (vec![], Reach::Behind));
        assert_eq!(read(&ring, 9, 9), (vec![], Reach::To(9)), "ahead of us");
        assert!(!ring.push(event(8)) && !ring.push(event(6)));
        assert!(ring.reaches("e", 2) && ring.reaches("e", 6) && !ring.reaches("e", 1) && !ring.reaches("e", 7));
    }

    #[test]
    fn another_epoch_is_elsewhere() {
        let mut ring = ring(1, 2);
        assert_eq!(ring.read("f", 0, |_| true), Reach::Elsewhere);
        ring.reset("f".into(), 40);
        assert_eq!(ring.read("f", 40, |_| true), Reach::To(40));
        assert_eq!(ring.read("f", 2, |_| true), Reach::Behind);
        assert_eq!(Ring::new(4, 9).read("e", 0, |_| true), Reach::Elsewhere);
    }

    #[test]
    fn its_bytes_are_bounded_too_but_the_youngest_stays() {
        let mut ring = Ring::new(100, 10);
        ring.reset("e".into(), 0);
        assert!(ring.push(event(1)) && ring.push(event(2)));
        assert_eq!(read(&ring, 1, 9).0, [2]);
        assert_eq!(read(&ring, 0, 9).1, Reach::Behind);
    }
}
