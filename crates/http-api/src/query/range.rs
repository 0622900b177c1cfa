//! Time ranges: `from` inclusive, `to` exclusive.

use kernel::{Timestamp, Zone};

use super::QueryReader;

/// A range of time asked for; open where an end is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The first instant in it.
    pub from: Option<Timestamp>,
    /// The first instant after it.
    pub to: Option<Timestamp>,
    /// The zone that days are counted in; UTC unless `time_zone` was given.
    pub zone: Zone,
}

pub(super) fn read(q: &mut QueryReader<'_>) -> TimeRange {
    let zone = q.read(&["time_zone"], |name| name.parse::<Zone>().map_err(|error| error.to_string()));
    let zone = zone.unwrap_or(Zone::UTC);
    let from = q.read(&["from", "start_date"], |text| instant(text, &zone, Edge::Start));
    let to = q.read(&["to", "end_date"], |text| instant(text, &zone, Edge::End));
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        q.error("from", "must not be after to");
    }
    TimeRange { from, to, zone }
}

#[derive(Clone, Copy)]
enum Edge {
    Start,
    End,
}

/// Milliseconds, RFC 3339, or a date in the zone; a bare date as the end means the end of that day.
fn instant(text: &str, zone: &Zone, edge: Edge) -> Result<Timestamp, String> {
    let why = "must be milliseconds since 1970, an RFC 3339 time or a date";
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let ms = text.parse::<i64>().ok().map(Timestamp::from_millis);
        return ms.filter(|t| *t <= Timestamp::MAX).ok_or_else(|| why.to_owned());
    }
    // A `+` that was not encoded has become a space
    let text = text.replace(' ', "+");
    if let Some(instant) = Timestamp::from_rfc3339(&text) {
        let in_range = (Timestamp::EPOCH..=Timestamp::MAX).contains(&instant);
        return if in_range { Ok(instant) } else { Err(why.to_owned()) };
    }
    date(&text, zone, edge).filter(|t| (Timestamp::EPOCH..=Timestamp::MAX).contains(t)).ok_or_else(|| why.to_owned())
}

fn date(text: &str, zone: &Zone, edge: Edge) -> Option<Timestamp> {
    if text.len() != 10 {
        return None;
    }
    let date: jiff::civil::Date = text.parse().ok()?;
    let day = match edge {
        Edge::Start => date,
        Edge::End => date.tomorrow().ok()?,
    };
    let start = day.to_zoned_datetime(zone.as_jiff().clone()).ok()?;
    Some(Timestamp::from_millis(start.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::super::Query;

    fn range(text: &str) -> Option<(Option<String>, Option<String>)> {
        let query = Query(text.to_owned());
        let mut q = query.reader();
        let range = q.time_range();
        let range = q.finish(range).ok()?;
        Some((range.from.map(|t| t.to_rfc3339()), range.to.map(|t| t.to_rfc3339())))
    }

    #[test]
    fn instants_are_milliseconds_or_rfc3339() {
        let read = range("from=1000&to=2026-03-01T12:00:00%2B01:00").expect("valid");
        assert_eq!(read, (Some("1970-01-01T00:00:01Z".into()), Some("2026-03-01T11:00:00Z".into())));
        let read = range("to=2026-03-01T12:00:00+01:00").expect("a plus sign that was not encoded");
        assert_eq!(read.1.as_deref(), Some("2026-03-01T11:00:00Z"));
    }

    #[test]
    fn dates_are_whole_days_of_the_zone() {
        let read = range("start_date=2026-03-28&end_date=2026-03-29&time_zone=Europe/Zurich").expect("valid");
        let expected = (Some("2026-03-27T23:00:00Z".into()), Some("2026-03-29T22:00:00Z".into()));
        assert_eq!(read, expected, "the last day is in it, though it has 23 hours");
        assert_eq!(range("from=2026-01-01").expect("valid").0.as_deref(), Some("2026-01-01T00:00:00Z"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in
            ["from=yesterday", "from=2026-02-30", "from=-5", "from=99999999999999999", "time_zone=Mars", "from=2&to=1"]
        {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
