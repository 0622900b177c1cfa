//! Removing audit entries whose time is over, and noticing those that were removed otherwise.

use kernel::Timestamp;
use persistence::{AuditActor, AuditFilter, AuditPruned, AuditRecord};

use crate::support::{START, TestStore};

/// Ten entries, one a second.
async fn ten_entries(t: &TestStore) {
    for n in 1..=10 {
        let mut work = t.begin().await;
        work.audit(AuditRecord::new("AGENT_UPDATED", "agent", n, &AuditActor::default()));
        t.commit(work).await;
        t.clock.advance_millis(1_000);
    }
}

/// The time before which there are `n` of them.
fn before(n: i64) -> Timestamp {
    START.plus_millis(n * 1_000)
}

async fn prune(t: &TestStore, before: Timestamp, limit: u32) -> AuditPruned {
    let mut work = t.begin().await;
    let pruned = work.prune_audit(before, limit).await.expect("pruned");
    t.commit(work).await;
    pruned
}

async fn places(t: &TestStore) -> Vec<i64> {
    let slice = t.store.audit_log(&AuditFilter::default(), None, 100).await.expect("read");
    slice.rows.iter().rev().map(|entry| entry.seq).collect()
}

async fn verdict(t: &TestStore) -> String {
    let check = t.store.verify_audit(None, None).await.expect("checked");
    check
        .bad
        .map_or_else(|| format!("ok {}..{}", check.first_seq, check.last_seq), |(seq, why)| format!("{seq}: {why}"))
}

on_both_backends! {
    async fn what_is_old_goes_in_steps_and_the_rest_still_verifies(t: TestStore) {
        ten_entries(&t).await;
        assert_eq!(prune(&t, before(5), 3).await, AuditPruned::Removed(3));
        assert_eq!(verdict(&t).await, "ok 4..11");
        assert_eq!(prune(&t, before(5), 3).await, AuditPruned::Removed(2));
        assert_eq!(prune(&t, before(5), 3).await, AuditPruned::Removed(0));
        assert_eq!(places(&t).await, [6, 7, 8, 9, 10, 11, 12], "five, and the records of two removals");
        assert_eq!(verdict(&t).await, "ok 6..12");
        let part = t.store.verify_audit(Some(2), Some(8)).await.expect("checked");
        assert_eq!((part.first_seq, part.checked, part.is_ok()), (6, 3, true));
        let log = t.store.audit_log(&AuditFilter::default(), None, 1).await.expect("read");
        assert_eq!((log.rows[0].operation.as_str(), log.rows[0].actor.user.as_ref()), ("AUDIT_PRUNED", None));
    }

    async fn the_whole_log_may_be_old(t: TestStore) {
        ten_entries(&t).await;
        t.clock.advance_millis(1_000_000);
        assert_eq!(prune(&t, t.now(), 100).await, AuditPruned::Removed(10));
        assert_eq!((places(&t).await, verdict(&t).await), (vec![11], "ok 11..11".to_owned()));
        t.clock.advance_millis(1_000_000);
        assert_eq!(prune(&t, t.now(), 100).await, AuditPruned::Removed(1), "the record of a removal grows old too");
        assert_eq!((places(&t).await, verdict(&t).await), (vec![12], "ok 12..12".to_owned()));
    }

    async fn an_empty_log_has_nothing_to_remove(t: TestStore) {
        assert_eq!(prune(&t, before(100), 10).await, AuditPruned::Removed(0));
        assert_eq!((places(&t).await, verdict(&t).await), (vec![], "ok 1..0".to_owned()));
    }

    async fn a_moved_checkpoint_is_seen(t: TestStore) {
        ten_entries(&t).await;
        prune(&t, before(4), 100).await;
        t.execute("CREATE TABLE kept AS SELECT * FROM audit; CREATE TABLE kept_at AS SELECT * FROM audit_checkpoint").await;
        let after = async |statement: &str| {
            t.execute(statement).await;
            let verdict = verdict(&t).await;
            t.execute("DELETE FROM audit; INSERT INTO audit SELECT * FROM kept; DELETE FROM audit_checkpoint; \
                INSERT INTO audit_checkpoint SELECT * FROM kept_at").await;
            verdict
        };
        // Entries taken away, and the checkpoint moved so that the chain holds
        let cut = "UPDATE audit_checkpoint SET seq = 6, hash = (SELECT hash FROM audit WHERE seq = 6); \
            DELETE FROM audit WHERE seq <= 6";
        assert_eq!(after(cut).await, "5: the entry is missing, and the log has no record of its removal");
        let all = "UPDATE audit_checkpoint SET seq = 11, hash = (SELECT hash FROM audit WHERE seq = 11); DELETE FROM audit";
        assert_eq!(after(all).await, "1: the entry is missing, and the log has no record of its removal");
        assert_eq!(after("UPDATE audit_checkpoint SET seq = 3").await, "4: the entry is missing");
        assert_eq!(after("UPDATE audit_checkpoint SET seq = 5").await, "5: the entry stands before the first");
        assert_eq!(after("UPDATE audit_checkpoint SET seq = 99").await, "99: the log begins after its end");
        let hash = "UPDATE audit_checkpoint SET hash = (SELECT hash FROM audit WHERE seq = 7)";
        assert_eq!(after(hash).await, "5: the entry does not follow the one before it");
        assert_eq!(after("DELETE FROM audit WHERE seq IN (5, 6)").await, "5: the entry is missing");
        assert!(after("DELETE FROM audit WHERE seq = 11").await.starts_with("11: "));
        assert_eq!(verdict(&t).await, "ok 5..11");
    }

    async fn what_does_not_verify_is_not_removed(t: TestStore) {
        ten_entries(&t).await;
        t.execute("UPDATE audit SET user_id = 'user_x' WHERE seq = 3").await;
        assert_eq!(prune(&t, before(8), 100).await, AuditPruned::Removed(2));
        let why = "the hash is not that of the contents";
        assert_eq!(prune(&t, before(8), 100).await, AuditPruned::Kept(3, why));
        assert_eq!(places(&t).await, [3, 4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(verdict(&t).await, format!("3: {why}"));
    }

    async fn two_who_prune_at_once_remove_each_entry_once(t: TestStore) {
        ten_entries(&t).await;
        let (first, second) = tokio::join!(prune(&t, before(6), 4), prune(&t, before(6), 4));
        let removed = [first, second].map(|pruned| match pruned {
            AuditPruned::Removed(n) => n,
            AuditPruned::Kept(..) => 0,
        });
        assert_eq!(removed.iter().sum::<u64>(), 6);
        assert_eq!(verdict(&t).await, "ok 7..12");
    }
}
