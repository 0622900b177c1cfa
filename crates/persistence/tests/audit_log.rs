//! The audit log: reading it, and noticing what was done to it.

use kernel::{AgentId, UserId};
use persistence::{AuditActor, AuditFilter, AuditRecord, Backend, SeqCursor};
use serde_json::json;

use crate::support::{START, TestStore};

fn actor(user: &str) -> AuditActor {
    AuditActor {
        user: Some(UserId::new(user)),
        role: Some("admin".into()),
        agent: Some(AgentId(7)),
        ip_address: Some("203.0.113.7".into()),
        user_agent: Some("curl/8 \"x\"".into()),
        request_id: Some("req_1".into()),
    }
}

async fn write(t: &TestStore, records: impl IntoIterator<Item = AuditRecord>) {
    let mut work = t.begin().await;
    for record in records {
        work.audit(record);
    }
    t.commit(work).await;
    t.clock.advance_millis(1_000);
}

/// Five entries in three commits.
async fn some_records(t: &TestStore) {
    let created =
        AuditRecord::new("AGENT_CREATED", "agent", 1, &actor("user_1")).changed(None, json!({"name": "ü\u{1}"}));
    let deleted = AuditRecord::new("AGENT_DELETED", "agent", 1, &actor("user_2"));
    let system = AuditRecord {
        resource_id: None,
        ..AuditRecord::new("SETTINGS_UPDATED", "settings", "", &AuditActor::default())
    };
    write(t, [created.clone(), system]).await;
    write(t, [deleted.changed(json!({"budget": 5}), json!(null))]).await;
    write(t, [created.clone(), AuditRecord { resource_id: Some("2".into()), ..created }]).await;
}

async fn places(t: &TestStore, filter: AuditFilter) -> Vec<i64> {
    let (mut places, mut cursor): (Vec<i64>, Option<SeqCursor>) = (Vec::new(), None);
    loop {
        let slice = t.store.audit_log(&filter, cursor, 2).await.expect("read");
        places.extend(slice.rows.iter().map(|entry| entry.seq));
        let Some(next) = slice.next else { return places };
        cursor = Some(next);
    }
}

async fn verdict(t: &TestStore) -> String {
    match t.store.verify_audit(None, None).await.expect("checked").bad {
        Some((seq, why)) => format!("{seq}: {why}"),
        None => "ok".to_owned(),
    }
}

on_both_backends! {
    async fn an_entry_is_read_as_it_was_recorded(t: TestStore) {
        some_records(&t).await;
        let slice = t.store.audit_log(&AuditFilter::default(), None, 10).await.expect("read");
        let first = slice.rows.last().expect("five");
        assert_eq!((first.seq, first.operation.as_str(), first.recorded_at), (1, "AGENT_CREATED", START));
        assert_eq!(first.actor, actor("user_1"));
        assert_eq!((first.before.as_deref(), first.after.as_deref()), (None, Some("{\"name\":\"ü\\u0001\"}")));
        let system = &slice.rows[3];
        assert_eq!((&system.actor, system.resource_id.as_deref()), (&AuditActor::default(), None));
        assert_eq!(system.prev_hash, first.hash);
        let head = t.store.audit_head().await.expect("read");
        assert_eq!((head.seq, head.hash), (5, slice.rows[0].hash));
    }

    async fn conditions_on_records_narrow_together(t: TestStore) {
        some_records(&t).await;
        let any = AuditFilter::default;
        assert_eq!(places(&t, any()).await, [5, 4, 3, 2, 1]);
        assert_eq!(places(&t, AuditFilter { users: vec![UserId::new("user_1")], ..any() }).await, [5, 4, 1]);
        assert_eq!(places(&t, AuditFilter { resource_types: vec!["settings".into()], ..any() }).await, [2]);
        assert_eq!(places(&t, AuditFilter { resource_ids: vec!["1".into()], ..any() }).await, [4, 3, 1]);
        let operations = vec!["AGENT_DELETED".to_owned(), "SETTINGS_UPDATED".to_owned()];
        assert_eq!(places(&t, AuditFilter { operations, ..any() }).await, [3, 2]);
        let (from, to) = (Some(START.plus_millis(1_000)), Some(START.plus_millis(2_000)));
        assert_eq!(places(&t, AuditFilter { from, to, ..any() }).await, [3]);
        let (users, resource_ids) = (vec![UserId::new("user_1"), UserId::new("user_2")], vec!["1".into(), "3".into()]);
        assert_eq!(places(&t, AuditFilter { users, resource_ids, ..any() }).await, [4, 3, 1], "many of each");
        let quoted = vec!["x') OR ('1'='1".to_owned()];
        assert!(places(&t, AuditFilter { operations: quoted, ..any() }).await.is_empty());
    }

    async fn an_untouched_log_is_sound_as_a_whole_and_in_parts(t: TestStore) {
        assert_eq!(verdict(&t).await, "ok", "an empty log");
        some_records(&t).await;
        let check = t.store.verify_audit(None, None).await.expect("checked");
        assert_eq!((check.checked, check.first_seq, check.last_seq, check.is_ok()), (5, 1, 5, true));
        let part = t.store.verify_audit(Some(2), Some(4)).await.expect("checked");
        assert_eq!((part.checked, part.first_seq, part.last_seq, part.is_ok()), (3, 2, 4, true));
        let beyond = t.store.verify_audit(Some(4), Some(99)).await.expect("checked");
        assert_eq!((beyond.checked, beyond.last_seq, beyond.is_ok()), (2, 5, true));
        let nothing = t.store.verify_audit(Some(7), None).await.expect("checked");
        assert_eq!((nothing.checked, nothing.is_ok()), (0, true));
    }

    async fn a_change_of_any_column_is_seen(t: TestStore) {
        some_records(&t).await;
        let changes = [
            ("id", "'audit_x'"),
            ("recorded_at", "recorded_at + 1"),
            ("operation", "'AGENT_UPDATED'"),
            ("resource_type", "'user'"),
            ("resource_id", "'9'"),
            ("resource_id", "NULL"),
            ("user_id", "'user_9'"),
            ("user_id", "NULL"),
            ("user_role", "'viewer'"),
            ("agent_id", "8"),
            ("agent_id", "0"),
            ("agent_id", "NULL"),
            ("ip_address", "''"),
            ("user_agent", "NULL"),
            ("request_id", "'req_2'"),
            ("before_state", "'{}'"),
            ("before_state", "NULL"),
            ("after_state", "NULL"),
            ("metadata", "'{ }'"),
            ("prev_hash", "hash"),
            ("hash", "prev_hash"),
        ];
        for (column, value) in changes {
            t.execute("CREATE TABLE kept AS SELECT * FROM audit WHERE seq = 3").await;
            t.execute(&format!("UPDATE audit SET {column} = {value} WHERE seq = 3")).await;
            assert!(verdict(&t).await.starts_with("3: "), "{column} = {value}: {}", verdict(&t).await);
            t.execute("DELETE FROM audit WHERE seq = 3; INSERT INTO audit SELECT * FROM kept; DROP TABLE kept").await;
            assert_eq!(verdict(&t).await, "ok");
        }
    }

    async fn a_field_that_says_nothing_is_not_one_that_is_absent(t: TestStore) {
        some_records(&t).await;
        t.execute("UPDATE audit SET agent_id = 0 WHERE seq = 2").await;
        assert_eq!(verdict(&t).await, "2: the entry cannot be read");
        t.execute("UPDATE audit SET agent_id = NULL, resource_id = '' WHERE seq = 2").await;
        assert_eq!(verdict(&t).await, "2: the hash is not that of the contents");
    }

    async fn a_dropped_swapped_or_added_entry_is_seen(t: TestStore) {
        some_records(&t).await;
        t.execute("CREATE TABLE kept AS SELECT * FROM audit").await;
        let after = async |statement: &str| {
            t.execute(statement).await;
            let verdict = verdict(&t).await;
            t.execute("DELETE FROM audit; INSERT INTO audit SELECT * FROM kept").await;
            verdict
        };
        assert_eq!(after("DELETE FROM audit WHERE seq = 3").await, "3: the entry is missing");
        assert_eq!(after("DELETE FROM audit WHERE seq = 1").await, "1: the entry is missing");
        assert_eq!(after("DELETE FROM audit WHERE seq = 5").await, "5: the entry is missing");
        assert_eq!(after("DELETE FROM audit").await, "1: the entry is missing");
        let swap = "UPDATE audit SET seq = 99 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3; \
                    UPDATE audit SET seq = 3 WHERE seq = 99";
        assert!(after(swap).await.starts_with("2: "));
        let shift = "DELETE FROM audit WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = 4; UPDATE audit SET seq = 4 WHERE seq = 5";
        assert!(after(shift).await.starts_with("3: "));
        let columns = "id || 'x', recorded_at, operation, resource_type, resource_id, user_id, user_role, agent_id, \
                       ip_address, user_agent, request_id, before_state, after_state, metadata, prev_hash, hash";
        let added = |seq: &str| format!("INSERT INTO audit SELECT {seq}, {columns} FROM audit WHERE seq = 5");
        assert_eq!(after(&added("6")).await, "6: the entry stands beyond the end of the chain");
        assert_eq!(after(&added("0")).await, "0: the entry stands before the first");
        assert_eq!(verdict(&t).await, "ok");
    }

    async fn a_moved_head_is_seen(t: TestStore) {
        some_records(&t).await;
        t.execute("UPDATE heads SET audit_seq = 6").await;
        assert_eq!(verdict(&t).await, "6: the entry is missing");
        t.execute("UPDATE heads SET audit_seq = 4").await;
        assert!(verdict(&t).await.starts_with("4: ") || verdict(&t).await.starts_with("5: "));
        t.execute("UPDATE heads SET audit_seq = 5, audit_hash = (SELECT hash FROM audit WHERE seq = 4)").await;
        assert_eq!(verdict(&t).await, "5: the chain does not end where the head says");
        let part = t.store.verify_audit(None, Some(4)).await.expect("checked");
        assert!(part.is_ok(), "the part before the end does not ask for the head");
    }

    async fn more_entries_than_are_read_at_once_are_checked(t: TestStore) {
        let record = AuditRecord::new("AGENT_UPDATED", "agent", 1, &actor("user_1"));
        write(&t, std::iter::repeat_n(record, 2_100)).await;
        let check = t.store.verify_audit(None, None).await.expect("checked");
        assert_eq!((check.checked, check.is_ok()), (2_100, true));
        t.execute("UPDATE audit SET user_id = 'user_2' WHERE seq = 2050").await;
        assert!(verdict(&t).await.starts_with("2050: "));
        assert!(matches!(t.store.backend(), Backend::Sqlite | Backend::Postgres));
    }
}
