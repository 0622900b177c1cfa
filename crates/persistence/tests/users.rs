//! Users and failed logins.

use auth::Role;
use auth::lockout::{LockoutRules, LockoutState};
use kernel::Secret;
use persistence::{NewUser, Page, UserFilter, UserTaken};

use crate::residents::{new_user, uid, user};
use crate::support::{START, TestStore};

async fn names(t: &TestStore, filter: &UserFilter, page: Page) -> (Vec<String>, u64) {
    let listed = t.store.users(filter, page).await.expect("users are listed");
    (listed.rows.into_iter().map(|user| user.username).collect(), listed.total)
}

const ALL: Page = Page::first(100);

on_both_backends! {
    async fn a_new_user_is_found_by_id_and_by_email_in_any_case(t: TestStore) {
        assert!(!t.store.has_users().await.expect("read"));
        let id = user(&t, "Zoë", Role::Viewer).await;
        assert!(t.store.has_users().await.expect("read"));
        let found = t.store.user(&id).await.expect("read").expect("found");
        assert_eq!((found.username.as_str(), found.email.as_deref()), ("Zoë", Some("Zoë@example.test")));
        assert_eq!((found.role, found.is_active, found.must_change_password), (Role::Viewer, true, false));
        assert_eq!((found.created_at, found.updated_at), (START, START));
        assert_eq!((found.last_login, found.suspended_at, found.deleted_at, found.locked_until), (None, None, None, None));
        let login = t.store.login_record("  ZOË@Example.test\n").await.expect("read").expect("found");
        assert_eq!((login.user, login.password_hash.expose().as_str()), (found, "hash of Zoë"));
        assert!(t.store.login_record("zoe@example.test").await.expect("read").is_none());
        assert!(t.store.user(&uid("user_nobody")).await.expect("read").is_none());
        assert!(t.store.login_record_of(&id).await.expect("read").is_some());
    }

    async fn taken_names_are_told_one_by_one_and_together(t: TestStore) {
        user(&t, "anna", Role::User).await;
        user(&t, "bert", Role::User).await;
        let attempt = async |username: &str, email: Option<&str>| {
            let mut work = t.begin().await;
            let new = NewUser {
                id: uid("user_new"),
                username: username.to_owned(),
                email: email.map(str::to_owned),
                ..new_user("new", Role::User)
            };
            let made = work.create_user(&new).await.expect("the store answers");
            // A refusal does not spoil the work
            assert!(work.hold_user(&uid("user_anna")).await.expect("the work goes on").is_some());
            made
        };
        assert_eq!(attempt("ANNA", Some("new@example.test")).await, Err(UserTaken { username: true, email: false }));
        assert_eq!(attempt("new", Some(" ANNA@example.test")).await, Err(UserTaken { username: false, email: true }));
        assert_eq!(attempt("Anna", Some("bert@example.test")).await, Err(UserTaken { username: true, email: true }));
        assert_eq!(attempt("new", None).await, Ok(()));
    }

    async fn a_user_id_that_is_taken_is_not_mistaken_for_a_name(t: TestStore) {
        user(&t, "anna", Role::User).await;
        let mut work = t.begin().await;
        let new = NewUser { id: uid("user_anna"), ..new_user("other", Role::User) };
        assert!(work.create_user(&new).await.is_err());
    }

    async fn users_are_listed_youngest_first_by_page_and_filter(t: TestStore) {
        for (name, role) in [("anna", Role::Admin), ("bert", Role::User), ("Ünal", Role::Viewer), ("dora_x", Role::User)] {
            user(&t, name, role).await;
            t.clock.advance_millis(1_000);
        }
        let mut work = t.begin().await;
        assert!(work.suspend_user(&uid("user_bert")).await.expect("written"));
        assert!(work.delete_user(&uid("user_anna")).await.expect("written"));
        t.commit(work).await;
        let filter = UserFilter::default();
        let listed = |names: &[&str], total| (names.iter().map(ToString::to_string).collect::<Vec<_>>(), total);
        assert_eq!(names(&t, &filter, ALL).await, listed(&["dora_x", "Ünal", "bert"], 3));
        assert_eq!(names(&t, &filter, Page { offset: 1, limit: 1 }).await, listed(&["Ünal"], 3));
        assert_eq!(names(&t, &filter, Page { offset: 9, limit: 1 }).await, listed(&[], 3));
        let everybody = UserFilter { include_deleted: true, ..UserFilter::default() };
        assert_eq!(names(&t, &everybody, ALL).await.1, 4);
        let role = UserFilter { role: Some(Role::User), ..UserFilter::default() };
        assert_eq!(names(&t, &role, ALL).await, listed(&["dora_x", "bert"], 2));
        let inactive = UserFilter { is_active: Some(false), ..UserFilter::default() };
        assert_eq!(names(&t, &inactive, ALL).await, listed(&["bert"], 1));
        for (search, found) in [("üNA", "Ünal"), ("A_x@EXAMPLE", "dora_x"), ("ERT", "bert")] {
            let search = UserFilter { search: Some(search.to_owned()), ..UserFilter::default() };
            assert_eq!(names(&t, &search, ALL).await, listed(&[found], 1), "{search:?}");
        }
        for nothing in ["a%x", "b_rt", "\\"] {
            let search = UserFilter { search: Some(nothing.to_owned()), ..UserFilter::default() };
            assert_eq!(names(&t, &search, ALL).await, listed(&[], 0), "{nothing}");
        }
    }

    async fn a_user_is_renamed_unless_the_name_is_taken(t: TestStore) {
        let (anna, _) = (user(&t, "anna", Role::User).await, user(&t, "bert", Role::User).await);
        t.clock.advance_millis(5);
        let mut work = t.begin().await;
        let renamed = work.rename_user(&anna, Some("ANNA"), None).await.expect("the store answers");
        let renamed = renamed.expect("her own name is free for her").expect("found");
        assert_eq!((renamed.username.as_str(), renamed.email.as_deref()), ("ANNA", Some("anna@example.test")));
        t.commit(work).await;
        assert_eq!(t.store.user(&anna).await.expect("read"), Some(renamed));
        let mut work = t.begin().await;
        let taken = work.rename_user(&anna, None, Some("BERT@example.test")).await.expect("the store answers");
        assert_eq!(taken, Err(UserTaken { username: false, email: true }));
        drop(work);
        let mut work = t.begin().await;
        assert_eq!(work.rename_user(&uid("user_nobody"), Some("x"), None).await.expect("answers"), Ok(None));
    }

    async fn the_same_name_taken_twice_at_once_is_given_once(t: TestStore) {
        let people = [user(&t, "anna", Role::User).await, user(&t, "bert", Role::User).await];
        let rename = async |who: &kernel::UserId| {
            let mut work = t.begin().await;
            let renamed = work.rename_user(who, Some("carl"), None).await.expect("the store answers");
            if renamed.is_ok() {
                t.commit(work).await;
            }
            renamed.is_ok()
        };
        let (first, second) = tokio::join!(rename(&people[0]), rename(&people[1]));
        assert!(first ^ second);
    }

    async fn role_password_and_last_login_change(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        t.clock.advance_millis(7);
        let mut work = t.begin().await;
        assert!(work.set_user_role(&anna, Role::Admin).await.expect("written"));
        assert!(work.set_user_password(&anna, &Secret::new("new".to_owned()), true).await.expect("written"));
        work.touch_last_login(&anna).await.expect("written");
        for nobody in [uid("user_nobody")] {
            assert!(!work.set_user_role(&nobody, Role::Admin).await.expect("answered"));
            assert!(!work.set_user_password(&nobody, &Secret::new(String::new()), true).await.expect("answered"));
        }
        t.commit(work).await;
        let found = t.store.login_record_of(&anna).await.expect("read").expect("found");
        assert_eq!(found.password_hash.expose(), "new");
        assert_eq!((found.user.role, found.user.must_change_password), (Role::Admin, true));
        assert_eq!((found.user.updated_at, found.user.last_login), (t.now(), Some(t.now())));
    }

    async fn a_password_cannot_change_while_a_login_relies_on_it(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let mut work = t.begin().await;
        let held = work.login_record_for_update(&anna).await.expect("read").expect("found");
        assert_eq!((&held.user.id, held.password_hash.expose().as_str()), (&anna, "hash of anna"));
        assert!(work.login_record_for_update(&uid("user_nobody")).await.expect("read").is_none());
        let change = async {
            let mut work = t.begin().await;
            work.set_user_password(&anna, &Secret::new("new".to_owned()), false).await.expect("written");
            t.commit(work).await;
        };
        let login = async {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            let still = work.login_record_for_update(&anna).await.expect("read").expect("found");
            t.commit(work).await;
            still.password_hash.expose().clone()
        };
        let ((), still) = tokio::join!(change, login);
        assert_eq!(still, "hash of anna");
        let after = t.store.login_record_of(&anna).await.expect("read").expect("found");
        assert_eq!(after.password_hash.expose(), "new");
    }

    async fn suspending_and_activating_have_an_effect_once(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let mut work = t.begin().await;
        assert!(!work.activate_user(&anna).await.expect("answered"));
        assert!(work.suspend_user(&anna).await.expect("written"));
        assert!(!work.suspend_user(&anna).await.expect("answered"));
        let suspended = work.user_for_update(&anna).await.expect("read").expect("found");
        assert_eq!((suspended.is_active, suspended.suspended_at), (false, Some(START)));
        assert!(work.activate_user(&anna).await.expect("written"));
        let active = work.user_for_update(&anna).await.expect("read").expect("found");
        assert_eq!((active.is_active, active.suspended_at), (true, None));
    }

    async fn a_deleted_user_stays_but_neither_wakes_nor_frees_its_names(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let mut work = t.begin().await;
        assert!(work.delete_user(&anna).await.expect("written"));
        assert!(!work.delete_user(&anna).await.expect("answered"));
        assert!(!work.activate_user(&anna).await.expect("answered"));
        assert!(!work.suspend_user(&anna).await.expect("answered"));
        t.commit(work).await;
        let found = t.store.user(&anna).await.expect("read").expect("found");
        assert_eq!((found.is_active, found.deleted_at), (false, Some(START)));
        assert!(t.store.login_record("anna@example.test").await.expect("read").is_some());
        let mut work = t.begin().await;
        let again = work.create_user(&NewUser { id: uid("user_2"), ..new_user("anna", Role::User) }).await;
        assert_eq!(again.expect("answered"), Err(UserTaken { username: true, email: true }));
    }

    async fn of_two_admins_who_remove_each_other_one_stays(t: TestStore) {
        let admins = [user(&t, "anna", Role::Admin).await, user(&t, "bert", Role::Admin).await];
        user(&t, "carl", Role::User).await;
        let suspend = async |target: &kernel::UserId| {
            let mut work = t.begin().await;
            let active = work.lock_active_admins().await.expect("locked");
            let allowed = active.iter().any(|id| id != target);
            if allowed {
                work.suspend_user(target).await.expect("written");
                t.commit(work).await;
            }
            allowed
        };
        let (first, second) = tokio::join!(suspend(&admins[0]), suspend(&admins[1]));
        assert!(first ^ second);
        let filter = UserFilter { role: Some(Role::Admin), is_active: Some(true), ..UserFilter::default() };
        assert_eq!(names(&t, &filter, ALL).await.1, 1);
    }

    async fn failed_logins_count_lock_and_are_forgotten(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let (rules, email) = (LockoutRules { max_failures: 2, lock_millis: 1_000 }, " ANNA@example.test");
        assert_eq!(t.store.lockout(email).await.expect("read"), LockoutState::CLEAR);
        let mut work = t.begin().await;
        assert!(!work.record_login_failure(email, &rules).await.expect("counted").locks);
        assert!(work.record_login_failure(email, &rules).await.expect("counted").locks);
        t.commit(work).await;
        let until = START.plus_millis(1_000);
        let state = t.store.lockout("anna@example.test").await.expect("read");
        assert_eq!((state.failures, state.locked_until), (0, Some(until)));
        assert_eq!(t.store.user(&anna).await.expect("read").expect("found").locked_until, Some(until));
        let mut work = t.begin().await;
        assert_eq!(work.lockout_for_update(email).await.expect("read"), state);
        assert!(work.clear_login_failures(email).await.expect("written"));
        assert!(!work.clear_login_failures(email).await.expect("answered"));
        t.commit(work).await;
        assert_eq!(t.store.lockout(email).await.expect("read"), LockoutState::CLEAR);
    }

    async fn failures_at_once_are_all_counted_also_for_an_unknown_email(t: TestStore) {
        let rules = LockoutRules { max_failures: 100, lock_millis: 1_000 };
        let fail = async || {
            let mut work = t.begin().await;
            work.record_login_failure("who@example.test", &rules).await.expect("counted");
            t.commit(work).await;
        };
        tokio::join!(fail(), fail(), fail(), fail());
        assert_eq!(t.store.lockout("who@example.test").await.expect("read").failures, 4);
    }

    async fn old_failures_are_pruned_and_locks_in_force_are_not(t: TestStore) {
        let mut work = t.begin().await;
        work.record_login_failure("old@example.test", &LockoutRules::default()).await.expect("counted");
        let rules = LockoutRules { max_failures: 1, lock_millis: 10_000 };
        work.record_login_failure("locked@example.test", &rules).await.expect("counted");
        t.commit(work).await;
        t.clock.advance_millis(5_000);
        let mut work = t.begin().await;
        work.record_login_failure("new@example.test", &LockoutRules::default()).await.expect("counted");
        assert_eq!(work.prune_login_failures(t.now()).await.expect("pruned"), 1);
        t.commit(work).await;
        assert_eq!(t.store.lockout("old@example.test").await.expect("read"), LockoutState::CLEAR);
        assert!(t.store.lockout("locked@example.test").await.expect("read").locked_until.is_some());
        assert_eq!(t.store.lockout("new@example.test").await.expect("read").failures, 1);
    }
}
