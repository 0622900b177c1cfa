//! Ledger commands against the databases: what they answer, and what they leave behind.

use kernel::{AgentId, EndedBy, LeaseState, Money};
use ledger::{Command, Outcome, Rejection, Scope, SettleOutcome};
use persistence::{AuditActor, AuditRecord, CallFacts, Extra, Item, Refused, StoreError};

use crate::world::*;

on_both_backends! {
    async fn a_grant_lends_what_is_available_and_no_more(t: TestStore) {
        one_agent(&t, usd(10)).await;
        let answers = run(&t, &[grant(1, &lease("a"), usd(7)), grant(1, &lease("b"), usd(7))]).await;
        let granted: Vec<Money> = answers
            .iter()
            .map(|answer| match &answer.as_ref().expect("granted").outcome {
                Outcome::Granted { lease, .. } => lease.granted,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(granted, [usd(7), usd(3)]);
        let rejection = refused(&t, grant(1, &lease("c"), usd(1))).await;
        assert!(matches!(rejection, Rejection::BudgetExhausted { .. }), "{rejection:?}");
        assert_eq!(figures(&t, 1).await, [0, usd(10).nanos(), 0, 0]);
        assert_eq!(t.store.lease(&lease("c")).await.expect("read"), None);
        assert_sound(&t).await;
    }

    async fn a_report_moves_money_from_leased_to_spent_and_beyond_the_grant_to_overrun(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(5))).await;
        done(&t, report(&t, &lease("a"), "r1", usd(4))).await;
        assert_eq!(figures(&t, 1).await, [usd(4), usd(1), usd(0), usd(0)].map(Money::nanos));
        done(&t, report(&t, &lease("a"), "r2", usd(9))).await;
        assert_eq!(figures(&t, 1).await, [usd(13), usd(0), usd(0), usd(8)].map(Money::nanos));
        assert!(matches!(refused(&t, grant(1, &lease("b"), usd(1))).await, Rejection::BudgetExhausted { .. }));
        assert_sound(&t).await;
    }

    async fn a_repeated_report_charges_once_and_a_changed_one_is_a_conflict(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(5))).await;
        for duplicate in [false, true] {
            let outcome = done(&t, report(&t, &lease("a"), "r1", usd(2))).await;
            assert!(matches!(outcome, Outcome::Reported { duplicate: d, .. } if d == duplicate));
        }
        let recorded = Some(usd(2));
        assert_eq!(
            refused(&t, report(&t, &lease("a"), "r1", usd(3))).await,
            Rejection::IdempotencyConflict { recorded }
        );
        assert_eq!(figures(&t, 1).await, [usd(2), usd(3), usd(0), usd(0)].map(Money::nanos));
        assert_sound(&t).await;
    }

    async fn one_batch_may_hold_new_repeated_and_refused_commands(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(5))).await;
        done(&t, report(&t, &lease("a"), "old", usd(1))).await;
        let answers = run(
            &t,
            &[
                report(&t, &lease("a"), "new", usd(1)),
                report(&t, &lease("nobody"), "x", usd(1)),
                report(&t, &lease("a"), "old", usd(1)),
                report(&t, &lease("a"), "new", usd(1)),
                report(&t, &lease("a"), "new", usd(2)),
                grant_with(1, &lease("b"), usd(1), Some(("key", 1))),
                grant_with(1, &lease("c"), usd(1), Some(("key", 1))),
                grant_with(1, &lease("d"), usd(1), Some(("key", 2))),
            ],
        )
        .await;
        let shown: Vec<String> = answers.iter().map(in_a_word).collect();
        assert_eq!(
            shown,
            [
                "new",
                "refused LeaseNotFound",
                "duplicate",
                "duplicate",
                "refused IdempotencyConflict { recorded: Some($1.000000000) }",
                "granted lease_b",
                "again lease_b",
                "refused IdempotencyConflict { recorded: None }"
            ]
        );
        assert_eq!(figures(&t, 1).await, [usd(2), usd(4), usd(0), usd(0)].map(Money::nanos));
        assert_sound(&t).await;
    }

    async fn an_idempotency_key_gives_the_same_lease_in_a_later_batch(t: TestStore) {
        one_agent(&t, usd(10)).await;
        let first = run_one(&t, grant_with(1, &lease("a"), usd(4), Some(("key \"ü\"", 1)))).await;
        assert_eq!(in_a_word(&first), "granted lease_a");
        let again = run_one(&t, grant_with(1, &lease("b"), usd(4), Some(("key \"ü\"", 1)))).await;
        assert_eq!(in_a_word(&again), "again lease_a");
        assert_eq!(again.expect("granted").terms, Some(terms()), "with the terms of the first");
        let other = run_one(&t, grant_with(1, &lease("b"), usd(4), Some(("key \"ü\"", 2)))).await;
        assert_eq!(in_a_word(&other), "refused IdempotencyConflict { recorded: None }");
        assert_eq!(figures(&t, 1).await, [0, usd(4).nanos(), 0, 0]);
    }

    async fn idempotency_keys_of_two_agents_do_not_meet(t: TestStore) {
        people(&t, &[(1, "user_1", None), (2, "user_1", None)]).await;
        allocate(&t, &[(1, usd(5)), (2, usd(5))]).await;
        let items = [
            grant_with(1, &lease("a"), usd(1), Some(("key", 1))),
            grant_with(2, &lease("b"), usd(1), Some(("key", 1))),
        ];
        let answers = run(&t, &items).await;
        assert_eq!(answers.iter().map(in_a_word).collect::<Vec<_>>(), ["granted lease_a", "granted lease_b"]);
    }

    async fn a_refresh_settles_the_old_lease_and_lends_anew(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(8))).await;
        let outcome = done(&t, refresh(1, &lease("a"), &lease("b"), usd(9), Some(usd(3)))).await;
        let Outcome::Granted { lease: new, closed: Some(old), .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!((old.known(), old.returned(), new.granted), (usd(3), usd(5), usd(7)));
        let stored = t.store.lease(&lease("a")).await.expect("read").expect("there").lease;
        assert_eq!((stored.state, stored.ended_by), (LeaseState::Closed, Some(EndedBy::Refresh)));
        assert_eq!(stored.superseded_by, Some(lease("b")));
        let again = run_one(&t, refresh(1, &lease("a"), &lease("c"), usd(9), None)).await;
        assert_eq!(in_a_word(&again), "again lease_b");
        assert_sound(&t).await;
    }

    async fn a_return_gives_the_rest_back_once(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(8))).await;
        for duplicate in [false, true, true] {
            let outcome = done(&t, give_back(&lease("a"), Some(usd(3)))).await;
            assert!(matches!(outcome, Outcome::Ended { duplicate: d, .. } if d == duplicate));
        }
        assert_eq!(figures(&t, 1).await, [usd(3).nanos(), 0, 0, 0]);
        done(&t, report(&t, &lease("a"), "late", usd(4))).await;
        assert_eq!(figures(&t, 1).await, [usd(4).nanos(), 0, 0, 0], "known spend is the most that was said");
        assert_sound(&t).await;
    }

    async fn a_silent_lease_puts_its_rest_aside_and_a_late_return_frees_the_unspent_part(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(8))).await;
        done(&t, report(&t, &lease("a"), "r", usd(1))).await;
        done(&t, expire(&lease("a"))).await;
        assert_eq!(figures(&t, 1).await, [usd(1), usd(7), usd(0), usd(0)].map(Money::nanos), "it shows life");
        t.clock.advance_millis(crate::support::TTL_MS);
        done(&t, expire(&lease("a"))).await;
        assert_eq!(figures(&t, 1).await, [usd(1), usd(0), usd(7), usd(0)].map(Money::nanos));
        let Outcome::Granted { lease: small, .. } = done(&t, grant(1, &lease("b"), usd(8))).await else { panic!() };
        assert_eq!(small.granted, usd(2), "what is in suspense is not lent again");
        done(&t, give_back(&lease("a"), Some(usd(3)))).await;
        assert_eq!(figures(&t, 1).await, [usd(3), usd(2), usd(0), usd(0)].map(Money::nanos));
        assert_sound(&t).await;
    }

    async fn a_revoked_lease_waits_for_an_operator(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(8))).await;
        done(&t, revoke(&lease("a"))).await;
        let outcome = done(&t, give_back(&lease("a"), Some(usd(2)))).await;
        assert!(matches!(outcome, Outcome::ClaimNoted { .. }), "{outcome:?}");
        assert_eq!(figures(&t, 1).await, [usd(0), usd(0), usd(8), usd(0)].map(Money::nanos));
        done(&t, settle(&lease("a"), SettleOutcome::Spent, Some(usd(5)))).await;
        let stored = t.store.lease(&lease("a")).await.expect("read").expect("there").lease;
        assert_eq!((stored.state, stored.claimed), (LeaseState::Closed, Some(usd(2))));
        let settlement = stored.settlement.expect("settled");
        assert_eq!((settlement.spent, settlement.by.as_str()), (usd(5), "user_admin"));
        assert_eq!(figures(&t, 1).await, [usd(5).nanos(), 0, 0, 0]);
        assert_sound(&t).await;
    }

    async fn what_happens_to_a_lease_in_the_batch_that_grants_it_is_kept(t: TestStore) {
        one_agent(&t, usd(10)).await;
        let items = [grant(1, &lease("a"), usd(8)), total(&lease("a"), usd(3))];
        for answer in run(&t, &items).await {
            answer.expect("done");
        }
        let stored = t.store.lease(&lease("a")).await.expect("read").expect("there").lease;
        assert_eq!((stored.stated, stored.highest_seq), (Some(usd(3)), Some(3)));
        let items = [grant(1, &lease("b"), usd(2)), report(&t, &lease("b"), "r", usd(1)), give_back(&lease("b"), None)];
        for answer in run(&t, &items).await {
            answer.expect("done");
        }
        let stored = t.store.lease(&lease("b")).await.expect("read").expect("there").lease;
        assert_eq!((stored.state, stored.reported, stored.report_count), (LeaseState::Closed, usd(1), 1));
        assert_sound(&t).await;
    }

    async fn every_scope_of_an_agent_must_cover_a_grant(t: TestStore) {
        people(&t, &[(1, "user_1", Some("proj_1"))]).await;
        allocate(&t, &[(1, usd(100))]).await;
        let scopes =
            [("bud_o", Scope::Organization), ("bud_p", project_scope("proj_1")), ("bud_u", owner_scope("user_1"))];
        for ((id, scope), cap) in scopes.into_iter().zip([50, 30, 40]) {
            open(&t, &budget(id, scope, usd(cap))).await;
        }
        let Outcome::Granted { lease: granted, .. } = done(&t, grant(1, &lease("a"), usd(60))).await else { panic!() };
        assert_eq!(granted.granted, usd(30));
        let Rejection::BudgetExhausted { binding, .. } = refused(&t, grant(1, &lease("b"), usd(1))).await else {
            panic!("nothing is left")
        };
        assert_eq!(binding.budget.scope, project_scope("proj_1"));
        assert_sound(&t).await;
    }

    async fn a_command_checked_against_an_older_directory_is_refused(t: TestStore) {
        one_agent(&t, usd(10)).await;
        let item = |version, id: &str| Item { directory_version: Some(version), ..grant(1, &lease(id), usd(1)) };
        let first = run_one(&t, item(1, "a")).await;
        assert_eq!(in_a_word(&first), "granted lease_a");
        let mut work = t.begin().await;
        work.directory_changes();
        t.commit(work).await;
        let stale = run_one(&t, item(1, "b")).await;
        assert_eq!(stale, Err(Refused::StaleDirectory));
        assert_eq!(in_a_word(&run_one(&t, item(2, "b")).await), "granted lease_b");
    }

    async fn an_audit_record_is_written_with_its_command_or_not_at_all(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(1))).await;
        let audited = |item: Item| {
            let record = AuditRecord::new("LEASE_REVOKED", "lease", "lease_a", &AuditActor::default());
            Item { audit: Some(record), ..item }
        };
        done(&t, audited(revoke(&lease("a")))).await;
        let seq = async || t.store.audit_head().await.expect("read").seq;
        assert_eq!(seq().await, 1);
        refused(&t, audited(revoke(&lease("nobody")))).await;
        assert_eq!(seq().await, 1, "a refused command leaves no trace");
        done(&t, audited(revoke(&lease("a")))).await;
        assert_eq!(seq().await, 1, "nor does one that changes nothing");
    }

    async fn a_work_that_is_dropped_has_not_happened(t: TestStore) {
        one_agent(&t, usd(10)).await;
        let mut work = t.begin().await;
        work.run(&[grant(1, &lease("a"), usd(1))], crate::support::TTL_MS).await.expect("run")[0]
            .as_ref()
            .expect("granted");
        drop(work);
        assert_eq!(t.store.lease(&lease("a")).await.expect("read"), None);
        assert_eq!(figures(&t, 1).await, [0; 4]);
        assert_eq!(in_a_word(&run_one(&t, grant(1, &lease("a"), usd(1))).await), "granted lease_a");
    }

    async fn a_value_the_schema_forbids_fails_the_whole_work(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(5))).await;
        let poison = CallFacts { tokens: -1, ..call() };
        let poison = Item { extra: Extra::Call(poison), ..report(&t, &lease("a"), "bad", usd(1)) };
        let failed = try_run(&t, &[report(&t, &lease("a"), "good", usd(1)), poison]).await;
        assert!(matches!(failed, Err(StoreError::Refused(_))), "{failed:?}");
        assert_eq!(figures(&t, 1).await, [usd(0), usd(5), usd(0), usd(0)].map(Money::nanos), "nothing of it happened");
        assert_sound(&t).await;
    }

    async fn several_runs_in_one_work_continue_one_chain(t: TestStore) {
        one_agent(&t, usd(10)).await;
        let mut work = t.begin().await;
        for name in ["a", "b", "c"] {
            work.run(&[grant(1, &lease(name), usd(1))], crate::support::TTL_MS).await.expect("run")[0]
                .as_ref()
                .expect("granted");
        }
        t.commit(work).await;
        done(&t, Item::new(Command::Touch { agent: AgentId(1) })).await;
        assert_eq!(figures(&t, 1).await, [0, usd(3).nanos(), 0, 0]);
        assert_sound(&t).await;
    }

    async fn of_several_changes_to_one_budget_in_a_batch_the_last_counts(t: TestStore) {
        one_agent(&t, usd(10)).await;
        let no = allocation(&t, 1).await.budget.no;
        let adjust = |cap| Item::new(Command::Adjust { budget: no, cap, enabled: true, actor: admin(), reason: None });
        let caps: Vec<Money> = (20..40).map(usd).collect();
        let items: Vec<Item> = caps.iter().copied().map(adjust).collect();
        assert!(run(&t, &items).await.iter().all(Result::is_ok));
        assert_eq!(allocation(&t, 1).await.budget.cap, usd(39));
        assert_sound(&t).await;
    }

    async fn a_batch_larger_than_one_statement_takes_is_written_whole(t: TestStore) {
        one_agent(&t, usd(10_000)).await;
        let names: Vec<_> = (0..1_100).map(|n| lease(format!("{n:04}"))).collect();
        let mut items: Vec<Item> = names.iter().map(|id| grant(1, id, usd(2))).collect();
        items.extend(names.iter().map(|id| report(&t, id, "r", usd(1))));
        assert!(run(&t, &items).await.iter().all(Result::is_ok));
        let more: Vec<Item> = names.iter().map(|id| report(&t, id, "s", usd(1))).collect();
        assert!(run(&t, &more).await.iter().all(Result::is_ok));
        assert_eq!(figures(&t, 1).await, [usd(2_200).nanos(), 0, 0, 0]);
        assert_sound(&t).await;
    }
}

/// An answer in few words.
fn in_a_word(answer: &persistence::Answer) -> String {
    match answer {
        Ok(done) => match &done.outcome {
            Outcome::Granted { lease, duplicate: false, .. } => format!("granted {}", lease.id),
            Outcome::Granted { lease, .. } => format!("again {}", lease.id),
            Outcome::Reported { duplicate: false, .. } => "new".to_owned(),
            Outcome::Reported { .. } => "duplicate".to_owned(),
            other => format!("{other:?}"),
        },
        Err(Refused::Ledger(rejection)) => format!("refused {rejection:?}"),
        Err(other) => format!("{other:?}"),
    }
}
