//! Removing audit entries whose time is over, so that what stays can still be checked.
//!
//! The chain then begins at a *checkpoint*: number and hash of the last entry that was removed. It is moved in the
//! transaction that removes the entries, and that transaction also records the removal in the log itself: whoever takes
//! entries away and moves the checkpoint would have to write that record too, which does not fit in the chain.
//!
//! What does not verify is not removed: it is evidence.

use kernel::Timestamp;
use serde_json::json;

use crate::audit::{AuditActor, AuditRecord};
use crate::audit_log::{PRUNED, Walk, following, place_from_row};
use crate::db::{args, statements};
use crate::{AuditHead, StoreError, Work};

/// What became of a step of pruning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditPruned {
    /// So many entries are gone; fewer than asked for when no more are old enough.
    Removed(u64),
    /// This entry is not as it was written, and why: it and everything after it stays until somebody has looked into it.
    Kept(i64, &'static str),
}

statements! {
    LOCK_CHECKPOINT = "SELECT seq, hash FROM audit_checkpoint WHERE id = 1 {for_update}";
    MOVE_CHECKPOINT = "UPDATE audit_checkpoint SET seq = $1, hash = $2, recorded_at = $3, pruned_at = $4 WHERE id = 1";
    REMOVE = "DELETE FROM audit WHERE seq > $1 AND seq <= $2";
}

impl Work {
    /// Removes the oldest entries that were recorded before `before`, at most `limit`, and records that. Bounded work,
    /// whatever there is to remove; entries go in the order of their numbers, up to the first that is young enough.
    pub async fn prune_audit(&mut self, before: Timestamp, limit: u32) -> Result<AuditPruned, StoreError> {
        // Held to the end: another server that prunes at the same time goes on from where this one stops
        let start = place_from_row(self.tx.row(&LOCK_CHECKPOINT, args![]).await?)?;
        let (sql, values) = following(start.seq, i64::MAX, i64::from(limit));
        let rows = self.tx.rows_of(sql, values).await?;
        let (mut walk, mut last) = (Walk::from(start), None);
        let mut wrong = None;
        for row in &rows {
            match walk.step(row)? {
                Ok(entry) if entry.recorded_at < before => last = Some((walk.place, entry.recorded_at)),
                Ok(_) => break,
                Err(bad) => {
                    wrong = Some(bad);
                    break;
                }
            }
        }
        let Some((end, recorded_at)) = last else {
            return Ok(wrong.map_or(AuditPruned::Removed(0), |(seq, why)| AuditPruned::Kept(seq, why)));
        };
        let removed = self.tx.run(&REMOVE, args![start.seq, end.seq]).await?;
        self.tx.run(&MOVE_CHECKPOINT, args![end.seq, end.hash.to_vec(), recorded_at, self.now]).await?;
        self.audit(record(start, end, before));
        Ok(AuditPruned::Removed(removed))
    }
}

fn record(start: AuditHead, end: AuditHead, before: Timestamp) -> AuditRecord {
    let mut record = AuditRecord::new(PRUNED, "audit", end.seq, &AuditActor::default());
    record.metadata = json!({
        "from_seq": start.seq + 1,
        "through_seq": end.seq,
        "hash": hex::encode(end.hash),
        "recorded_before": before.millis(),
    });
    record
}
