//! API tokens, and when they and logins were last used.

use auth::{Role, TokenHash};
use kernel::{ApiTokenId, Timestamp, UserId};
use persistence::{
    ApiToken, ApiTokenFilter, ApiTokenSort, ApiTokenUsage, CredentialUses, NewApiTokenRow, Page, SessionOrigin,
};

use crate::residents::{agent, pid, project, uid, user};
use crate::support::{START, TestStore};

const ALL: Page = Page::first(100);
const MINUTE: i64 = 60_000;

fn hash(name: &str) -> TokenHash {
    TokenHash::of(&format!("token {name}"))
}

fn new_token(user: &UserId, name: &str) -> NewApiTokenRow {
    NewApiTokenRow {
        hash: hash(name),
        token_prefix: "apitok_abcd".to_owned(),
        user: user.clone(),
        project: None,
        agent: None,
        name: Some(name.to_owned()),
        description: None,
        provider: None,
        scopes: Vec::new(),
        created_by: user.clone(),
        expires_at: None,
    }
}

async fn store(t: &TestStore, new: &NewApiTokenRow) -> ApiTokenId {
    let mut work = t.begin().await;
    let id = work.create_api_token(new).await.expect("stored");
    t.commit(work).await;
    id
}

async fn token(t: &TestStore, user: &UserId, name: &str) -> ApiTokenId {
    store(t, &new_token(user, name)).await
}

async fn read(t: &TestStore, id: ApiTokenId) -> ApiToken {
    t.store.api_token(id).await.expect("read").expect("found")
}

async fn names(t: &TestStore, filter: &ApiTokenFilter, sort: ApiTokenSort, page: Page) -> (Vec<String>, u64) {
    let listed = t.store.api_tokens(filter, sort, page, t.now()).await.expect("listed");
    (listed.rows.into_iter().map(|token| token.name.unwrap_or_default()).collect(), listed.total)
}

async fn usage(t: &TestStore, id: ApiTokenId, since: Timestamp) -> ApiTokenUsage {
    t.store.api_token_usage(id, START, since).await.expect("read").expect("found")
}

on_both_backends! {
    async fn a_token_is_read_as_it_was_made_and_found_by_its_hash(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        project(&t, "proj_a", "A").await;
        let new = NewApiTokenRow {
            project: Some(pid("proj_a")),
            agent: Some(agent(&t, "a", &anna).await),
            description: Some("d".to_owned()),
            provider: Some("openai".to_owned()),
            scopes: vec!["read:agents".to_owned(), "write:*".to_owned()],
            created_by: uid("user_root"),
            expires_at: Some(START.plus_millis(9)),
            ..new_token(&anna, "n")
        };
        let id = store(&t, &new).await;
        let expected = ApiToken {
            id,
            user: anna.clone(),
            project: new.project.clone(),
            agent: new.agent,
            name: Some("n".to_owned()),
            description: new.description.clone(),
            provider: new.provider.clone(),
            scopes: new.scopes.clone(),
            token_prefix: "apitok_abcd".to_owned(),
            created_by: uid("user_root"),
            created_at: START,
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
            uses: 0,
        };
        assert_eq!(read(&t, id).await, expected);
        let principal = t.store.api_token_principal(&hash("n")).await.expect("read").expect("found");
        assert_eq!(principal.token, expected);
        assert_eq!((principal.owner.user, principal.owner.role, principal.owner.is_active), (anna, Role::User, true));
        assert_eq!(principal.owner.email.as_deref(), Some("anna@example.test"));
        assert!(t.store.api_token_principal(&hash("other")).await.expect("read").is_none());
        assert!(t.store.api_token(ApiTokenId(id.0 + 1)).await.expect("read").is_none());
    }

    async fn who_stands_behind_a_token_is_read_as_it_is_now(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        token(&t, &anna, "n").await;
        let mut work = t.begin().await;
        work.set_user_role(&anna, Role::Viewer).await.expect("written");
        work.suspend_user(&anna).await.expect("written");
        t.commit(work).await;
        let owner = t.store.api_token_principal(&hash("n")).await.expect("read").expect("found").owner;
        assert_eq!((owner.role, owner.is_active), (Role::Viewer, false));
    }

    async fn tokens_are_listed_by_owner_agent_and_state_in_every_order(t: TestStore) {
        let (anna, bert) = (user(&t, "anna", Role::User).await, user(&t, "bert", Role::User).await);
        let bot = agent(&t, "a", &anna).await;
        let ids = [
            token(&t, &anna, "b").await,
            store(&t, &NewApiTokenRow { name: None, ..new_token(&anna, "unnamed") }).await,
            store(&t, &NewApiTokenRow { expires_at: Some(START), ..new_token(&anna, "Ä") }).await,
            store(&t, &NewApiTokenRow { agent: Some(bot), ..new_token(&anna, "A") }).await,
            token(&t, &bert, "of bert").await,
        ];
        let mut work = t.begin().await;
        assert!(work.revoke_api_token(ids[0]).await.expect("written"));
        assert!(!work.revoke_api_token(ids[0]).await.expect("answered"), "once");
        t.commit(work).await;
        let uses = CredentialUses::default();
        uses.token(ids[0], START.plus_millis(5));
        uses.token(ids[3], START.plus_millis(7));
        uses.flush(&t.store, t.now(), &t.entropy).await.expect("written");

        let of_anna = ApiTokenFilter { user: Some(anna.clone()), ..ApiTokenFilter::default() };
        let listed = |names: &[&str], total| (names.iter().map(ToString::to_string).collect::<Vec<_>>(), total);
        let everything = ApiTokenFilter::default();
        assert_eq!(names(&t, &everything, ApiTokenSort::default(), ALL).await.1, 5);
        for (sort, expected) in [
            (ApiTokenSort::CreatedDescending, ["A", "Ä", "", "b"]),
            (ApiTokenSort::CreatedAscending, ["b", "", "Ä", "A"]),
            (ApiTokenSort::NameAscending, ["", "A", "b", "Ä"]),
            (ApiTokenSort::NameDescending, ["Ä", "b", "A", ""]),
            (ApiTokenSort::LastUsedDescending, ["A", "b", "Ä", ""]),
            (ApiTokenSort::LastUsedAscending, ["", "Ä", "b", "A"]),
        ] {
            assert_eq!(names(&t, &of_anna, sort, ALL).await, listed(&expected, 4), "{sort:?}");
        }
        let page = Page { offset: 1, limit: 2 };
        assert_eq!(names(&t, &of_anna, ApiTokenSort::default(), page).await, listed(&["Ä", ""], 4));
        let active = ApiTokenFilter { active: Some(true), ..of_anna.clone() };
        assert_eq!(names(&t, &active, ApiTokenSort::default(), ALL).await, listed(&["A", ""], 2));
        let ended = ApiTokenFilter { active: Some(false), ..of_anna };
        assert_eq!(names(&t, &ended, ApiTokenSort::default(), ALL).await, listed(&["Ä", "b"], 2));
        let of_bot = ApiTokenFilter { agent: Some(bot), ..ApiTokenFilter::default() };
        assert_eq!(names(&t, &of_bot, ApiTokenSort::default(), ALL).await, listed(&["A"], 1));
    }

    async fn only_tokens_that_can_be_used_are_counted_and_revoked_together(t: TestStore) {
        let (anna, bert) = (user(&t, "anna", Role::User).await, user(&t, "bert", Role::User).await);
        let bot = agent(&t, "a", &anna).await;
        let good = token(&t, &anna, "good").await;
        let bound = store(&t, &NewApiTokenRow { agent: Some(bot), ..new_token(&anna, "bound") }).await;
        let run_out = store(&t, &NewApiTokenRow { expires_at: Some(START), ..new_token(&anna, "run out") }).await;
        let revoked = token(&t, &anna, "revoked").await;
        let other = token(&t, &bert, "other").await;
        let mut work = t.begin().await;
        work.revoke_api_token(revoked).await.expect("written");
        t.commit(work).await;
        t.clock.advance_millis(5);
        let mut work = t.begin().await;
        assert_eq!(work.count_active_api_tokens(&anna).await.expect("counted"), 2);
        assert_eq!(work.revoke_api_tokens_of_agent(bot).await.expect("written"), [bound]);
        assert_eq!(work.count_active_api_tokens(&anna).await.expect("counted"), 1);
        assert_eq!(work.revoke_api_tokens_of_user(&anna).await.expect("written"), [good]);
        assert_eq!(work.revoke_api_tokens_of_user(&anna).await.expect("written"), []);
        t.commit(work).await;
        assert_eq!(read(&t, bound).await.revoked_at, Some(START.plus_millis(5)));
        assert_eq!(read(&t, run_out).await.revoked_at, None);
        assert_eq!(read(&t, revoked).await.revoked_at, Some(START));
        assert!(read(&t, other).await.is_active(t.now()));
    }

    async fn a_token_is_described_anew(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let id = token(&t, &anna, "n").await;
        let mut work = t.begin().await;
        work.describe_api_token(id, Some("Öl"), Some("d"), None).await.expect("written");
        let inside = work.api_token_for_update(id).await.expect("read").expect("found");
        t.commit(work).await;
        let after = read(&t, id).await;
        assert_eq!((after.name.as_deref(), after.description.as_deref(), after.provider.clone()), (Some("Öl"), Some("d"), None));
        assert_eq!(after, inside);
    }

    async fn a_project_that_goes_takes_its_name_off_and_leaves_the_token(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        project(&t, "proj_a", "A").await;
        let id = store(&t, &NewApiTokenRow { project: Some(pid("proj_a")), ..new_token(&anna, "n") }).await;
        let mut work = t.begin().await;
        work.delete_project(&pid("proj_a")).await.expect("written");
        t.commit(work).await;
        let after = read(&t, id).await;
        assert!(after.project.is_none() && after.is_active(t.now()));
    }

    async fn uses_add_up_by_minute_and_are_forgotten_by_age(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let (id, idle) = (token(&t, &anna, "n").await, token(&t, &anna, "idle").await);
        let uses = CredentialUses::default();
        uses.flush(&t.store, t.now(), &t.entropy).await.expect("nothing to write");
        for millis in [0, 1, MINUTE, 70 * MINUTE, 70 * MINUTE + 5] {
            uses.token(id, START.plus_millis(millis));
            uses.flush(&t.store, t.now(), &t.entropy).await.expect("written");
        }
        // From two servers in one minute, and one of them late
        uses.token(id, START.plus_millis(3));
        uses.flush(&t.store, t.now(), &t.entropy).await.expect("written");
        let token = read(&t, id).await;
        assert_eq!((token.uses, token.last_used_at), (6, Some(START.plus_millis(70 * MINUTE + 5))));
        assert_eq!(usage(&t, id, START).await, ApiTokenUsage { total: 6, today: 6, last_hour: 6 });
        assert_eq!(usage(&t, id, START.plus_millis(1)).await, ApiTokenUsage { total: 6, today: 6, last_hour: 3 });
        assert_eq!(usage(&t, idle, START).await, ApiTokenUsage::default());
        let mut work = t.begin().await;
        let before = START.plus_millis(70 * MINUTE);
        assert_eq!(work.prune_api_token_uses(before, 1).await.expect("pruned"), 1);
        assert_eq!(work.prune_api_token_uses(before, 9).await.expect("pruned"), 1);
        t.commit(work).await;
        assert_eq!(usage(&t, id, START).await, ApiTokenUsage { total: 6, today: 2, last_hour: 2 });
    }

    async fn servers_that_note_uses_at_once_lose_none(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let ids = [token(&t, &anna, "a").await, token(&t, &anna, "b").await, token(&t, &anna, "c").await];
        let server = async |order: [usize; 3]| {
            let uses = CredentialUses::default();
            for _ in 0..10 {
                order.iter().for_each(|index| uses.token(ids[*index], t.now()));
                uses.flush(&t.store, t.now(), &t.entropy).await.expect("written");
            }
        };
        tokio::join!(server([0, 1, 2]), server([2, 1, 0]), server([1, 2, 0]));
        for id in ids {
            assert_eq!(read(&t, id).await.uses, 30);
            assert_eq!(usage(&t, id, START).await.today, 30);
        }
    }

    async fn what_could_not_be_noted_is_noted_the_next_time(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let id = token(&t, &anna, "n").await;
        let uses = CredentialUses::default();
        uses.token(id, t.now());
        uses.session(&kernel::SessionId::new("sess_gone"), t.now());
        t.execute("ALTER TABLE api_token_uses RENAME TO hidden").await;
        assert!(uses.flush(&t.store, t.now(), &t.entropy).await.is_err());
        t.execute("ALTER TABLE hidden RENAME TO api_token_uses").await;
        assert_eq!(read(&t, id).await.uses, 0, "all or nothing");
        uses.token(id, t.now());
        uses.flush(&t.store, t.now(), &t.entropy).await.expect("written");
        assert_eq!((read(&t, id).await.uses, usage(&t, id, START).await.today), (2, 2));
    }

    async fn a_login_remembers_where_it_was_last_seen(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let session = kernel::SessionId::new("sess_1");
        let from = |ip: &str| SessionOrigin { ip_address: Some(ip.to_owned()), user_agent: Some("agent/1".to_owned()) };
        let mut work = t.begin().await;
        let expires_at = START.plus_millis(1_000);
        work.create_session(&session, &anna, &from("10.0.0.1"), &hash("r"), expires_at).await.expect("begun");
        t.commit(work).await;
        let live = async || t.store.live_sessions(&anna, ALL, t.now()).await.expect("listed");
        let listed = live().await;
        assert_eq!((listed.total, listed.rows.len()), (1, 1));
        let first = &listed.rows[0];
        assert_eq!((&first.id, &first.origin, first.created_at), (&session, &from("10.0.0.1"), START));
        assert_eq!((first.last_used_at, first.expires_at), (Some(START), expires_at));

        let uses = CredentialUses::default();
        uses.session(&session, START.plus_millis(7));
        uses.session(&session, START.plus_millis(5));
        uses.flush(&t.store, t.now(), &t.entropy).await.expect("written");
        assert_eq!(live().await.rows[0].last_used_at, Some(START.plus_millis(7)));
        t.clock.advance_millis(500);
        let mut work = t.begin().await;
        work.continue_session(&session, &from("10.0.0.2")).await.expect("written");
        work.add_refresh_token(&session, &hash("r2"), START.plus_millis(2_000)).await.expect("written");
        t.commit(work).await;
        let now = &live().await.rows[0];
        assert_eq!((&now.origin, now.last_used_at), (&from("10.0.0.2"), Some(START.plus_millis(500))));
        assert_eq!(now.expires_at, START.plus_millis(2_000));
        t.clock.advance_millis(1_500);
        assert_eq!(live().await.total, 0, "its last refresh token has run out");
    }

    async fn a_user_ends_only_sessions_of_their_own(t: TestStore) {
        let (anna, bert) = (user(&t, "anna", Role::User).await, user(&t, "bert", Role::User).await);
        let session = kernel::SessionId::new("sess_1");
        let mut work = t.begin().await;
        let origin = SessionOrigin::default();
        work.create_session(&session, &anna, &origin, &hash("r"), Timestamp::MAX).await.expect("begun");
        assert!(!work.end_session_of(&bert, &session, "revoked").await.expect("answered"));
        assert!(work.end_session_of(&anna, &session, "revoked").await.expect("answered"));
        assert!(!work.end_session_of(&anna, &session, "revoked").await.expect("answered"));
        t.commit(work).await;
        assert_eq!(t.store.live_sessions(&anna, ALL, t.now()).await.expect("listed").total, 0);
    }
}
