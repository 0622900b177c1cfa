//! Facts are kept for a while; what was added up of them stays.

use analytics::Level;
use kernel::Timestamp;

use super::names::hash_of;
use crate::db::{args, statements};
use crate::rows::Rows;
use crate::{Store, StoreError};

/// Facts are kept at least so long, milliseconds: longer than an event may be late, so that none comes to a time whose
/// facts are gone.
pub const FACTS_KEPT_AT_LEAST_MS: i64 = 40 * 86_400_000;

statements! {
    LOCK = "SELECT r.facts_from FROM rollup_head AS r WHERE r.id = 1 {for_update}";
    FROM = "UPDATE rollup_head SET facts_from = $1 WHERE id = 1 AND facts_from < $1";
    OLD = "SELECT f.id, s.agent_id, f.event_id, f.request_id, x.report_request_id FROM facts AS f CROSS JOIN series AS s \
        LEFT JOIN fact_extras AS x ON x.fact_id = f.id WHERE f.occurred_at / 10000 <= $1 / 10000 \
        AND f.occurred_at < $1 AND s.no = f.series_no ORDER BY f.occurred_at / 10000, f.occurred_at, f.id LIMIT $2";
    DROP_IDS = "DELETE FROM fact_ids WHERE (agent_id, hash, fact_id) IN (SELECT {int 0}, {int 1}, {int 2} FROM {rows})";
    DROP_EXTRAS = "DELETE FROM fact_extras WHERE fact_id IN (SELECT {int 0} FROM {rows})";
    DROP_FACTS = "DELETE FROM facts WHERE id IN (SELECT {int 0} FROM {rows})";
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![("OLD", &*OLD), ("DROP_IDS", &*DROP_IDS), ("DROP_EXTRAS", &*DROP_EXTRAS), ("DROP_FACTS", &*DROP_FACTS)]
}

impl Store {
    /// Forgets facts of days of UTC that were over before `before`, the oldest first, at most `limit`; returns how many.
    /// Roll-ups and sketches stay. Never takes facts that are younger than [`FACTS_KEPT_AT_LEAST_MS`], nor such as the
    /// sketches or the coarser roll-ups have not taken over yet.
    pub async fn prune_facts(&self, now: Timestamp, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let fold = self.fold().await?;
        let before = before.min(now.plus_millis(-FACTS_KEPT_AT_LEAST_MS));
        let before = Level::Day.floor(before.min(fold.folded.days));
        let mut work = self.begin_aside(now).await?;
        work.tx.row(&LOCK, args![]).await?;
        let rows = work.tx.rows(&OLD, args![before, i64::from(limit)]).await?;
        let (mut ids, mut names) = (Rows::new(), Rows::new());
        for row in &rows {
            let (id, agent) = (row.int(0)?, row.int(1)?);
            if id > fold.sketched {
                break;
            }
            ids.row().int(id);
            for column in 2..5 {
                if let Some(name) = row.opt_text(column)? {
                    names.row().int(agent).int(hash_of(&name)).int(id);
                }
            }
        }
        let count = ids.len() as u64;
        if count == 0 {
            return Ok(0);
        }
        work.tx.run(&FROM, args![before]).await?;
        for (sql, rows) in [(&DROP_IDS, names), (&DROP_EXTRAS, ids.clone()), (&DROP_FACTS, ids)] {
            work.tx.run(sql, args![rows.finish()]).await?;
        }
        work.tx.commit().await?;
        Ok(count)
    }
}
