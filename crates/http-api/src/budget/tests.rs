//! What the budget protocol does when things go wrong below it.

use kernel::{Clock as _, ErrorCode, Secret};

use super::agent_caller::{Checks, SignedToken};
use crate::agents::tests::world::World;
use crate::context::RequestTag;
use crate::{ApiError, RequestContext};

/// A write whose answer was lost may have happened: made again without the client's knowledge, it would lend twice.
#[tokio::test]
async fn a_failure_of_the_store_is_not_tried_again_behind_the_clients_back() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    let api = &w.t.api;
    let signed = SignedToken::verify(api, &Secret::new(token), w.t.clock.now()).expect("signed");
    let context = RequestContext::new(RequestTag::random(&*api.entropy), std::net::Ipv4Addr::LOCALHOST.into());
    let mut checks = Checks::new(api, &signed, &context);
    checks.picture().await.expect("known");
    for failure in [ApiError::unavailable("lost"), ApiError::overloaded(), ApiError::internal("a defect")] {
        assert!(checks.accept::<()>(Err(failure)).is_err());
    }
    assert!(matches!(checks.accept::<()>(Err(ErrorCode::AgentFrozen.into())), Ok(None)), "perhaps not any more");
}
