//! The stretches of local time that a question is cut into.
//!
//! Quarters of an hour and hours follow the local clock and begin anew where it is put forward or back, so that each has
//! one offset. Days, weeks (from Monday), months and years begin at local midnight, or at the first instant of their first
//! day. Whatever the zone does, buckets follow one another without gap or overlap.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp as Instant, ToSpan};
use kernel::{Timestamp, Zone};

/// The most buckets a question may have.
pub const MAX_BUCKETS: usize = 10_000;

/// How long a bucket is, on the local clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BucketSize {
    /// A quarter of an hour.
    Quarter,
    /// An hour.
    Hour,
    /// A calendar day.
    Day,
    /// A calendar week, from Monday.
    Week,
    /// A calendar month.
    Month,
    /// A calendar year.
    Year,
}

impl BucketSize {
    /// Every size.
    pub const ALL: [Self; 6] = [Self::Quarter, Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// The name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quarter => "15m",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// Its length in milliseconds, where that is fixed but for changes of the clock.
    const fn clock_ms(self) -> Option<i64> {
        match self {
            Self::Quarter => Some(900_000),
            Self::Hour => Some(3_600_000),
            _ => None,
        }
    }

    /// The first day of the bucket that the day lies in.
    fn first_day(self, day: Date) -> Date {
        match self {
            Self::Quarter | Self::Hour | Self::Day => day,
            Self::Week => day.saturating_sub(i64::from(day.weekday().since(Weekday::Monday)).days()),
            Self::Month => day.first_of_month(),
            Self::Year => day.first_of_year(),
        }
    }

    fn days_later(self, first: Date, count: i64) -> Date {
        match self {
            Self::Quarter | Self::Hour | Self::Day => first.saturating_add(count.days()),
            Self::Week => first.saturating_add((7 * count).days()),
            Self::Month => first.saturating_add(count.months()),
            Self::Year => first.saturating_add(count.years()),
        }
    }
}

/// A bucket, and the part of it that was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its first instant on the local clock; before `from` where the range begins in the middle of it.
    pub start: Timestamp,
    /// The first instant asked about.
    pub from: Timestamp,
    /// The first instant that is no longer asked about.
    pub to: Timestamp,
}

/// A question has more buckets than [`MAX_BUCKETS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has more than 10000 buckets: choose a larger bucket or a shorter range")]
pub struct TooManyBuckets;

/// The buckets that `from` (inclusive) to `to` (exclusive) falls into, in order; none for an empty range.
pub fn buckets(size: BucketSize, zone: &Zone, from: Timestamp, to: Timestamp) -> Result<Vec<Bucket>, TooManyBuckets> {
    let mut found = Vec::new();
    if from >= to {
        return Ok(found);
    }
    let mut edges = Edges::new(size, zone, from);
    let mut start = edges.first;
    while start < to {
        if found.len() == MAX_BUCKETS {
            return Err(TooManyBuckets);
        }
        let end = edges.next_after(start);
        // A day that the zone left out has no instant
        if end > from && end > start {
            found.push(Bucket { start, from: start.max(from), to: end.min(to) });
        }
        start = end.max(start);
    }
    Ok(found)
}

/// The first instant of the bucket `count` buckets before the one that `at` lies in.
pub fn buckets_before(size: BucketSize, zone: &Zone, at: Timestamp, count: i64) -> Timestamp {
    if let Some(ms) = size.clock_ms() {
        return Edges::new(size, zone, at.plus_millis(-count.saturating_mul(ms))).first;
    }
    let first = size.first_day(local_day(zone, at));
    start_of(zone.as_jiff(), size.days_later(first, -count)).max(Timestamp::EPOCH)
}

/// An instant as RFC 3339 with the offset that the zone has then.
pub fn label(zone: &Zone, at: Timestamp) -> String {
    let instant = instant(at);
    instant.display_with_offset(zone.as_jiff().to_offset(instant)).to_string()
}

/// A short name of the bucket that begins at `start`: `2026-03-01`, `2026-W09`, `2026-03`, `2026`, or its [`label`].
pub fn short_label(size: BucketSize, zone: &Zone, start: Timestamp) -> String {
    let day = local_day(zone, start);
    match size {
        BucketSize::Quarter | BucketSize::Hour => label(zone, start),
        BucketSize::Day => day.to_string(),
        BucketSize::Week => {
            let week = day.iso_week_date();
            format!("{:04}-W{:02}", week.year(), week.week())
        }
        BucketSize::Month => format!("{:04}-{:02}", day.year(), day.month()),
        BucketSize::Year => format!("{:04}", day.year()),
    }
}

fn instant(at: Timestamp) -> Instant {
    let ms = at.millis().clamp(0, Timestamp::MAX.millis());
    Instant::from_millisecond(ms).unwrap_or(Instant::UNIX_EPOCH)
}

fn local_day(zone: &Zone, at: Timestamp) -> Date {
    instant(at).to_zoned_datetime(zone.as_jiff().clone()).date()
}

fn start_of(zone: &TimeZone, day: Date) -> Timestamp {
    let start = day.to_zoned_datetime(zone.clone());
    start.map_or(Timestamp::MAX, |start| Timestamp::from_millis(start.timestamp().as_millisecond()))
}

/// Goes from edge to edge.
struct Edges<'z> {
    zone: &'z TimeZone,
    size: BucketSize,
    /// The edge at or before the instant it was made with.
    first: Timestamp,
    place: Place,
}

enum Place {
    /// The offset now, and when the zone changes it to which.
    Clock { length: i64, offset: i64, change: Option<(Timestamp, i64)> },
    /// The first day of the bucket.
    Calendar(Date),
}

impl<'z> Edges<'z> {
    fn new(size: BucketSize, zone: &'z Zone, at: Timestamp) -> Self {
        let at = at.max(Timestamp::EPOCH);
        let jiff = zone.as_jiff();
        let Some(length) = size.clock_ms() else {
            let mut day = size.first_day(local_day(zone, at));
            // Where midnight is put back, the day before goes on after it
            while start_of(jiff, day) > at {
                day = size.days_later(day, -1);
            }
            return Self { zone: jiff, size, first: start_of(jiff, day), place: Place::Calendar(day) };
        };
        let offset = offset_ms(jiff, at);
        let edge = at.millis() + offset;
        let edge = Timestamp::from_millis(edge - edge.rem_euclid(length) - offset);
        let begun = jiff.preceding(instant(at.plus_millis(1))).next();
        let begun = begun.map(|change| Timestamp::from_millis(change.timestamp().as_millisecond()));
        let begun = begun.filter(|begun| offset_ms(jiff, begun.plus_millis(-1)) != offset);
        let first = begun.map_or(edge, |begun| edge.max(begun));
        Self { zone: jiff, size, first, place: Place::Clock { length, offset, change: next_change(jiff, at, offset) } }
    }

    fn next_after(&mut self, start: Timestamp) -> Timestamp {
        match &mut self.place {
            Place::Calendar(day) => {
                *day = self.size.days_later(*day, 1);
                start_of(self.zone, *day)
            }
            Place::Clock { length, offset, change } => {
                let local = start.millis() + *offset;
                let next = Timestamp::from_millis(local - local.rem_euclid(*length) + *length - *offset);
                match *change {
                    Some((at, new)) if at <= next => {
                        *offset = new;
                        *change = next_change(self.zone, at, new);
                        at
                    }
                    _ => next,
                }
            }
        }
    }
}

fn offset_ms(zone: &TimeZone, at: Timestamp) -> i64 {
    i64::from(zone.to_offset(instant(at)).seconds()) * 1_000
}

/// When the zone next has another offset, and which.
fn next_change(zone: &TimeZone, after: Timestamp, offset: i64) -> Option<(Timestamp, i64)> {
    zone.following(instant(after)).find_map(|change| {
        let new = i64::from(change.offset().seconds()) * 1_000;
        (new != offset).then(|| (Timestamp::from_millis(change.timestamp().as_millisecond()), new))
    })
}

#[cfg(test)]
mod tests {
    use kernel::{Timestamp, Zone};
    use proptest::prelude::*;

    use super::{BucketSize, MAX_BUCKETS, TooManyBuckets, buckets, buckets_before, label, short_label};

    fn zone(name: &str) -> Zone {
        name.parse().expect("a zone")
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::from_rfc3339(text).expect("a time")
    }

    fn labels(size: BucketSize, name: &str, from: &str, to: &str) -> Vec<String> {
        let zone = zone(name);
        let found = buckets(size, &zone, at(from), at(to)).expect("few buckets");
        found.iter().map(|bucket| label(&zone, bucket.start)).collect()
    }

    #[test]
    fn a_day_on_which_the_clock_is_put_back_has_25_hours() {
        let hours = labels(BucketSize::Hour, "America/New_York", "2026-11-01T05:00:00Z", "2026-11-01T08:00:00Z");
        let expected = ["2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00", "2026-11-01T02:00:00-05:00"];
        assert_eq!(hours, expected);
        let days =
            buckets(BucketSize::Day, &zone("America/New_York"), at("2026-11-01T04:00:00Z"), at("2026-11-03T05:00:00Z"));
        let lengths: Vec<i64> = days.expect("two").iter().map(|day| day.to.since(day.from) / 3_600_000).collect();
        assert_eq!(lengths, [25, 24]);
    }

    #[test]
    fn half_an_hour_of_summer_time_makes_an_hour_of_half_an_hour() {
        let hours = labels(BucketSize::Hour, "Australia/Lord_Howe", "2026-04-04T14:00:00Z", "2026-04-04T16:30:00Z");
        let expected = ["2026-04-05T01:00:00+11:00", "2026-04-05T01:30:00+10:30", "2026-04-05T02:00:00+10:30"];
        assert_eq!(hours, expected);
    }

    #[test]
    fn the_first_bucket_begins_before_a_range_that_begins_in_its_middle() {
        let found =
            buckets(BucketSize::Week, &zone("Asia/Kathmandu"), at("2026-01-15T12:00:00Z"), at("2026-01-19T12:00:00Z"));
        let found = found.expect("two weeks");
        assert_eq!(found[0].start, at("2026-01-11T18:15:00Z"));
        assert_eq!((found[0].from, found[1].from), (at("2026-01-15T12:00:00Z"), at("2026-01-18T18:15:00Z")));
        assert_eq!(found[1].to, at("2026-01-19T12:00:00Z"));
    }

    #[test]
    fn a_day_that_the_zone_left_out_is_no_bucket() {
        let days = labels(BucketSize::Day, "Pacific/Apia", "2011-12-29T10:00:00Z", "2012-01-01T09:59:00Z");
        assert_eq!(days, ["2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"]);
    }

    #[test]
    fn buckets_have_short_names() {
        let zone = zone("Asia/Kolkata");
        let start = at("2026-02-28T18:30:00Z");
        let named = |size| short_label(size, &zone, start);
        assert_eq!(named(BucketSize::Day), "2026-03-01");
        assert_eq!(named(BucketSize::Week), "2026-W09");
        assert_eq!(named(BucketSize::Month), "2026-03");
        assert_eq!(named(BucketSize::Year), "2026");
        assert_eq!(named(BucketSize::Hour), "2026-03-01T00:00:00+05:30");
    }

    #[test]
    fn the_last_so_many_buckets_include_the_one_that_goes_on() {
        let zone = zone("America/New_York");
        assert_eq!(buckets_before(BucketSize::Day, &zone, at("2026-11-28T15:00:00Z"), 29), at("2026-10-30T04:00:00Z"));
        assert_eq!(buckets_before(BucketSize::Month, &zone, at("2026-11-28T15:00:00Z"), 2), at("2026-09-01T04:00:00Z"));
        assert_eq!(buckets_before(BucketSize::Year, &zone, at("1971-11-28T15:00:00Z"), 29), Timestamp::EPOCH);
    }

    #[test]
    fn there_is_a_limit_to_their_number() {
        let to = Timestamp::from_millis(900_000 * MAX_BUCKETS as i64);
        let utc = zone("UTC");
        assert_eq!(buckets(BucketSize::Quarter, &utc, Timestamp::EPOCH, to).map(|b| b.len()), Ok(MAX_BUCKETS));
        let more = to.plus_millis(1);
        assert_eq!(buckets(BucketSize::Quarter, &utc, Timestamp::EPOCH, more), Err(TooManyBuckets));
        assert_eq!(buckets(BucketSize::Quarter, &utc, Timestamp::EPOCH, Timestamp::MAX), Err(TooManyBuckets));
        assert_eq!(buckets(BucketSize::Day, &utc, to, to), Ok(Vec::new()));
    }

    const ZONES: [&str; 12] = [
        "UTC",
        "Asia/Kolkata",
        "Asia/Kathmandu",
        "America/New_York",
        "Australia/Lord_Howe",
        "Europe/Zurich",
        "Pacific/Apia",
        "Pacific/Chatham",
        "America/St_Johns",
        "Africa/Monrovia",
        "America/Havana",
        "Africa/Casablanca",
    ];

    proptest! {
        #[test]
        fn buckets_follow_one_another_and_each_instant_lies_in_the_bucket_it_begins(
            zone_at in 0..ZONES.len(),
            size_at in 0..BucketSize::ALL.len(),
            from in 0..2_000_000_000_000_i64,
            buckets_long in 0..200_i64,
            odd in 0..100_000_i64,
        ) {
            let (zone, size) = (zone(ZONES[zone_at]), BucketSize::ALL[size_at]);
            let length = [900_000, 3_600_000, 86_400_000, 604_800_000, 2_592_000_000, 31_536_000_000][size_at];
            let from = Timestamp::from_millis(from);
            let to = from.plus_millis(buckets_long * length + odd);
            let found = buckets(size, &zone, from, to).expect("few");
            let mut end = from;
            for bucket in &found {
                prop_assert_eq!(bucket.from, end);
                prop_assert!(bucket.start <= bucket.from && bucket.from < bucket.to);
                // Asked about a single instant of it, the bucket is the same
                let middle = bucket.from.plus_millis(bucket.to.since(bucket.from) / 2);
                let alone = buckets(size, &zone, middle, middle.plus_millis(1)).expect("one");
                prop_assert_eq!((alone.len(), alone[0].start), (1, bucket.start));
                end = bucket.to;
            }
            prop_assert_eq!(end, to);
        }
    }
}
