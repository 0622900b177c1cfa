//! Reading the audit log and checking its chain. Records are written by the commit of a [`Work`](crate::Work).

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
    /// What this user did.
    pub user: Option<UserId>,
    /// Done to this kind of thing.
    pub resource_type: Option<String>,
    /// Done to this thing.
    pub resource_id: Option<String>,
    /// One of these actions.
    pub operations: Vec<String>,
    /// Recorded at or after this.
    pub from: Option<Timestamp>,
    /// Recorded before this.
    pub to: Option<Timestamp>,
}

/// The end of the audit chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// How many entries there are.
    pub seq: i64,
    /// The hash of the last; zeros before the first.
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
    OUTSIDE = "SELECT (SELECT MIN(seq) FROM audit WHERE seq < 1), (SELECT MIN(seq) FROM audit WHERE seq > $1)";
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
        head_from_row(self.db.row(&HEAD, args![]).await?)
    }

    /// Recomputes the audit chain from entry `from` (1 where not given) to entry `to` (the last), in one picture of the
    /// database, a bounded number of entries at a time. Stops at the first bad one.
    ///
    /// An entry is bad if its hash is not that of its contents, if it does not follow the one before it, if a place is
    /// empty, or if the chain does not end where the head says; the last is asked only where `to` reaches the end.
    pub async fn verify_audit(&self, from: Option<i64>, to: Option<i64>) -> Result<AuditCheck, StoreError> {
        let mut tx = self.db.begin_read().await?;
        let head = head_from_row(tx.row(&HEAD, args![]).await?)?;
        let first_seq = from.unwrap_or(1).max(1);
        let last_seq = to.unwrap_or(head.seq).min(head.seq);
        let mut check = AuditCheck { checked: 0, first_seq, last_seq, head, bad: None };
        let row = tx.row(&OUTSIDE, args![head.seq]).await?;
        let outside = row.map(|row| Ok::<_, StoreError>((row.opt_int(0)?, row.opt_int(1)?))).transpose()?;
        let (before, beyond) = outside.unwrap_or_default();
        if let Some(seq) = before.filter(|_| first_seq == 1) {
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
    filter.and_if("user_id = ?", wanted.user.as_ref().map(UserId::as_str));
    filter.and_if("resource_type = ?", wanted.resource_type.as_deref());
    filter.and_if("resource_id = ?", wanted.resource_id.as_deref());
    filter.and_one_of("operation", wanted.operations.iter().map(String::as_str));
    filter.and_if("recorded_at >= ?", wanted.from).and_if("recorded_at < ?", wanted.to);
    filter.and_if("seq < ?", after.map(|cursor| cursor.0));
    let head = format!("SELECT {COLUMNS} FROM audit");
    filter.statement(&head, " ORDER BY seq DESC LIMIT ?", [(i64::from(limit) + 1).into()])
}

async fn check_stretch(tx: &mut Tx, check: &mut AuditCheck) -> Result<Option<(i64, &'static str)>, StoreError> {
    let mut last = check.first_seq - 1;
    let mut hash = match last {
        0 => [0; 32],
        _ => match tx.row(&HASH_AT, args![last]).await? {
            Some(row) => row.hash(0)?,
            None if check.first_seq > check.last_seq => return Ok(None),
            None => return Ok(Some((last, "the entry is missing"))),
        },
    };
    let head = format!("SELECT {COLUMNS} FROM audit");
    while last < check.last_seq {
        let mut filter = Filter::default();
        filter.and("seq > ? AND seq <= ?", [last.into(), check.last_seq.into()]);
        let (sql, values) = filter.statement(&head, " ORDER BY seq LIMIT ?", [CHUNK.into()]);
        let rows = tx.rows_of(sql, values).await?;
        if rows.is_empty() {
            return Ok(Some((last + 1, "the entry is missing")));
        }
        for row in rows {
            let seq = row.int(0)?;
            if seq != last + 1 {
                return Ok(Some((last + 1, "the entry is missing")));
            }
            check.checked += 1;
            let Ok(entry) = entry_from_row(&row) else {
                return Ok(Some((seq, "the entry cannot be read")));
            };
            if entry.prev_hash != hash {
                return Ok(Some((seq, "the entry does not follow the one before it")));
            }
            if entry.expected_hash() != entry.hash {
                return Ok(Some((seq, "the hash is not that of the contents")));
            }
            (last, hash) = (seq, entry.hash);
        }
    }
    let at_end = check.last_seq == check.head.seq && check.first_seq <= check.last_seq.max(1);
    if at_end && hash != check.head.hash {
        return Ok(Some((last, "the chain does not end where the head says")));
    }
    Ok(None)
}

fn head_from_row(row: Option<Row>) -> Result<AuditHead, StoreError> {
    let row = row.ok_or_else(|| StoreError::Corrupt("the table of heads is empty".to_owned()))?;
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
