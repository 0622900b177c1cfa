//! Events of agents (§12.1, §12.2): what their LLM requests cost, as they tell it.
//!
//! Never 429: clients drop what is refused with a 4xx and repeat what fails with a 5xx. Where more arrives than can be
//! written, 503 says so at once. Frozen agents and exhausted ones are heard all the same: what was spent was spent.

mod intake;
mod send_batch;
mod send_one;
#[cfg(test)]
mod tests;

pub(crate) use intake::{Intake, Told};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ApiState;

/// The routes of this module.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(send_one::send_event)).routes(routes!(send_batch::send_events))
}
