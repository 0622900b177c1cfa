//! Calls that failed, by what went wrong.

use std::sync::Arc;

use kernel::Timestamp;

use super::text::Text;
use super::{Inquiry, QuestionFilter};
use crate::StoreError;
use crate::db::{Backend, Value};
use crate::facts::slot;

/// Calls that failed in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the client said; `None` where it said nothing.
    pub error_code: Option<String>,
    /// The kind of provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// How many.
    pub count: i64,
    /// The last one.
    pub last_seen: Timestamp,
}

impl Inquiry {
    /// The calls in `from..to` that failed, the most frequent failure first. Costs as much as there are failures.
    pub async fn failures(
        &mut self,
        filter: &QuestionFilter,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Vec<Failure>, StoreError> {
        let (sql, args) = question(self.tx.backend(), filter, from, to);
        let rows = self.tx.rows_of(sql, args).await?;
        let failure = |row: &crate::db::Row| {
            Ok(Failure {
                error_code: row.opt_text(0)?,
                provider: row.text(1)?,
                model: row.text(2)?,
                count: row.int(3)?,
                last_seen: row.time(4)?,
            })
        };
        let mut found = rows.iter().map(failure).collect::<Result<Vec<_>, StoreError>>()?;
        found.sort_by(|a, b| {
            let place = |f: &Failure| (f.error_code.clone(), f.provider.clone(), f.model.clone());
            b.count.cmp(&a.count).then_with(|| place(a).cmp(&place(b)))
        });
        Ok(found)
    }
}

fn question(backend: Backend, filter: &QuestionFilter, from: Timestamp, to: Timestamp) -> (Arc<str>, Vec<Value>) {
    let mut text = Text::new(backend);
    text.push(
        "SELECT x.error_code, COALESCE(x.provider, s.provider), COALESCE(x.model, s.model), \
        CAST(COUNT(*) AS BIGINT), MAX(f.occurred_at) FROM facts AS f JOIN series AS s ON s.no = f.series_no \
        LEFT JOIN fact_extras AS x ON x.fact_id = f.id WHERE f.flags >= 4 AND f.occurred_at / 10000 >= ",
    );
    text.bind(slot(from)).push(" AND f.occurred_at / 10000 <= ").bind(slot(to));
    text.push(" AND f.occurred_at >= ").bind(from).push(" AND f.occurred_at < ").bind(to).series_of(filter, " AND ");
    text.push(" GROUP BY x.error_code, COALESCE(x.provider, s.provider), COALESCE(x.model, s.model)");
    text.finish()
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn question_for_plans(filter: &QuestionFilter) -> (&'static str, Arc<str>) {
    ("failures", question(Backend::Sqlite, filter, Timestamp::EPOCH, Timestamp::MAX).0)
}
