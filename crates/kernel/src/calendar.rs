//! Time zones and the windows of budgets.
//!
//! A window has no reset job: which window an instant belongs to is computed from the clock and the budget's zone. Days
//! start at local midnight (at the first instant of the day where a DST change skips it), weeks on Monday (ISO 8601).

use std::fmt;
use std::str::FromStr;

use jiff::civil::Weekday;
use jiff::{ToSpan, tz::TimeZone};

use crate::Timestamp;

/// An IANA time zone, from the database built into the program, so that every server agrees.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// The text is not the name of an IANA time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an IANA time zone, such as UTC or Europe/Zurich")]
pub struct UnknownZone;

impl Zone {
    /// Coordinated Universal Time.
    pub const UTC: Zone = Zone(TimeZone::UTC);

    /// The name, as in the IANA database.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The jiff time zone, for calendar work beyond budget windows.
    pub const fn as_jiff(&self) -> &TimeZone {
        &self.0
    }
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        if name == "UTC" {
            return Ok(Self::UTC);
        }
        if name.is_empty() || name.len() > 64 {
            return Err(UnknownZone);
        }
        TimeZone::get(name).map(Self).map_err(|_| UnknownZone)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Over which time a budget's cap counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// One window for all time.
    None,
    /// The local calendar day.
    Day,
    /// The local calendar week, from Monday.
    Week,
    /// The local calendar month.
    Month,
}

impl Window {
    /// The name in the contract: `none`, `day`, `week`, `month`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// Reads the name of the contract.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Day, Self::Week, Self::Month].into_iter().find(|w| w.as_str() == text)
    }

    /// The window that `at` lies in: its first instant, and the first instant after it (`None` without a window).
    ///
    /// Without a window the start is the epoch, whatever the clock says.
    pub fn bounds(self, zone: &Zone, at: Timestamp) -> (Timestamp, Option<Timestamp>) {
        // A clock set to the far ends of time stays computable
        let ms = at.millis().clamp(0, Timestamp::MAX.millis() - 40 * 86_400_000);
        let Ok(instant) = jiff::Timestamp::from_millisecond(ms) else {
            return (Timestamp::EPOCH, None);
        };
        let today = instant.to_zoned_datetime(zone.0.clone()).date();
        let first = match self {
            Self::None => return (Timestamp::EPOCH, None),
            Self::Day => today,
            Self::Week => today.saturating_sub(i64::from(today.weekday().since(Weekday::Monday)).days()),
            Self::Month => today.first_of_month(),
        };
        let next = match self {
            Self::None | Self::Day => first.saturating_add(1.day()),
            Self::Week => first.saturating_add(7.days()),
            Self::Month => first.saturating_add(1.month()),
        };
        let start_of = |date: jiff::civil::Date| {
            date.to_zoned_datetime(zone.0.clone()).map(|z| Timestamp::from_millis(z.timestamp().as_millisecond()))
        };
        match (start_of(first), start_of(next)) {
            (Ok(start), Ok(end)) => (start, Some(end)),
            _ => (Timestamp::EPOCH, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Window, Zone};
    use crate::Timestamp;

    fn bounds(window: Window, zone: &str, at: &str) -> (String, String) {
        let zone: Zone = zone.parse().expect("a zone");
        let (from, to) = window.bounds(&zone, Timestamp::from_rfc3339(at).expect("a time"));
        (from.to_rfc3339(), to.expect("a windowed budget").to_rfc3339())
    }

    #[test]
    fn days_follow_the_local_clock_across_a_dst_change() {
        let day = bounds(Window::Day, "Europe/Zurich", "2026-03-29T10:00:00Z");
        assert_eq!(day, ("2026-03-28T23:00:00Z".into(), "2026-03-29T22:00:00Z".into()), "23 hours long");
        let kathmandu = bounds(Window::Day, "Asia/Kathmandu", "2026-01-01T18:15:00Z");
        assert_eq!(kathmandu.0, "2026-01-01T18:15:00Z", "45-minute offset, first instant of the day");
    }

    #[test]
    fn weeks_start_on_monday_and_months_on_the_first() {
        assert_eq!(bounds(Window::Week, "UTC", "2026-11-22T23:59:59Z").0, "2026-11-16T00:00:00Z");
        assert_eq!(bounds(Window::Week, "UTC", "2026-11-23T00:00:00Z").0, "2026-11-23T00:00:00Z");
        let month = bounds(Window::Month, "America/New_York", "2026-11-15T00:00:00Z");
        assert_eq!(month, ("2026-11-01T04:00:00Z".into(), "2026-12-01T05:00:00Z".into()));
    }

    #[test]
    fn without_a_window_there_is_one_for_all_time() {
        assert_eq!(Window::None.bounds(&Zone::UTC, Timestamp::from_millis(i64::MAX)), (Timestamp::EPOCH, None));
    }

    #[test]
    fn absurd_clocks_do_not_panic() {
        for ms in [i64::MIN, -1, 0, i64::MAX] {
            for w in [Window::Day, Window::Week, Window::Month] {
                let (from, to) = w.bounds(&"Pacific/Apia".parse().expect("a zone"), Timestamp::from_millis(ms));
                assert!(to.is_some_and(|to| from < to), "{w:?} {ms}");
            }
        }
    }

    #[test]
    fn unknown_zones_are_refused() {
        for bad in ["", "Mars/Base", "+05:30", "../../etc/passwd"] {
            assert!(bad.parse::<Zone>().is_err(), "{bad}");
        }
    }
}
