//! From which stored sums a range of time is put together.
//!
//! Sums are kept for quarters of an hour, hours, days and months of UTC. A range is covered by the longest cells that lie
//! in it; what is left at its ends, less than a quarter of an hour each, is summed up from the facts themselves. A range
//! that reaches to the present takes cells that go on beyond it, and subtracts the few facts that claim to be later.
//!
//! Quarters of an hour are summed up with each fact; longer cells when their time is over, so that live traffic touches
//! one cell and not four. [`Folded`] says how far they are; beyond it a range is covered by shorter ones.

use jiff::civil::Date;
use jiff::{Timestamp as Instant, ToSpan, tz::TimeZone};
use kernel::Timestamp;

/// The length of the shortest cell, in milliseconds.
pub const QUARTER_MS: i64 = 900_000;

/// How long the cells are that sums are kept for; each longer one is made of whole shorter ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// A quarter of an hour.
    Quarter,
    /// An hour.
    Hour,
    /// A day of UTC.
    Day,
    /// A calendar month of UTC.
    Month,
}

impl Level {
    /// Every level, from short to long.
    pub const ALL: [Self; 4] = [Self::Quarter, Self::Hour, Self::Day, Self::Month];

    /// The number it is stored under: 0 for a quarter of an hour, 3 for a month.
    pub const fn number(self) -> i64 {
        self as i64
    }

    /// The next longer one.
    pub const fn longer(self) -> Option<Self> {
        match self {
            Self::Quarter => Some(Self::Hour),
            Self::Hour => Some(Self::Day),
            Self::Day => Some(Self::Month),
            Self::Month => None,
        }
    }

    /// The first instant of the cell that `at` lies in.
    pub fn floor(self, at: Timestamp) -> Timestamp {
        let whole = |ms: i64| Timestamp::from_millis(at.millis() - at.millis().rem_euclid(ms));
        match self {
            Self::Quarter => whole(QUARTER_MS),
            Self::Hour => whole(3_600_000),
            Self::Day => whole(86_400_000),
            Self::Month => midnight(day_of(at).first_of_month()),
        }
    }

    /// The first instant at or after `at` that begins a cell.
    pub fn ceil(self, at: Timestamp) -> Timestamp {
        let floor = self.floor(at);
        if floor == at { at } else { self.end(floor) }
    }

    /// The end of the cell that begins at `start`.
    pub fn end(self, start: Timestamp) -> Timestamp {
        match self {
            Self::Quarter => start.plus_millis(QUARTER_MS),
            Self::Hour => start.plus_millis(3_600_000),
            Self::Day => start.plus_millis(86_400_000),
            Self::Month => midnight(day_of(start).saturating_add(1.month())),
        }
    }
}

/// How far the cells that are longer than a quarter of an hour are summed up: those that begin before these times are
/// complete, later ones are not there yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Hours.
    pub hours: Timestamp,
    /// Days.
    pub days: Timestamp,
    /// Months.
    pub months: Timestamp,
}

impl Folded {
    /// As if every cell were complete at any time.
    pub const ALL: Self = Self { hours: Timestamp::MAX, days: Timestamp::MAX, months: Timestamp::MAX };

    /// Until when cells of this level are complete.
    pub const fn until(&self, level: Level) -> Timestamp {
        match level {
            Level::Quarter => Timestamp::MAX,
            Level::Hour => self.hours,
            Level::Day => self.days,
            Level::Month => self.months,
        }
    }
}

fn day_of(at: Timestamp) -> Date {
    let ms = at.millis().clamp(0, Timestamp::MAX.millis());
    Instant::from_millisecond(ms).unwrap_or(Instant::UNIX_EPOCH).to_zoned_datetime(TimeZone::UTC).date()
}

fn midnight(day: Date) -> Timestamp {
    let start = day.to_zoned_datetime(TimeZone::UTC);
    start.map_or(Timestamp::MAX, |start| Timestamp::from_millis(start.timestamp().as_millisecond()))
}

/// Whether a piece is added or taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It counts.
    Plus,
    /// It was counted by another piece and does not belong there.
    Minus,
}

impl Sign {
    /// 1 or −1.
    pub const fn factor(self) -> i64 {
        match self {
            Self::Plus => 1,
            Self::Minus => -1,
        }
    }
}

/// A part of the sum over a range, from `from` (inclusive) to `to` (exclusive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// All cells of a level that begin in it.
    Cells {
        /// Which cells.
        level: Level,
        /// The start of the first.
        from: Timestamp,
        /// The end of the last.
        to: Timestamp,
    },
    /// All facts in it.
    Facts {
        /// The first instant in it.
        from: Timestamp,
        /// The first instant after it.
        to: Timestamp,
        /// Whether they count.
        sign: Sign,
    },
}

/// What the sums over `from` (inclusive) to `to` (exclusive) are put together from, where the time is `now`.
///
/// Nothing but a few facts lies at or after `now`. Pieces that are added and taken away leave each instant of the range
/// counted once and every other one not at all.
pub fn pieces(from: Timestamp, to: Timestamp, now: Timestamp, folded: &Folded) -> Vec<Piece> {
    let mut found = Vec::new();
    let (from, to) = (from.max(Timestamp::EPOCH), to.min(Timestamp::MAX));
    if from >= to {
        return found;
    }
    let mut end = to;
    if to >= now {
        end = Level::Month.ceil(to);
        push_facts(&mut found, to, end, Sign::Minus);
    }
    let (first, last) = (Level::Quarter.ceil(from), Level::Quarter.floor(end));
    if first > last {
        push_facts(&mut found, from, end, Sign::Plus);
        return found;
    }
    // Of a cell at an end of the range, the shorter part is read fact by fact
    let before = first.plus_millis(-QUARTER_MS);
    let first = if from.since(before) < first.since(from) {
        push_facts(&mut found, before, from, Sign::Minus);
        before
    } else {
        push_facts(&mut found, from, first, Sign::Plus);
        first
    };
    let after = last.plus_millis(QUARTER_MS);
    let last = if end > last && after.since(end) < end.since(last) {
        push_facts(&mut found, end, after, Sign::Minus);
        after
    } else {
        push_facts(&mut found, last, end, Sign::Plus);
        last
    };
    push_cells(&mut found, Level::Quarter, first, last, folded);
    found
}

/// As [`pieces`], for figures that cannot be subtracted, such as the least and the largest: pieces that lie side by side.
pub fn additive_pieces(from: Timestamp, to: Timestamp, folded: &Folded) -> Vec<Piece> {
    let mut found = Vec::new();
    let (from, to) = (from.max(Timestamp::EPOCH), to.min(Timestamp::MAX));
    if from >= to {
        return found;
    }
    let (first, last) = (Level::Quarter.ceil(from), Level::Quarter.floor(to));
    if first > last {
        push_facts(&mut found, from, to, Sign::Plus);
        return found;
    }
    push_facts(&mut found, from, first, Sign::Plus);
    push_cells(&mut found, Level::Quarter, first, last, folded);
    push_facts(&mut found, last, to, Sign::Plus);
    found
}

fn push_facts(found: &mut Vec<Piece>, from: Timestamp, to: Timestamp, sign: Sign) {
    if from < to {
        found.push(Piece::Facts { from, to, sign });
    }
}

/// Covers whole cells of a level by the longest cells there are.
fn push_cells(found: &mut Vec<Piece>, level: Level, from: Timestamp, to: Timestamp, folded: &Folded) {
    if from >= to {
        return;
    }
    if let Some(longer) = level.longer() {
        let (first, last) = (longer.ceil(from), longer.floor(to.min(folded.until(longer))));
        if first < last {
            push_cells_at(found, level, from, first);
            push_cells(found, longer, first, last, folded);
            return push_cells_at(found, level, last, to);
        }
    }
    push_cells_at(found, level, from, to);
}

fn push_cells_at(found: &mut Vec<Piece>, level: Level, from: Timestamp, to: Timestamp) {
    if from < to {
        found.push(Piece::Cells { level, from, to });
    }
}

#[cfg(test)]
mod tests {
    use kernel::Timestamp;
    use proptest::prelude::*;

    use super::{Folded, Level, Piece, QUARTER_MS, Sign, additive_pieces, pieces};

    fn at(text: &str) -> Timestamp {
        Timestamp::from_rfc3339(text).expect("a time")
    }

    fn shown(pieces: &[Piece]) -> Vec<String> {
        let one = |piece: &Piece| match *piece {
            Piece::Cells { level, from, to } => format!("{level:?} {}..{}", from.to_rfc3339(), to.to_rfc3339()),
            Piece::Facts { from, to, sign } => format!("{sign:?} {}..{}", from.to_rfc3339(), to.to_rfc3339()),
        };
        pieces.iter().map(one).collect()
    }

    fn span(piece: &Piece) -> (Timestamp, Timestamp, i64) {
        match *piece {
            Piece::Cells { from, to, .. } => (from, to, 1),
            Piece::Facts { from, to, sign } => (from, to, sign.factor()),
        }
    }

    /// How often the instant is counted.
    fn times(pieces: &[Piece], at: Timestamp) -> i64 {
        let hits = pieces.iter().map(span).filter(|(from, to, _)| (*from..*to).contains(&at));
        hits.map(|(_, _, factor)| factor).sum()
    }

    /// How many cells are read.
    fn cells(pieces: &[Piece]) -> i64 {
        let count = |piece: &Piece| match *piece {
            Piece::Cells { level: Level::Month, from, to } => {
                let mut at = from;
                let mut count = 0;
                while at < to {
                    at = Level::Month.ceil(at.plus_millis(1));
                    count += 1;
                }
                count
            }
            Piece::Cells { level, from, to } => {
                let length = [QUARTER_MS, 3_600_000, 86_400_000, 1][level as usize];
                to.since(from) / length
            }
            Piece::Facts { .. } => 0,
        };
        pieces.iter().map(count).sum()
    }

    #[test]
    fn a_local_day_in_a_half_hour_zone_is_hours_and_a_few_quarters() {
        let now = at("2026-06-01T00:00:00Z");
        let found = pieces(at("2026-03-01T18:30:00Z"), at("2026-03-02T18:30:00Z"), now, &Folded::ALL);
        let expected = [
            "Quarter 2026-03-01T18:30:00Z..2026-03-01T19:00:00Z",
            "Hour 2026-03-01T19:00:00Z..2026-03-02T18:00:00Z",
            "Quarter 2026-03-02T18:00:00Z..2026-03-02T18:30:00Z",
        ];
        assert_eq!(shown(&found), expected);
    }

    #[test]
    fn everything_up_to_now_is_months_without_what_claims_to_be_later() {
        let now = at("2026-11-28T15:52:37Z");
        let found = pieces(Timestamp::EPOCH, now, now, &Folded::ALL);
        let expected =
            ["Minus 2026-11-28T15:52:37Z..2026-12-01T00:00:00Z", "Month 1970-01-01T00:00:00Z..2026-12-01T00:00:00Z"];
        assert_eq!(shown(&found), expected);
    }

    #[test]
    fn the_shorter_part_of_a_cell_at_an_end_is_read_fact_by_fact() {
        let now = at("2026-06-01T00:00:00Z");
        let found = pieces(at("2026-03-01T00:01:00Z"), at("2026-03-01T01:14:00Z"), now, &Folded::ALL);
        let expected = [
            "Minus 2026-03-01T00:00:00Z..2026-03-01T00:01:00Z",
            "Minus 2026-03-01T01:14:00Z..2026-03-01T01:15:00Z",
            "Hour 2026-03-01T00:00:00Z..2026-03-01T01:00:00Z",
            "Quarter 2026-03-01T01:00:00Z..2026-03-01T01:15:00Z",
        ];
        assert_eq!(shown(&found), expected);
        let within = pieces(at("2026-03-01T00:01:00Z"), at("2026-03-01T00:14:00Z"), now, &Folded::ALL);
        assert_eq!(shown(&within), ["Plus 2026-03-01T00:01:00Z..2026-03-01T00:14:00Z"]);
    }

    #[test]
    fn years_are_made_of_months_days_and_hours() {
        let now = at("2030-01-01T00:00:00Z");
        let found = pieces(at("2024-12-30T22:00:00Z"), at("2026-03-02T01:00:00Z"), now, &Folded::ALL);
        let expected = [
            "Hour 2024-12-30T22:00:00Z..2024-12-31T00:00:00Z",
            "Day 2024-12-31T00:00:00Z..2025-01-01T00:00:00Z",
            "Month 2025-01-01T00:00:00Z..2026-03-01T00:00:00Z",
            "Day 2026-03-01T00:00:00Z..2026-03-02T00:00:00Z",
            "Hour 2026-03-02T00:00:00Z..2026-03-02T01:00:00Z",
        ];
        assert_eq!(shown(&found), expected);
        assert!(pieces(now, now, now, &Folded::ALL).is_empty());
    }

    #[test]
    fn what_is_not_folded_yet_is_covered_by_shorter_cells() {
        let now = at("2026-03-02T03:20:00Z");
        let folded = Folded { hours: at("2026-03-02T03:00:00Z"), days: at("2026-03-02T00:00:00Z"), ..Folded::ALL };
        let folded = Folded { months: at("2026-03-01T00:00:00Z"), ..folded };
        let found = pieces(Timestamp::EPOCH, now, now, &folded);
        let expected = [
            "Minus 2026-03-02T03:20:00Z..2026-04-01T00:00:00Z",
            "Month 1970-01-01T00:00:00Z..2026-03-01T00:00:00Z",
            "Day 2026-03-01T00:00:00Z..2026-03-02T00:00:00Z",
            "Hour 2026-03-02T00:00:00Z..2026-03-02T03:00:00Z",
            "Quarter 2026-03-02T03:00:00Z..2026-04-01T00:00:00Z",
        ];
        assert_eq!(shown(&found), expected);
        let nothing = pieces(Timestamp::EPOCH, now, now, &Folded::default());
        assert_eq!(shown(&nothing)[1..], ["Quarter 1970-01-01T00:00:00Z..2026-04-01T00:00:00Z"]);
    }

    /// The fewest cells that a stretch can be covered with, found by going from each end.
    fn fewest(from: Timestamp, to: Timestamp) -> i64 {
        let (mut at, mut count) = (from, 0);
        while at < to {
            let fits = |level: &&Level| level.floor(at) == at && level.ceil(at.plus_millis(1)) <= to;
            let longest = Level::ALL.iter().rev().find(fits).expect("a quarter fits");
            at = longest.ceil(at.plus_millis(1));
            count += 1;
        }
        count
    }

    proptest! {
        #[test]
        fn each_instant_of_the_range_counts_once_and_no_other_one(
            from in 0..2_000_000_000_000_i64,
            length in prop_oneof![0..2_000_000_i64, 0..100_000_000_i64, 0..20_000_000_000_i64, 0..200_000_000_000_i64],
            from_now in prop_oneof![Just(0), -1_000_000..1_000_000_i64, 0..100_000_000_000_i64],
            marks in prop::collection::vec(0..2_000_000_000_000_i64, 3),
            probes in prop::collection::vec(any::<prop::sample::Index>(), 20),
        ) {
            let (from, to) = (Timestamp::from_millis(from), Timestamp::from_millis(from + length));
            let now = to.plus_millis(from_now);
            let [hours, days, months] = [marks[0], marks[1], marks[2]].map(Timestamp::from_millis);
            let folded = Folded { hours, days, months };
            let plans = [
                pieces(from, to, now, &Folded::ALL),
                additive_pieces(from, to, &Folded::ALL),
                pieces(from, to, now, &folded),
            ];
            for plan in &plans {
                let mut edges: Vec<Timestamp> =
                    plan.iter().flat_map(|piece| [span(piece).0, span(piece).1]).chain([from, to]).collect();
                edges.extend(probes.iter().map(|at| from.plus_millis(at.index(length as usize + 1) as i64)));
                for edge in edges.into_iter().flat_map(|edge| [edge.plus_millis(-1), edge, edge.plus_millis(1)]) {
                    let expected = i64::from((from..to).contains(&edge));
                    prop_assert_eq!(times(plan, edge), expected, "{:?} at {}", plan, edge.to_rfc3339());
                }
                for piece in plan {
                    match *piece {
                        Piece::Cells { level, from, to } => {
                            prop_assert!(level.floor(from) == from && level.floor(to) == to);
                        }
                        Piece::Facts { from, to, sign } => {
                            // Only the future is read beyond a quarter of an hour, and there is next to nothing in it
                            prop_assert!(to.since(from) < QUARTER_MS || (sign == Sign::Minus && from >= now));
                        }
                    }
                }
                prop_assert!(plan.len() <= 10, "{:?}", plan);
            }
            let (first, last) = (Level::Quarter.ceil(from), Level::Quarter.floor(to));
            prop_assert_eq!(cells(&plans[1]), if first < last { fewest(first, last) } else { 0 });
        }
    }
}
