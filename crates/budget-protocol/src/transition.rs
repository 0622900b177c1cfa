//! What may end a lease, and in which state it leaves it.

use kernel::{EndedBy, LeaseState};

/// The state of a lease after `cause`, or `None` where that cause is refused in its present state.
///
/// | state | return | refresh | settle | expiry | revoke | agent deleted |
/// |---|---|---|---|---|---|---|
/// | active | closed | closed | – | expired | revoked | revoked |
/// | expired | closed | closed | closed | – | – | – |
/// | revoked | – | – | closed | – | – | – |
/// | closed | – | – | – | – | – | – |
pub const fn after(state: LeaseState, cause: EndedBy) -> Option<LeaseState> {
    match (state, cause) {
        (LeaseState::Active | LeaseState::Expired, EndedBy::Return | EndedBy::Refresh)
        | (LeaseState::Expired | LeaseState::Revoked, EndedBy::Settle) => Some(LeaseState::Closed),
        (LeaseState::Active, EndedBy::Expiry) => Some(LeaseState::Expired),
        (LeaseState::Active, EndedBy::Revoke | EndedBy::AgentDeleted) => Some(LeaseState::Revoked),
        _ => None,
    }
}

/// Whether a lease in this state may still be lent from.
pub const fn is_usable(state: LeaseState) -> bool {
    matches!(state, LeaseState::Active)
}

#[cfg(test)]
mod tests {
    use kernel::{EndedBy, LeaseState};

    use super::after;

    #[test]
    fn every_transition_is_one_that_lease_states_allow() {
        for state in LeaseState::ALL {
            for cause in EndedBy::ALL {
                if let Some(next) = after(state, cause) {
                    assert!(state.may_become(next), "{state:?} {cause:?} {next:?}");
                }
            }
        }
    }

    #[test]
    fn a_closed_lease_stays_closed_and_a_revoked_one_is_only_settled() {
        assert!(EndedBy::ALL.iter().all(|cause| after(LeaseState::Closed, *cause).is_none()));
        let ends: Vec<_> = EndedBy::ALL.into_iter().filter(|c| after(LeaseState::Revoked, *c).is_some()).collect();
        assert_eq!(ends, [EndedBy::Settle]);
    }

    #[test]
    fn an_active_lease_is_not_settled_by_an_operator() {
        assert_eq!(after(LeaseState::Active, EndedBy::Settle), None);
    }
}
