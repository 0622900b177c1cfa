//! Reading the audit log and checking its chain. Records are written by the commit of a [`Work`](crate::Work), and removed
//! by [`Work::prune_audit`](crate::Work::prune_audit) when their time is over.

use std::sync::Arc;

use kernel::{AgentId, AuditId, Timestamp, UserId};

use crate::audit::{AuditActor, AuditEntry};
use crate::db::{Row, Tx, Value, args, statements};
use crate::filter::Filter;
use crate::slice::{SeqCursor, Slice};
use crate::work::SYSTEM_CHAIN;
use crate::{Store, StoreError};

/// How many entries are checked at a time.
const CHUNK: i64 = 1_000;

/// Which entries. Conditions that are not given do not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// What one of these users did.
    pub users: Vec<UserId>,
    /// Done to one of these kinds of thing.
    pub resource_types: Vec<String>,
    /// Done to one of these things.
    pub resource_ids: Vec<String>,
    /// One of these actions.
    pub operations: Vec<String>,
    /// Recorded at or after this.
    pub from: Option<Timestamp>,
    /// Recorded before this.
    pub to: Option<Timestamp>,
}

/// A place in the audit chain, such as its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// The number of the entry; 0 before the first.
    pub seq: i64,
    /// Its hash; zeros before the first.
    pub hash: [u8; 32],
}

/// What a check of the audit chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditCheck {
    /// How many entries were read, a bad one included.
    pub checked: i64,
    /// The first place checked.
    pub first_seq: i64,
    /// The last place to be checked.
    pub last_seq: i64,
    /// The end of the chain, as recorded beside it.
    pub head: AuditHead,
    /// Where the chain begins: the last entry that was removed because its time was over.
    pub checkpoint: AuditHead,
    /// The first entry that is not as it was written, and why.
    pub bad: Option<(i64, &'static str)>,
}

impl AuditCheck {
    /// Whether everything is as it was written.
    pub const fn is_ok(&self) -> bool {
        self.bad.is_none()
    }
}

const COLUMNS: &str = "seq, id, recorded_at, operation, resource_type, resource_id, user_id, user_role, agent_id, \
    ip_address, user_agent, request_id, before_state, after_state, metadata, prev_hash, hash";

statements! {
    HEAD = "SELECT audit_seq, audit_hash FROM heads WHERE id = 1";
    HASH_AT = "SELECT hash FROM audit WHERE seq = $1";
    CHECKPOINT = "SELECT seq, hash FROM audit_checkpoint WHERE id = 1";
    OUTSIDE = "SELECT (SELECT MIN(seq) FROM audit WHERE seq <= $2), (SELECT MIN(seq) FROM audit WHERE seq > $1)";
}

impl Store {
    /// The entries, youngest first, at most `limit` after the cursor.
    pub async fn audit_log(
        &self,
        wanted: &AuditFilter,
        after: Option<SeqCursor>,
        limit: u32,
    ) -> Result<Slice<AuditEntry, SeqCursor>, StoreError> {
        let (sql, args) = list_question(wanted, after, limit);
        let rows = self.db.rows_of(sql, args).await?;
        let entries = rows.iter().map(entry_from_row).collect::<Result<Vec<AuditEntry>, StoreError>>()?;
        Ok(Slice::cut(entries, limit, |entry| SeqCursor(entry.seq)))
    }

    /// The end of the audit chain.
    pub async fn audit_head(&self) -> Result<AuditHead, StoreError> {
        place_from_row(self.db.row(&HEAD, args![]).await?)
    }

    /// Recomputes the audit chain from entry `from` (the first where not given) to entry `to` (the last), in one picture of
    /// the database, a bounded number of entries at a time. Stops at the first bad one. Entries that were removed because
    /// their time was over are not asked for.
    ///
    /// An entry is bad if its hash is not that of its contents, if it does not follow the one before it, if a place is
    /// empty, if the chain does not end where the head says, or if it does not begin where its last record of a removal
    /// says; the ends are asked only where the stretch reaches them.
    pub async fn verify_audit(&self, from: Option<i64>, to: Option<i64>) -> Result<AuditCheck, StoreError> {
        let mut tx = self.db.begin_read().await?;
        let head = place_from_row(tx.row(&HEAD, args![]).await?)?;
        let checkpoint = place_from_row(tx.row(&CHECKPOINT, args![]).await?)?;
        let beginning = checkpoint.seq + 1;
        let first_seq = from.unwrap_or(beginning).max(beginning);
        let last_seq = to.unwrap_or(head.seq).min(head.seq);
        let mut check = AuditCheck { checked: 0, first_seq, last_seq, head, checkpoint, bad: None };
        if checkpoint.seq > head.seq {
            check.bad = Some((checkpoint.seq, "the log begins after its end"));
            return Ok(check);
        }
        let row = tx.row(&OUTSIDE, args![head.seq, checkpoint.seq]).await?;
        let outside = row.map(|row| Ok::<_, StoreError>((row.opt_int(0)?, row.opt_int(1)?))).transpose()?;
        let (before, beyond) = outside.unwrap_or_default();
        if let Some(seq) = before.filter(|_| first_seq == beginning) {
            check.bad = Some((seq, "the entry stands before the first"));
            return Ok(check);
        }
        check.bad = check_stretch(&mut tx, &mut check).await?;
        if check.bad.is_none() && last_seq == head.seq {
            check.bad = beyond.map(|seq| (seq, "the entry stands beyond the end of the chain"));
        }
        Ok(check)
    }
}

/// The question for a stretch of the log, and one entry more.
pub(crate) fn list_question(wanted: &AuditFilter, after: Option<SeqCursor>, limit: u32) -> (Arc<str>, Vec<Value>) {
    let mut filter = Filter::default();
    filter.and_one_of("user_id", wanted.users.iter().map(UserId::as_str));
    filter.and_one_of("resource_type", wanted.resource_types.iter().map(String::as_str));
    filter.and_one_of("resource_id", wanted.resource_ids.iter().map(String::as_str));
    filter.and_one_of("operation", wanted.operations.iter().map(String::as_str));
    filter.and_if("recorded_at >= ?", wanted.from).and_if("recorded_at < ?", wanted.to);
    filter.and_if("seq < ?", after.map(|cursor| cursor.0));
    let head = format!("SELECT {COLUMNS} FROM audit");
    filter.statement(&head, " ORDER BY seq DESC LIMIT ?", [(i64::from(limit) + 1).into()])
}

/// A walk along the chain.
pub(crate) struct Walk {
    /// The entry that was last found to be sound.
    pub(crate) place: AuditHead,
    /// How many entries were read, a bad one included.
    pub(crate) checked: i64,
    /// What the last record of a removal says was removed.
    removed: Option<AuditHead>,
}

impl Walk {
    pub(crate) const fn from(place: AuditHead) -> Self {
        Self { place, checked: 0, removed: None }
    }

    /// The next step: an entry as it is stored. Says what is wrong with it, if anything is.
    pub(crate) fn step(&mut self, row: &Row) -> Result<Result<AuditEntry, (i64, &'static str)>, StoreError> {
        let (seq, expected) = (row.int(0)?, self.place.seq + 1);
        if seq != expected {
            return Ok(Err((expected, "the entry is missing")));
        }
        self.checked += 1;
        let Ok(entry) = entry_from_row(row) else {
            return Ok(Err((seq, "the entry cannot be read")));
        };
        if entry.prev_hash != self.place.hash {
            return Ok(Err((seq, "the entry does not follow the one before it")));
        }
        if entry.expected_hash() != entry.hash {
            return Ok(Err((seq, "the hash is not that of the contents")));
        }
        self.place = AuditHead { seq, hash: entry.hash };
        self.removed = removal(&entry).or(self.removed);
        Ok(Ok(entry))
    }
}

/// The question for the entries after a place, in their order.
pub(crate) fn following(after: i64, to: i64, limit: i64) -> (Arc<str>, Vec<Value>) {
    let mut filter = Filter::default();
    filter.and("seq > ? AND seq <= ?", [after.into(), to.into()]);
    filter.statement(&format!("SELECT {COLUMNS} FROM audit"), " ORDER BY seq LIMIT ?", [limit.into()])
}

async fn check_stretch(tx: &mut Tx, check: &mut AuditCheck) -> Result<Option<(i64, &'static str)>, StoreError> {
    let AuditCheck { first_seq, last_seq, head, checkpoint, .. } = *check;
    let before = first_seq - 1;
    let hash = match before {
        _ if before == checkpoint.seq => checkpoint.hash,
        _ => match tx.row(&HASH_AT, args![before]).await? {
            Some(row) => row.hash(0)?,
            None if first_seq > last_seq => return Ok(None),
            None => return Ok(Some((before, "the entry is missing"))),
        },
    };
    let mut walk = Walk::from(AuditHead { seq: before, hash });
    while walk.place.seq < last_seq {
        let (sql, values) = following(walk.place.seq, last_seq, CHUNK);
        let rows = tx.rows_of(sql, values).await?;
        if rows.is_empty() {
            return Ok(Some((walk.place.seq + 1, "the entry is missing")));
        }
        for row in rows {
            let step = walk.step(&row)?;
            check.checked = walk.checked;
            if let Err(bad) = step {
                return Ok(Some(bad));
            }
        }
    }
    if last_seq == head.seq && first_seq <= last_seq + 1 {
        if walk.place.hash != head.hash {
            return Ok(Some((last_seq, "the chain does not end where the head says")));
        }
        if before == checkpoint.seq {
            return Ok(wrong_beginning(checkpoint, walk.removed));
        }
    }
    Ok(None)
}

/// Every removal is recorded in the log itself, so that entries cannot be taken away by moving the checkpoint.
fn wrong_beginning(checkpoint: AuditHead, removed: Option<AuditHead>) -> Option<(i64, &'static str)> {
    match removed {
        None if checkpoint.seq == 0 => None,
        None => Some((1, "the entry is missing, and the log has no record of its removal")),
        Some(removed) if removed == checkpoint => None,
        Some(removed) if removed.seq < checkpoint.seq => {
            Some((removed.seq + 1, "the entry is missing, and the log has no record of its removal"))
        }
        Some(_) => Some((checkpoint.seq, "the log does not begin where its last removal ended")),
    }
}

/// The operation of an entry that records a removal of older ones.
pub(crate) const PRUNED: &str = "AUDIT_PRUNED";

/// What an entry says was removed, if it records a removal.
fn removal(entry: &AuditEntry) -> Option<AuditHead> {
    if entry.operation != PRUNED {
        return None;
    }
    let metadata: serde_json::Value = serde_json::from_str(&entry.metadata).ok()?;
    let hash = hex::decode(metadata["hash"].as_str()?).ok()?;
    Some(AuditHead { seq: metadata["through_seq"].as_i64()?, hash: hash.try_into().ok()? })
}

/// Reads a place of the chain: its number and its hash.
pub(crate) fn place_from_row(row: Option<Row>) -> Result<AuditHead, StoreError> {
    let row = row.ok_or_else(|| StoreError::Corrupt("a row that is always there is missing".to_owned()))?;
    Ok(AuditHead { seq: row.int(0)?, hash: row.hash(1)? })
}

/// Reads [`COLUMNS`].
fn entry_from_row(row: &Row) -> Result<AuditEntry, StoreError> {
    let agent = row.opt_int(8)?.map(AgentId);
    if agent == Some(SYSTEM_CHAIN) {
        // Hashed like no agent at all, and never written
        return Err(StoreError::Corrupt("an audit entry names agent 0".to_owned()));
    }
    Ok(AuditEntry {
        seq: row.int(0)?,
        id: AuditId::new(row.text(1)?),
        recorded_at: row.time(2)?,
        operation: row.text(3)?,
        resource_type: row.text(4)?,
        resource_id: row.opt_text(5)?,
        actor: AuditActor {
            user: row.opt_text(6)?.map(UserId::new),
            role: row.opt_text(7)?,
            agent,
            ip_address: row.opt_text(9)?,
            user_agent: row.opt_text(10)?,
            request_id: row.opt_text(11)?,
        },
        before: row.opt_text(12)?,
        after: row.opt_text(13)?,
        metadata: row.text(14)?,
        prev_hash: row.hash(15)?,
        hash: row.hash(16)?,
    })
}
