//! Budgets with windows: days, weeks and months of a time zone.

use kernel::{Timestamp, Window, Zone};
use ledger::{Figure, Scope};
use proptest::prelude::*;

use crate::model::ZONES;
use crate::world::{
    AGENT, DAY_MS, HOUR_MS, TTL_MS, World, at, denied, ended, exhausted, granted, in_micros, owner_scope, usd, zone,
};

fn late_in_the_day() -> World {
    let mut w = World::with_allocation(usd(1_000));
    w.now = at("2026-11-20T23:00:00Z");
    w
}

#[test]
fn a_new_window_starts_empty_and_the_old_one_keeps_its_figures() {
    let mut w = late_in_the_day();
    let day = w.open(Scope::Organization, usd(10), Window::Day, Zone::UTC);
    let lease = w.grant(usd(10));
    w.report(&lease, "r1", usd(10));
    exhausted(w.try_grant(AGENT, usd(1)));
    let yesterday = w.now;
    w.pass(HOUR_MS);
    assert_eq!(in_micros(w.account(day)), (0, 0, 0));
    assert_eq!(in_micros(w.account_at(day, yesterday)), (10_000_000, 0, 0));
    assert_eq!(granted(w.try_grant(AGENT, usd(99))).granted, usd(10));
}

#[test]
fn a_lease_settles_in_the_window_that_granted_it() {
    let mut w = late_in_the_day();
    let day = w.open(Scope::Organization, usd(10), Window::Day, Zone::UTC);
    let lease = w.grant(usd(6));
    let yesterday = w.now;
    w.pass(2 * HOUR_MS);
    w.report(&lease, "r1", usd(2));
    assert_eq!(in_micros(w.account_at(day, yesterday)), (2_000_000, 4_000_000, 0));
    ended(w.give_back(&lease, Some(Figure::Spent(usd(7)))));
    assert_eq!(in_micros(w.account_at(day, yesterday)), (7_000_000, 0, 0));
    assert_eq!(in_micros(w.account(day)), (0, 0, 0));
}

#[test]
fn holds_of_the_old_window_stay_held_there_after_the_rollover() {
    let mut w = late_in_the_day();
    let day = w.open(Scope::Organization, usd(10), Window::Day, Zone::UTC);
    let before = w.grant(usd(10));
    let yesterday = w.now;
    w.pass(HOUR_MS);
    let after = w.grant(usd(10));
    w.report(&before, "r1", usd(10));
    w.report(&after, "r2", usd(10));
    assert_eq!([yesterday, w.now].map(|t| w.account_at(day, t).spent), [usd(10); 2], "each window within its cap");
    exhausted(w.try_grant(AGENT, usd(1)));
}

#[test]
fn returning_money_of_the_old_window_does_not_free_any_in_the_new_one() {
    let mut w = late_in_the_day();
    let day = w.open(Scope::Organization, usd(10), Window::Day, Zone::UTC);
    let before = w.grant(usd(10));
    w.pass(HOUR_MS);
    w.grant(usd(10));
    ended(w.give_back(&before, None));
    assert_eq!(exhausted(w.try_grant(AGENT, usd(1))).budget.no, day);
}

#[test]
fn refresh_over_the_rollover_closes_there_and_lends_here() {
    let mut w = late_in_the_day();
    let day = w.open(Scope::Organization, usd(10), Window::Day, Zone::UTC);
    let old = w.grant(usd(6));
    w.report(&old, "r1", usd(1));
    let yesterday = w.now;
    w.pass(HOUR_MS);
    assert_eq!(w.refresh(&old, usd(99)).granted, usd(10));
    assert_eq!(in_micros(w.account_at(day, yesterday)), (1_000_000, 0, 0));
    assert_eq!(in_micros(w.account(day)), (0, 10_000_000, 0));
}

#[test]
fn refresh_over_the_rollover_is_not_denied_by_the_full_window_behind_it() {
    let mut w = late_in_the_day();
    w.open(Scope::Organization, usd(10), Window::Day, Zone::UTC);
    let old = w.grant(usd(10));
    denied(w.try_refresh(&old, usd(1), None));
    w.pass(HOUR_MS);
    assert_eq!(granted(w.try_refresh(&old, usd(1), Some(usd(50)))).granted, usd(1));
}

#[test]
fn suspense_of_the_old_window_stays_there() {
    let mut w = late_in_the_day();
    let day = w.open(Scope::Organization, usd(10), Window::Day, Zone::UTC);
    let lease = w.grant(usd(10));
    let yesterday = w.now;
    w.pass(TTL_MS);
    ended(w.expire(&lease));
    assert_eq!(in_micros(w.account_at(day, yesterday)), (0, 0, 10_000_000));
    assert_eq!(in_micros(w.account(day)), (0, 0, 0));
}

#[test]
fn the_window_follows_the_zone_of_the_budget() {
    let mut w = World::with_allocation(usd(1_000));
    // 18:15 UTC is midnight in Kathmandu
    w.now = at("2026-11-20T18:14:59.999Z");
    let utc = w.open(Scope::Organization, usd(100), Window::Day, Zone::UTC);
    let kathmandu = w.open(owner_scope("ann"), usd(10), Window::Day, zone("Asia/Kathmandu"));
    w.grant(usd(10));
    assert_eq!(exhausted(w.try_grant(AGENT, usd(1))).window_end, Some(at("2026-11-20T18:15:00Z")));
    w.pass(1);
    w.grant(usd(10));
    assert_eq!(in_micros(w.account(utc)), (0, 20_000_000, 0), "one day in UTC");
    assert_eq!(in_micros(w.account(kathmandu)), (0, 10_000_000, 0));
}

#[test]
fn one_scope_may_have_a_cap_for_each_window() {
    let mut w = World::with_allocation(usd(1_000));
    let day = w.open(owner_scope("ann"), usd(3), Window::Day, Zone::UTC);
    let week = w.open(owner_scope("ann"), usd(5), Window::Week, Zone::UTC);
    let month = w.open(owner_scope("ann"), usd(6), Window::Month, Zone::UTC);
    // Friday: the day binds. Saturday: the week. Monday: the month.
    for (granted_usd, binding, days) in [(3, day, 1), (2, week, 2), (1, month, 0)] {
        assert_eq!(granted(w.try_grant(AGENT, usd(9))).granted, usd(granted_usd));
        assert_eq!(exhausted(w.try_grant(AGENT, usd(1))).budget.no, binding);
        w.pass(days * DAY_MS);
    }
}

#[test]
fn a_cap_opened_late_has_seen_its_window_from_the_start_and_nothing_before() {
    let build = |early: bool| {
        let mut w = World::with_allocation(usd(1_000));
        w.now = at("2026-11-20T00:00:00Z");
        let open = |w: &mut World| w.open(Scope::Organization, usd(100), Window::Day, Zone::UTC);
        w.pass(-HOUR_MS);
        let before = w.grant(usd(7));
        w.pass(HOUR_MS);
        let mut day = early.then(|| open(&mut w));
        let lease = w.grant(usd(4));
        w.report(&lease, "r1", usd(1));
        w.pass(HOUR_MS);
        w.report(&before, "r2", usd(2));
        let silent = w.grant(usd(5));
        ended(w.revoke(&silent));
        let day = *day.get_or_insert_with(|| open(&mut w));
        w.report(&before, "r3", usd(1));
        w.report(&lease, "r4", usd(1));
        w.report(&silent, "r5", usd(6));
        ended(w.give_back(&before, None));
        (w.account(day), w.account_at(day, at("2026-11-19T23:00:00Z")))
    };
    let (today, yesterday) = build(false);
    assert_eq!((in_micros(today), today.overrun), ((8_000_000, 2_000_000, 0), usd(1)));
    assert_eq!(in_micros(yesterday), (0, 0, 0), "the window before it was opened is nobody's");
    assert_eq!(build(true), (today, yesterday), "opened early or late, the figures are the same");
}

#[test]
fn lowering_a_cap_counts_in_the_window_of_now() {
    let mut w = late_in_the_day();
    let day = w.open(Scope::Organization, usd(10), Window::Day, Zone::UTC);
    w.grant(usd(8));
    w.adjust(day, usd(5), true);
    exhausted(w.try_grant(AGENT, usd(1)));
    w.pass(HOUR_MS);
    assert_eq!(granted(w.try_grant(AGENT, usd(99))).granted, usd(5));
}

#[test]
fn nothing_is_lent_by_a_budget_whose_first_window_is_still_to_come() {
    let mut w = World::with_allocation(usd(1_000));
    w.now = at("2026-11-21T00:00:01Z");
    let day = w.open(Scope::Organization, usd(10), Window::Day, Zone::UTC);
    w.pass(-2_000);
    // Money lent on yesterday's date would be in none of its books
    assert_eq!(exhausted(w.try_grant(AGENT, usd(99))).budget.no, day);
    w.adjust(day, usd(10), false);
    let unlimited = w.grant(usd(99));
    w.adjust(day, usd(10), true);
    exhausted(w.try_grant(AGENT, usd(1)));
    w.pass(2_000);
    assert_eq!(granted(w.try_grant(AGENT, usd(99))).granted, usd(10));
    w.report(&unlimited, "r1", usd(99));
    assert_eq!(in_micros(w.account(day)), (0, 10_000_000, 0));
}

#[test]
fn a_budget_opened_after_the_clock_went_back_knows_the_leases_of_later_windows() {
    let mut w = World::with_allocation(usd(1_000));
    w.now = at("2026-11-22T10:00:00Z");
    let ahead = w.grant(usd(4));
    w.pass(-DAY_MS);
    let today = w.grant(usd(2));
    let day = w.open(Scope::Organization, usd(10), Window::Day, Zone::UTC);
    w.report(&ahead, "r1", usd(1));
    w.report(&today, "r2", usd(1));
    assert_eq!(in_micros(w.account(day)), (1_000_000, 1_000_000, 0));
    assert_eq!(in_micros(w.account_at(day, w.now.plus_millis(DAY_MS))), (1_000_000, 3_000_000, 0));
    w.pass(DAY_MS);
    assert_eq!(granted(w.try_grant(AGENT, usd(99))).granted, usd(6));
}

proptest! {
    /// The windows of a budget cut all time into pieces without gap or overlap.
    #[test]
    fn every_instant_is_in_exactly_one_window(
        at in 0_i64..4_102_444_800_000,
        zone in 0..ZONES.len(),
        window in prop::sample::select(vec![Window::Day, Window::Week, Window::Month]),
    ) {
        let (start, end) = window.bounds(&ZONES[zone], Timestamp::from_millis(at));
        let end = end.expect("an end").millis();
        prop_assert!(start.millis() <= at && at < end);
        let start_of = |ms| window.bounds(&ZONES[zone], Timestamp::from_millis(ms)).0.millis();
        prop_assert_eq!([start_of(start.millis()), start_of(end - 1), start_of(end)], [start.millis(), start.millis(), end]);
    }
}

#[test]
fn absurd_clocks_neither_panic_nor_lend_above_the_cap() {
    for ms in [i64::MIN, -1, 0, 1, i64::MAX - 1, i64::MAX] {
        let mut w = World::with_allocation(usd(1_000));
        w.now = Timestamp::from_millis(ms);
        let week = w.open(Scope::Organization, usd(10), Window::Week, zone("Pacific/Apia"));
        w.grant(usd(8));
        assert_eq!(granted(w.try_grant(AGENT, usd(8))).granted, usd(2), "{ms}");
        assert_eq!(w.account(week).committed(), Ok(usd(10)), "{ms}");
    }
}
