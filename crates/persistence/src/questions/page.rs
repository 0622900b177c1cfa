//! Groups in pages.

use std::fmt;
use std::str::FromStr;

use analytics::{Bucket, Dimension};
use kernel::Timestamp;
use serde_json::Value as Json;

use super::{Group, Inquiry, Key, QuestionFilter};
use crate::{BadCursor, StoreError};

/// A place in a list of groups, and the range that the list is about: one that reaches to the present stays as it was when
/// its first page was read. Written and read as an opaque text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCursor {
    /// The first instant asked about.
    pub from: Timestamp,
    /// The first instant that is no longer asked about.
    pub to: Timestamp,
    /// The first instant of the bucket of the last group that was given.
    pub bucket: Timestamp,
    /// Its values.
    pub key: Vec<Key>,
}

impl fmt::Display for GroupCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.iter().map(|value| match value {
            Key::None => Json::Null,
            Key::Int(number) => Json::from(*number),
            Key::Text(text) => Json::from(text.as_str()),
        });
        let [from, to, bucket] = [self.from, self.to, self.bucket].map(Timestamp::millis);
        let json = Json::from(vec![from.into(), to.into(), bucket.into(), Json::Array(key.collect())]);
        f.write_str(&hex::encode(json.to_string()))
    }
}

impl FromStr for GroupCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let bytes = hex::decode(text).map_err(|_| BadCursor)?;
        let (from, to, bucket, key): (i64, i64, i64, Vec<Json>) =
            serde_json::from_slice(&bytes).map_err(|_| BadCursor)?;
        let time = |ms: i64| {
            let at = Timestamp::from_millis(ms);
            (Timestamp::EPOCH..=Timestamp::MAX).contains(&at).then_some(at).ok_or(BadCursor)
        };
        let value = |json: Json| match json {
            Json::Null => Ok(Key::None),
            Json::Number(number) => number.as_i64().map(Key::Int).ok_or(BadCursor),
            Json::String(text) => Ok(Key::Text(text)),
            _ => Err(BadCursor),
        };
        let key = key.into_iter().map(value).collect::<Result<_, _>>()?;
        Ok(Self { from: time(from)?, to: time(to)?, bucket: time(bucket)?, key })
    }
}

/// Some groups, and whether there are more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPage {
    /// The groups.
    pub groups: Vec<Group>,
    /// Whether there are more after them.
    pub more: bool,
}

impl Inquiry {
    /// At most `limit` groups after a place, which is the first instant of a bucket and a key; in the order of the
    /// buckets, then of the keys. Only as many buckets are summed up as the page needs.
    pub async fn group_page(
        &mut self,
        filter: &QuestionFilter,
        by: &[Dimension],
        buckets: &[Bucket],
        after: Option<(Timestamp, &[Key])>,
        limit: usize,
    ) -> Result<GroupPage, StoreError> {
        let mut next = after.map_or(0, |(start, _)| buckets.partition_point(|bucket| bucket.start < start));
        let mut groups: Vec<Group> = Vec::new();
        // Without dimensions a bucket is one group
        let mut step = if by.is_empty() { limit.saturating_add(1) } else { 1 };
        let first = next;
        // How many groups there were in how much time
        let (mut seen, mut covered) = (0, 0);
        while next < buckets.len() && groups.len() <= limit {
            let end = buckets.len().min(next.saturating_add(step));
            let ranges: Vec<_> = buckets[next..end].iter().map(|bucket| (bucket.from, bucket.to)).collect();
            let found = self.sums(filter, by, &ranges).await?;
            seen += found.len() as i64;
            covered += ranges.iter().map(|(from, to)| to.since(*from)).sum::<i64>();
            for mut group in found {
                group.bucket += next;
                let place = (buckets[group.bucket].start, group.key.as_slice());
                if after.is_none_or(|after| place > after) {
                    groups.push(group);
                }
            }
            next = end;
            // As many buckets more as the time so far says are needed, but not many times as many at once. The first one may be
            // the last seconds of a day
            let missing = limit.saturating_add(1).saturating_sub(groups.len());
            let length = buckets.get(next).map_or(1, |bucket| bucket.to.since(bucket.from).max(1));
            step = needed(missing, seen, covered, length).clamp(1, (next - first) * 4);
        }
        let more = groups.len() > limit;
        groups.truncate(limit);
        Ok(GroupPage { groups, more })
    }
}

/// How many buckets of this length have so many groups more, if so many were seen in the time that was covered.
fn needed(missing: usize, seen: i64, covered: i64, length: i64) -> usize {
    let [missing, seen, covered, length] =
        [i64::try_from(missing).unwrap_or(i64::MAX), seen, covered, length].map(i128::from);
    let needed = (missing * covered).checked_div(seen * length).map_or(i128::MAX, |buckets| buckets + 1);
    usize::try_from(needed).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use kernel::Timestamp;

    use super::{GroupCursor, Key, needed};

    #[test]
    fn the_end_of_a_day_says_how_much_a_whole_one_has() {
        const DAY: i64 = 86_400_000;
        assert_eq!(needed(991, 10, 30_000, DAY), 1, "thirty seconds of a day had ten");
        assert_eq!(needed(990, 10, DAY, DAY), 100);
        assert_eq!(needed(990, 0, DAY, DAY), usize::MAX, "nothing is known");
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is_one() {
        let at = Timestamp::from_millis;
        let key = vec![Key::Text("gpt \"5\" ü".to_owned()), Key::None, Key::Int(-3)];
        let cursor = GroupCursor { from: at(1), to: at(3), bucket: at(2), key };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in
            ["", "zz", "5b5d", &hex::encode("[1,2,3]"), &hex::encode("[1,2,3,[true]]"), &hex::encode("[-1,2,3,[]]")]
        {
            assert!(bad.parse::<GroupCursor>().is_err(), "{bad}");
        }
    }
}
