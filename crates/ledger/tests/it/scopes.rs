//! Several caps at once: organization, project, owner, owner within a project, agent.

use kernel::{AgentId, ProjectId, UserId, Window, Zone};
use ledger::{Command, Outcome, Rejection, Scope, ScopeKind};

use crate::world::{
    AGENT, TTL_MS, World, denied, ended, exhausted, granted, in_micros, micros, owner_scope, project_scope, usd,
};

fn every_scope() -> [Scope; 5] {
    [
        Scope::Organization,
        project_scope("apollo"),
        owner_scope("ann"),
        Scope::OwnerProject(UserId::new("ann"), ProjectId::new("apollo")),
        Scope::Agent(AGENT),
    ]
}

#[test]
fn every_scope_of_an_agent_limits_it() {
    for scope in every_scope() {
        let mut w = World::with_allocation(usd(100));
        let window = if scope.kind() == ScopeKind::Agent { Window::Day } else { Window::None };
        let budget = w.open(scope.clone(), usd(3), window, Zone::UTC);
        assert_eq!(granted(w.try_grant(AGENT, usd(5))).granted, usd(3), "{scope:?}");
        let binding = exhausted(w.try_grant(AGENT, usd(5)));
        assert_eq!((binding.budget.no, binding.available), (budget, usd(0)), "{scope:?}");
    }
}

#[test]
fn scopes_of_others_do_not_limit_an_agent() {
    let mut w = World::with_allocation(usd(100));
    for scope in [
        project_scope("gemini"),
        owner_scope("bob"),
        Scope::OwnerProject(UserId::new("ann"), ProjectId::new("gemini")),
        Scope::OwnerProject(UserId::new("bob"), ProjectId::new("apollo")),
        Scope::Agent(AgentId(2)),
    ] {
        if scope == Scope::Agent(AgentId(2)) {
            w.hire(AgentId(2), "bob", None, micros(1));
        } else {
            w.open(scope, micros(1), Window::None, Zone::UTC);
        }
    }
    assert_eq!(granted(w.try_grant(AGENT, usd(5))).granted, usd(5));
}

#[test]
fn an_agent_without_a_project_is_not_in_any() {
    let mut w = World::new();
    w.hire(AGENT, "ann", None, usd(100));
    w.open(project_scope("apollo"), micros(1), Window::None, Zone::UTC);
    w.open(Scope::OwnerProject(UserId::new("ann"), ProjectId::new("apollo")), micros(1), Window::None, Zone::UTC);
    assert_eq!(granted(w.try_grant(AGENT, usd(5))).granted, usd(5));
}

#[test]
fn one_move_posts_the_same_amounts_on_every_account() {
    let mut w = World::with_allocation(usd(100));
    let mut budgets: Vec<_> =
        every_scope()[..4].iter().map(|s| w.open(s.clone(), usd(50), Window::None, Zone::UTC)).collect();
    budgets.push(w.open(Scope::Agent(AGENT), usd(50), Window::Month, Zone::UTC));
    let lease = w.grant(usd(5));
    w.report(&lease, "r1", usd(7));
    for budget in &budgets {
        assert_eq!((w.account(*budget).spent, w.account(*budget).overrun), (usd(7), usd(2)));
    }
    let entry = w.entries.last().expect("an entry");
    assert_eq!(entry.accounts.len(), budgets.len() + 1, "one entry, all accounts");
}

#[test]
fn the_least_available_binds_and_the_widest_of_equals_is_named() {
    let mut w = World::with_allocation(usd(5));
    let organization = w.open(Scope::Organization, usd(5), Window::None, Zone::UTC);
    w.open(owner_scope("ann"), usd(5), Window::None, Zone::UTC);
    w.grant(usd(5));
    assert_eq!(exhausted(w.try_grant(AGENT, usd(1))).budget.no, organization);
}

#[test]
fn four_agents_at_one_cap_get_exactly_the_cap() {
    let mut w = World::new();
    let agents = [1, 2, 3, 4].map(AgentId);
    for agent in agents {
        w.hire(agent, "ann", Some("apollo"), usd(100));
    }
    let shared = w.open(project_scope("apollo"), usd(10), Window::None, Zone::UTC);
    let granted: i64 = (0..40)
        .filter_map(|n| match w.try_grant(agents[n % 4], usd(3)) {
            Ok(Outcome::Granted { lease, .. }) => Some(lease.granted.micros_floor()),
            _ => None,
        })
        .sum();
    assert_eq!(granted, 10_000_000);
    assert_eq!(in_micros(w.account(shared)), (0, 10_000_000, 0));
}

#[test]
fn an_overrun_of_one_agent_stops_its_neighbours_under_the_shared_cap() {
    let mut w = World::with_allocation(usd(100));
    w.hire(AgentId(2), "ann", Some("apollo"), usd(100));
    w.open(owner_scope("ann"), usd(10), Window::None, Zone::UTC);
    let lease = w.grant(usd(1));
    w.report(&lease, "r1", usd(11));
    assert_eq!(exhausted(w.try_grant(AgentId(2), usd(1))).available, usd(-1));
}

#[test]
fn refresh_is_decided_by_every_scope_too() {
    let mut w = World::with_allocation(usd(100));
    w.hire(AgentId(2), "ann", Some("apollo"), usd(100));
    let shared = w.open(owner_scope("ann"), usd(10), Window::None, Zone::UTC);
    let lease = w.grant(usd(6));
    w.grant_to(AgentId(2), usd(4));
    assert_eq!(denied(w.try_refresh(&lease, usd(1), None)).budget.no, shared);
    assert_eq!(w.account(shared).leased, usd(10));
}

#[test]
fn a_budget_that_is_not_enabled_keeps_books_but_limits_nothing() {
    let mut w = World::with_allocation(usd(100));
    let budget = w.open(Scope::Organization, usd(1), Window::None, Zone::UTC);
    w.adjust(budget, usd(1), false);
    w.grant(usd(5));
    assert_eq!(in_micros(w.account(budget)), (0, 5_000_000, 0));
    w.adjust(budget, usd(1), true);
    assert_eq!(exhausted(w.try_grant(AGENT, usd(1))).available, usd(-4));
}

#[test]
fn a_cap_below_what_is_committed_stops_grants_until_it_fits_and_takes_nothing_back() {
    let mut w = World::with_allocation(usd(100));
    let budget = w.open(Scope::Organization, usd(50), Window::None, Zone::UTC);
    let lease = w.grant(usd(20));
    w.adjust(budget, usd(5), true);
    assert_eq!(w.lease(&lease).leased(), usd(20));
    exhausted(w.try_grant(AGENT, usd(1)));
    denied(w.try_refresh(&lease, usd(1), None));
    w.report(&lease, "r1", usd(3));
    ended(w.give_back(&lease, None));
    assert_eq!(granted(w.try_grant(AGENT, usd(9))).granted, usd(2));
}

#[test]
fn raising_a_cap_lets_grants_through_at_once() {
    let mut w = World::with_allocation(usd(1));
    w.grant(usd(1));
    exhausted(w.try_grant(AGENT, usd(1)));
    let allocation = *w.book.budgets.keys().next().expect("a budget");
    w.adjust(allocation, usd(3), true);
    assert_eq!(granted(w.try_grant(AGENT, usd(9))).granted, usd(2));
}

#[test]
fn a_moved_agent_settles_old_leases_where_they_were_granted() {
    let mut w = World::with_allocation(usd(100));
    let (old, new) = (project_scope("apollo"), project_scope("gemini"));
    let old = w.open(old, usd(10), Window::None, Zone::UTC);
    let new = w.open(new, usd(10), Window::None, Zone::UTC);
    let lease = w.grant(usd(4));
    w.agent_mut(AGENT).project = Some(ProjectId::new("gemini"));
    let next = w.grant(usd(3));
    w.report(&lease, "r1", usd(6));
    w.report(&next, "r2", usd(1));
    assert_eq!((in_micros(w.account(old)), w.account(old).overrun), ((6_000_000, 0, 0), usd(2)));
    assert_eq!(in_micros(w.account(new)), (1_000_000, 2_000_000, 0));
}

#[test]
fn refresh_after_a_move_lends_in_the_new_scopes() {
    let mut w = World::with_allocation(usd(100));
    let old = w.open(project_scope("apollo"), usd(10), Window::None, Zone::UTC);
    let new = w.open(project_scope("gemini"), usd(5), Window::None, Zone::UTC);
    let lease = w.grant(usd(10));
    w.agent_mut(AGENT).project = Some(ProjectId::new("gemini"));
    assert_eq!(w.refresh(&lease, usd(9)).granted, usd(5), "the full project left behind no longer binds");
    assert_eq!(in_micros(w.account(old)), (0, 0, 0));
    assert_eq!(in_micros(w.account(new)), (0, 5_000_000, 0));
}

#[test]
fn a_budget_opened_late_starts_from_what_its_leases_have_brought_in() {
    let mut w = World::with_allocation(usd(100));
    w.hire(AgentId(2), "bob", Some("apollo"), usd(100));
    let returned = w.grant(usd(5));
    w.report(&returned, "r1", usd(7));
    ended(w.give_back(&returned, None));
    let silent = w.grant(usd(4));
    w.report(&silent, "r2", usd(1));
    w.pass(TTL_MS);
    w.grant(usd(2));
    w.grant_to(AgentId(2), usd(8));
    let project = w.open(project_scope("apollo"), usd(100), Window::None, Zone::UTC);
    let owner = w.open(owner_scope("ann"), usd(100), Window::None, Zone::UTC);
    assert_eq!(
        (in_micros(w.account(project)), w.account(project).overrun),
        ((8_000_000, 10_000_000, 3_000_000), usd(2))
    );
    assert_eq!((in_micros(w.account(owner)), w.account(owner).overrun), ((8_000_000, 2_000_000, 3_000_000), usd(2)));
}

#[test]
fn a_deleted_budget_no_longer_counts_and_a_new_one_does_not_start_blind() {
    let mut w = World::with_allocation(usd(100));
    let first = w.open(Scope::Organization, usd(10), Window::None, Zone::UTC);
    let lease = w.grant(usd(4));
    w.book.budgets.remove(&first);
    w.report(&lease, "r1", usd(1));
    let second = w.open(Scope::Organization, usd(10), Window::None, Zone::UTC);
    assert_eq!(in_micros(w.account(second)), (1_000_000, 3_000_000, 0));
    ended(w.give_back(&lease, None));
    assert_eq!(in_micros(w.account(second)), (1_000_000, 0, 0));
}

#[test]
fn an_agent_without_an_allocation_is_lent_nothing() {
    let mut w = World::with_allocation(usd(100));
    w.book.budgets.clear();
    assert_eq!(w.try_grant(AGENT, usd(1)), Err(Rejection::NoAllocation));
    w.open(Scope::Organization, usd(10), Window::None, Zone::UTC);
    assert_eq!(w.try_grant(AGENT, usd(1)), Err(Rejection::NoAllocation));
}

#[test]
fn unknown_agents_and_budgets_are_refused() {
    let mut w = World::new();
    assert_eq!(w.try_grant(AGENT, usd(1)), Err(Rejection::AgentNotFound));
    let (actor, budget) = (crate::world::admin(), kernel::BudgetNo(9));
    let command = Command::Adjust { budget, cap: usd(1), enabled: true, actor, reason: None };
    assert_eq!(w.run(&command), Err(Rejection::BudgetNotFound));
}

#[test]
fn the_text_of_a_scope_reads_back_even_with_strange_ids() {
    let mut scopes: Vec<Scope> = every_scope().into();
    scopes.push(Scope::OwnerProject(UserId::new("a/b:c"), ProjectId::new("p.1_-")));
    scopes.push(owner_scope("a:b/c"));
    for scope in scopes {
        assert_eq!(Scope::from_key(&scope.key()), Some(scope));
    }
    for bad in ["", "agent", "agent:", "agent:x", "owner_project:ann", "planet:mars"] {
        assert_eq!(Scope::from_key(bad), None, "{bad}");
    }
}
