//! Filters of traces, and traces as bodies.

use analytics::CallStatus;
use api_types::traces::TraceBody;
use kernel::{LeaseId, Money, ProjectId};
use persistence::{Trace, TraceFilter, Visibility};

use crate::Caller;
use crate::query::QueryReader;

const STATUSES: [(&str, CallStatus); 2] = [("completed", CallStatus::Completed), ("failed", CallStatus::Failed)];

/// What traces the caller asks for.
pub(super) fn filter(caller: &Caller, q: &mut QueryReader<'_>) -> TraceFilter {
    let range = q.time_range();
    TraceFilter {
        visible_to: if caller.is_admin() { Visibility::All } else { Visibility::Of(caller.user.clone()) },
        agents: q.agent_ids("agent_id"),
        projects: q.texts("project_id", 100).into_iter().map(ProjectId::new).collect(),
        providers: q.texts("provider", 50),
        models: q.texts("model", 200),
        statuses: q.words("status", &STATUSES),
        leases: q.texts("lease_id", 100).into_iter().map(LeaseId::new).collect(),
        requests: q.texts("request_id", 128),
        from: range.from,
        to: range.to,
        min_cost_micros: q.int(&["min_cost_micros"], 0, Money::MAX_CAP.micros_floor()),
    }
}

/// A trace as it is shown.
pub(super) fn body(trace: Trace) -> TraceBody {
    TraceBody {
        id: trace.id,
        event_id: trace.event_id,
        request_id: trace.request_id,
        lease_id: trace.lease.map(|lease| lease.as_str().to_owned()),
        agent_id: trace.agent.0,
        agent_name: trace.agent_name,
        owner_id: trace.owner.as_str().to_owned(),
        project_id: trace.project.map(|project| project.as_str().to_owned()),
        provider: trace.provider,
        provider_key_id: trace.provider_key.map(|key| key.0),
        model: trace.model,
        status: trace.status.as_str().to_owned(),
        error_code: trace.error_code,
        input_tokens: trace.input_tokens,
        output_tokens: trace.output_tokens,
        total_tokens: trace.input_tokens.saturating_add(trace.output_tokens),
        cost_micros: trace.cost.micros_ceil(),
        latency_ms: trace.latency_ms,
        timestamp: trace.occurred_at.millis(),
        received_at: trace.received_at.millis(),
        source: trace.source.to_owned(),
        cost_nanos: trace.cost.nanos().to_string(),
        error_message: trace.error_message,
        cached_tokens: trace.cached_tokens,
        reasoning_tokens: trace.reasoning_tokens,
        trace_id: trace.trace_id,
        span_id: trace.span_id,
        tags: trace.tags.and_then(|tags| serde_json::from_str(&tags).ok()).unwrap_or_default(),
    }
}
