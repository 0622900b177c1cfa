//! `/ws` (≡ `/api/v1/ws`) and `/ws/agents/{id}/events`: the stream as WebSocket.

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use kernel::{AgentId, ErrorCode, Secret};
use std::sync::Arc;
use ws_hub::{Manner, Session, Sight};

use super::access::{self, Door};
use super::ws_socket::{Socket, lean};
use crate::bearer::bearer;
use crate::{ApiError, ApiState, Params, RequestContext};

/// What we answer to clients that name subprotocols.
const PROTOCOL: &str = "iron-stream.v1";
/// A subprotocol that begins so is a credential: pages cannot set headers.
const PROTOCOL_BEARER: &str = "bearer.";

/// Everything that happens, as it happens, as WebSocket
///
/// Credential: the `Authorization` header (a login, an API token or an IC token); or the subprotocols `iron-stream.v1` and
/// `bearer.<token>`, both named; or a first frame `{"type":"AUTH","token":…}` within 10 seconds. Frames are JSON texts.
/// `SUBSCRIBE` narrows (`agent_ids`, `types`) and resumes (`since`, `allow_gap`). Closed with 4401 (credential), 4408 (no
/// `AUTH`), 4409 (reader too slow), 4410 (cursor too old), 1001 (server goes away: come back with the last cursor).
#[utoipa::path(
    get,
    path = "/ws",
    tag = "stream",
    security((), ("bearer" = [])),
    responses((status = 101, description = "The stream. Admins see everything, users their own agents, an IC token its agent")),
)]
pub async fn stream_socket(
    State(api): State<ApiState>,
    context: RequestContext,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    open(api, &context, &headers, upgrade, async |_, _| Ok(None)).await
}

/// What happens to one agent, as WebSocket
///
/// As `/ws`; subscriptions that name no agents are about this one.
#[utoipa::path(
    get,
    path = "/ws/agents/{id}/events",
    tag = "stream",
    security((), ("bearer" = [])),
    params(("id" = String, Path, description = "`12` or `agent_12`")),
    responses((status = 101, description = "The stream")),
)]
pub async fn agent_socket(
    State(api): State<ApiState>,
    context: RequestContext,
    headers: HeaderMap,
    params: Params,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    open(api, &context, &headers, upgrade, async |api, sight| {
        let agent = params.agent_id("id")?;
        if let Some(sight) = sight {
            check(api, agent, &sight).await?;
        }
        Ok(Some(agent))
    })
    .await
}

/// 404 or 403 for an agent that is not there or not theirs. Somebody who has yet to say who they are is told later.
async fn check(api: &ApiState, agent: AgentId, sight: &Sight) -> Result<(), ApiError> {
    if api.store.agent_picture(agent).await?.is_none() {
        return Err(ErrorCode::AgentNotFound.into());
    }
    if sight.includes(agent) { Ok(()) } else { Err(ErrorCode::AccessDenied.into()) }
}

async fn open(
    api: ApiState,
    context: &RequestContext,
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    about: impl AsyncFnOnce(&ApiState, Option<Sight>) -> Result<Option<AgentId>, ApiError>,
) -> Result<Response, ApiError> {
    check_origin(&api, headers)?;
    let (token, protocol) = credential(headers)?;
    let admission = match token {
        Some(token) => Some(access::admit(&api, token).await?),
        None => None,
    };
    if let Some(admission) = &admission {
        context.set_actor(admission.subject.as_str());
    }
    let agent = about(&api, admission.as_ref().map(|admission| access::sight(&admission.pass))).await?;
    let upgrade = upgrade.map_err(|why| {
        ApiError::new(ErrorCode::ValidationError, format!("this address is for WebSockets: {}", why.body_text()))
    })?;
    let slot = api.stream.hub.connect().ok_or_else(ApiError::overloaded)?;
    let mut upgrade = lean(upgrade);
    if let Some(protocol) = protocol {
        upgrade.set_selected_protocol(HeaderValue::from_static(protocol));
    }
    Ok(upgrade.on_upgrade(move |socket| async move {
        let hub = api.stream.hub.clone();
        let clock = Arc::clone(&api.clock);
        let door = Arc::new(Door(api));
        let session = Session::new(hub, slot, door, clock, Manner::WEB_SOCKET, Socket(socket)).about(agent);
        match admission {
            Some(admission) => session.admitted(admission).run().await,
            None => session.run().await,
        }
    }))
}

/// The credential that came with the request, if one did, and the subprotocol to answer with.
fn credential(headers: &HeaderMap) -> Result<(Option<Secret<String>>, Option<&'static str>), ApiError> {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let (mut token, mut protocol) = (None, None);
    for name in offered.flat_map(|value| value.split(',')).map(str::trim) {
        if name == PROTOCOL {
            protocol = Some(PROTOCOL);
        } else if let Some(given) = name.strip_prefix(PROTOCOL_BEARER) {
            token = token.or(Some(Secret::new(given.to_owned())));
        }
    }
    if headers.contains_key(AUTHORIZATION) {
        // Whoever sends one means it: something else in it is no reason to ask for a frame
        let given = bearer(headers).ok_or(ErrorCode::AuthMissingToken)?;
        token = Some(Secret::new(given.to_owned()));
    }
    Ok((token, protocol))
}

/// 403 for pages of other origins than the configured ones and our own. Clients that are no pages send none.
fn check_origin(api: &ApiState, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    // No credential of the page's user goes along by itself, so our own address is as good as its name
    let own = headers.get(HOST).is_some_and(|host| {
        let host = host.as_bytes();
        let origin = origin.as_bytes();
        [&b"http://"[..], b"https://"].iter().any(|scheme| origin.strip_prefix(*scheme) == Some(host))
    });
    if own || api.stream.origins.allows(origin) { Ok(()) } else { Err(ErrorCode::OriginNotAllowed.into()) }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::credential;

    fn read(headers: &[(&'static str, &'static str)]) -> Option<(Option<String>, Option<&'static str>)> {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let read = credential(&HeaderMap::from_iter(headers)).ok()?;
        Some((read.0.map(|token| token.expose().clone()), read.1))
    }

    #[test]
    fn a_credential_comes_as_header_or_as_subprotocol() {
        assert_eq!(read(&[]), Some((None, None)));
        assert_eq!(read(&[("authorization", "Bearer a.b")]), Some((Some("a.b".into()), None)));
        let both = ("sec-websocket-protocol", "iron-stream.v1, bearer.a.b");
        assert_eq!(read(&[both]), Some((Some("a.b".into()), Some("iron-stream.v1"))));
        assert_eq!(read(&[both, ("authorization", "bearer c")]), Some((Some("c".into()), Some("iron-stream.v1"))));
        assert_eq!(read(&[("authorization", "Basic abc")]), None, "not asked for later");
        assert_eq!(read(&[("sec-websocket-protocol", "chat")]), Some((None, None)));
    }
}
