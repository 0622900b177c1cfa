//! Budget control: what is lent, what is frozen, and why money moved or does not.

pub mod explain;
pub mod exposure;
pub mod freeze;
pub mod freezes;
pub mod journal;
pub mod lease;
pub mod leases;
pub mod revoke;
pub mod settle;
mod shape;
#[cfg(test)]
mod tests;
pub mod unfreeze;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ApiState;

/// The routes of this module.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(leases::leases))
        .routes(routes!(lease::lease))
        .routes(routes!(settle::settle))
        .routes(routes!(revoke::revoke))
        .routes(routes!(freeze::freeze))
        .routes(routes!(unfreeze::unfreeze))
        .routes(routes!(freezes::freezes))
        .routes(routes!(exposure::exposure))
        .routes(routes!(explain::explain))
        .routes(routes!(journal::journal))
}
