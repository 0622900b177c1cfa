//! Sessions and refresh tokens.

use auth::refresh::{RefreshDecision, RefreshRecord};
use auth::{Role, TokenHash};
use kernel::{SessionId, UserId};
use persistence::SessionOrigin;

use crate::residents::user;
use crate::support::{START, TestStore};

const DAY: i64 = 86_400_000;

async fn log_in(t: &TestStore, user: &UserId, session: &str) -> (SessionId, TokenHash) {
    let (session, refresh) = (SessionId::new(session), TokenHash::of(&format!("first of {session}")));
    let mut work = t.begin().await;
    let expires_at = t.now().plus_millis(DAY);
    work.create_session(&session, user, &SessionOrigin::default(), &refresh, expires_at)
        .await
        .expect("a session begins");
    t.commit(work).await;
    (session, refresh)
}

on_both_backends! {
    async fn a_session_leads_to_its_user_as_it_is_now(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let (session, _) = log_in(&t, &anna, "sess_1").await;
        let principal = t.store.principal(&session).await.expect("read").expect("found");
        assert_eq!((&principal.user, principal.username.as_str()), (&anna, "anna"));
        assert_eq!((principal.role, principal.is_active, principal.session_ended_at), (Role::User, true, None));
        let mut work = t.begin().await;
        work.set_user_role(&anna, Role::Viewer).await.expect("written");
        work.suspend_user(&anna).await.expect("written");
        assert!(work.end_session(&session, "logout").await.expect("written"));
        assert!(!work.end_session(&session, "logout").await.expect("answered"));
        t.commit(work).await;
        let principal = t.store.principal(&session).await.expect("read").expect("found");
        assert_eq!((principal.role, principal.is_active), (Role::Viewer, false));
        assert_eq!(principal.session_ended_at, Some(START));
        assert!(t.store.principal(&SessionId::new("sess_none")).await.expect("read").is_none());
    }

    async fn a_refresh_token_is_spent_once_and_its_session_goes_on(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let (session, first) = log_in(&t, &anna, "sess_1").await;
        t.clock.advance_millis(60_000);
        let mut work = t.begin().await;
        let stored = work.refresh_token_for_update(&first).await.expect("read").expect("found");
        assert_eq!((&stored.session, &stored.user), (&session, &anna));
        assert_eq!(stored.record.decide(t.now()), RefreshDecision::Rotate);
        assert!(work.spend_refresh_token(&first).await.expect("written"));
        assert!(!work.spend_refresh_token(&first).await.expect("answered"), "a further exchange changes nothing");
        let second = TokenHash::of("second");
        work.add_refresh_token(&session, &second, t.now().plus_millis(DAY)).await.expect("written");
        t.commit(work).await;
        let read = async |hash: &TokenHash| t.store.refresh_token(hash).await.expect("read").expect("found").record;
        assert_eq!(read(&first).await.decide(t.now()), RefreshDecision::GraceRotate);
        assert_eq!(read(&first).await.decide(t.now().plus_millis(10_000)), RefreshDecision::Reused);
        let expected =
            RefreshRecord { rotated_at: None, expires_at: t.now().plus_millis(DAY), session_ended_at: None };
        assert_eq!(read(&second).await, expected);
        assert!(t.store.refresh_token(&TokenHash::of("none")).await.expect("read").is_none());
    }

    async fn of_two_exchanges_at_once_one_is_the_first(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let (_, token) = log_in(&t, &anna, "sess_1").await;
        let exchange = async || {
            let mut work = t.begin().await;
            let stored = work.refresh_token_for_update(&token).await.expect("read").expect("found");
            let decision = stored.record.decide(t.now());
            work.spend_refresh_token(&token).await.expect("written");
            t.commit(work).await;
            decision
        };
        let (a, b) = tokio::join!(exchange(), exchange());
        assert!(matches!(
            (a, b),
            (RefreshDecision::Rotate, RefreshDecision::GraceRotate)
                | (RefreshDecision::GraceRotate, RefreshDecision::Rotate)
        ));
    }

    async fn all_sessions_of_a_user_end_but_the_one_that_asks(t: TestStore) {
        let (anna, bert) = (user(&t, "anna", Role::User).await, user(&t, "bert", Role::User).await);
        for session in ["sess_1", "sess_2", "sess_3"] {
            log_in(&t, &anna, session).await;
        }
        log_in(&t, &bert, "sess_4").await;
        let mut work = t.begin().await;
        let kept = SessionId::new("sess_2");
        assert_eq!(work.end_sessions_of(&anna, Some(&kept), "password changed").await.expect("ended"), 2);
        t.commit(work).await;
        let ended = async |id: &str| {
            let principal = t.store.principal(&SessionId::new(id)).await.expect("read").expect("found");
            principal.session_ended_at.is_some()
        };
        assert!(ended("sess_1").await && ended("sess_3").await && !ended("sess_2").await && !ended("sess_4").await);
        let mut work = t.begin().await;
        assert_eq!(work.end_sessions_of(&anna, None, "suspended").await.expect("ended"), 1);
    }

    async fn only_what_expired_long_ago_is_pruned_and_in_bounded_steps(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        for session in ["sess_1", "sess_2", "sess_3"] {
            log_in(&t, &anna, session).await;
        }
        t.clock.advance_millis(DAY);
        let (_, young) = log_in(&t, &anna, "sess_4").await;
        let mut work = t.begin().await;
        assert_eq!(work.prune_sessions(t.now(), 10).await.expect("pruned"), 0, "the end is not before itself");
        let before = t.now().plus_millis(1);
        assert_eq!(work.prune_sessions(before, 2).await.expect("pruned"), 4);
        assert_eq!(work.prune_sessions(before, 2).await.expect("pruned"), 2);
        assert_eq!(work.prune_sessions(before, 2).await.expect("pruned"), 0);
        t.commit(work).await;
        assert!(t.store.principal(&SessionId::new("sess_1")).await.expect("read").is_none());
        assert!(t.store.refresh_token(&young).await.expect("read").is_some());
    }
}
