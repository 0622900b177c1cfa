//! GET `/docs/stream`: a page that shows the stream, to look at it and to copy from.

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::response::IntoResponse;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

/// The live stream in a browser
///
/// A page that asks for a token, subscribes, comes back with its cursor when the connection is lost, and shows what it
/// hears. Nothing is loaded from elsewhere, and the token is kept nowhere.
#[utoipa::path(
    get,
    path = "/docs/stream",
    tag = "stream",
    responses((status = 200, description = "The page", body = String, content_type = "text/html")),
)]
pub async fn stream_page() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, include_str!("../../assets/stream.html"))
}

pub(super) async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("../../assets/stream.js"))
}
