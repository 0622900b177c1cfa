//! Named ranges of time.

use kernel::{Timestamp, Window, Zone};

/// A named range of time, as questions give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// Midnight to now.
    Today,
    /// The whole day before.
    Yesterday,
    /// The last 168 hours.
    Last7Days,
    /// The last 720 hours.
    Last30Days,
    /// From the first of the month to now.
    ThisMonth,
    /// The whole month before.
    LastMonth,
    /// Everything up to now.
    AllTime,
}

impl Period {
    /// Every period with its spellings, the first of which is the one in answers.
    const SPELLINGS: [(Self, &'static [&'static str]); 7] = [
        (Self::Today, &["today"]),
        (Self::Yesterday, &["yesterday"]),
        (Self::Last7Days, &["last-7-days", "last7-days"]),
        (Self::Last30Days, &["last-30-days", "last30-days"]),
        (Self::ThisMonth, &["this-month", "thismonth"]),
        (Self::LastMonth, &["last-month", "lastmonth"]),
        (Self::AllTime, &["all-time", "alltime"]),
    ];

    /// Reads any of its spellings.
    pub fn parse(text: &str) -> Option<Self> {
        Self::SPELLINGS.iter().find(|(_, names)| names.contains(&text)).map(|(period, _)| *period)
    }

    /// The spelling in answers.
    pub fn as_str(self) -> &'static str {
        let names = Self::SPELLINGS.iter().find(|(period, _)| *period == self).map(|(_, names)| names[0]);
        names.unwrap_or("all-time")
    }

    /// The first instant in it and the first after it, at the instant `now`, for days of `zone`.
    pub fn range(self, zone: &Zone, now: Timestamp) -> (Timestamp, Timestamp) {
        const HOUR_MS: i64 = 3_600_000;
        let start = |window: Window, at: Timestamp| window.bounds(zone, at).0;
        let whole_before = |window: Window| {
            let end = start(window, now);
            (start(window, end.plus_millis(-1)), end)
        };
        match self {
            Self::Today => (start(Window::Day, now), now),
            Self::Yesterday => whole_before(Window::Day),
            Self::Last7Days => (now.plus_millis(-168 * HOUR_MS), now),
            Self::Last30Days => (now.plus_millis(-720 * HOUR_MS), now),
            Self::ThisMonth => (start(Window::Month, now), now),
            Self::LastMonth => whole_before(Window::Month),
            Self::AllTime => (Timestamp::EPOCH, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel::{Timestamp, Zone};

    use super::Period;

    fn range(period: Period, zone: &str, now: &str) -> (String, String) {
        let zone: Zone = zone.parse().expect("a zone");
        let (from, to) = period.range(&zone, Timestamp::from_rfc3339(now).expect("a time"));
        (from.to_rfc3339(), to.to_rfc3339())
    }

    #[test]
    fn days_and_months_are_the_callers() {
        let yesterday = range(Period::Yesterday, "Asia/Kolkata", "2026-03-01T00:00:00Z");
        assert_eq!(yesterday, ("2026-02-27T18:30:00Z".into(), "2026-02-28T18:30:00Z".into()));
        let month = range(Period::LastMonth, "America/New_York", "2026-03-31T12:00:00Z");
        assert_eq!(month, ("2026-02-01T05:00:00Z".into(), "2026-03-01T05:00:00Z".into()));
    }

    #[test]
    fn a_day_with_a_dst_change_has_its_own_length() {
        let day = range(Period::Yesterday, "Europe/Zurich", "2026-03-30T10:00:00Z");
        assert_eq!(day, ("2026-03-28T23:00:00Z".into(), "2026-03-29T22:00:00Z".into()));
    }

    #[test]
    fn every_spelling_is_read_and_the_first_is_answered() {
        assert_eq!(Period::parse("last7-days").map(Period::as_str), Some("last-7-days"));
        assert_eq!(Period::parse("alltime").map(Period::as_str), Some("all-time"));
        assert_eq!(Period::parse("next-week"), None);
    }
}
