//! Traces of agents that are instrumented with OpenTelemetry: OTLP over HTTP, POST `/v1/traces`.
//!
//! Spans that follow the semantic conventions for generative AI become the same facts as events, so that an agent needs no
//! client of ours to be heard. Everything else in a trace is ignored, and of a span only the figures are kept.
//!
//! | module | holds |
//! |---|---|
//! | [`wire`] | the messages, as far as they are read: the rest is skipped and never decoded |
//! | [`span`] | what a span means |
//! | [`receive`] | the endpoint; its route stands with those of [`crate::traces`], which has the same address |

pub(crate) mod receive;
mod span;
#[cfg(test)]
mod tests;
pub(crate) mod wire;
