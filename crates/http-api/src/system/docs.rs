//! GET `/docs`: the OpenAPI document for people. Page, script and style are part of the program; nothing is loaded from
//! elsewhere, and the browser is told to allow nothing else.

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::response::IntoResponse;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

/// This document for people
#[utoipa::path(
    get,
    path = "/docs",
    tag = "system",
    responses((status = 200, description = "A page that shows the OpenAPI document", body = String, content_type = "text/html")),
)]
pub async fn docs() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, include_str!("../../assets/docs.html"))
}

pub(super) async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("../../assets/docs.js"))
}

pub(super) async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../../assets/docs.css"))
}
