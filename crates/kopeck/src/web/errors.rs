//! Owns the pages that say that something went wrong.
//!
//! Never: a private detail (that is logged where it happened). Bounds: one page a status; a status
//! that has no words of its own is shown with those of its kind.

use askama::Template;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::language::Language;
use super::layout::{self, Layout};

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    layout: Layout,
    status: u16,
    heading: String,
    explanation: String,
}

/// The page for a status, in the language of the request's headers: for handlers and middleware
/// alike, wherever a person is on the other end.
pub(crate) fn page(status: StatusCode, headers: &HeaderMap) -> Response {
    let language = Language::of_headers(headers);
    let name = name_of(status);
    let heading = language.say(&format!("error-page-{name}-title"));
    let explanation = language.say(&format!("error-page-{name}"));
    // The switch leads home: the address that failed may be one that takes no GET.
    let layout = Layout::new(language, &Uri::from_static("/"), &heading);
    let page = ErrorPage { layout, status: status.as_u16(), heading, explanation };
    let mut response = layout::answer(status, &page);
    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, super::RETRY_AFTER);
    }
    response
}

/// A page in place of an error that was made for a program.
pub(crate) fn page_instead(error: impl IntoResponse, headers: &HeaderMap) -> Response {
    let error = error.into_response();
    let page = page(error.status(), headers);
    with_error(page, error)
}

/// A page that takes an error's place keeps what is to be logged of it, once and at the edge, and
/// when to come back.
pub(crate) fn with_error(mut page: Response, mut error: Response) -> Response {
    std::mem::swap(page.extensions_mut(), error.extensions_mut());
    if let Some(retry_after) = error.headers_mut().remove(header::RETRY_AFTER) {
        page.headers_mut().insert(header::RETRY_AFTER, retry_after);
    }
    page
}

/// The answer for an address that nobody knows.
pub(crate) async fn not_found(headers: HeaderMap) -> Response {
    page(StatusCode::NOT_FOUND, &headers)
}

/// The answer for a method that an address does not take.
pub(crate) async fn method_not_allowed(headers: HeaderMap) -> Response {
    page(StatusCode::METHOD_NOT_ALLOWED, &headers)
}

/// The answer to `GET` where only a form is taken: reloading a refused form leads home.
pub(crate) async fn home_instead() -> Response {
    Redirect::to("/").into_response()
}

/// The part of the words' keys.
fn name_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => "forbidden",
        404 | 410 => "not_found",
        405 => "method_not_allowed",
        413 | 414 | 431 => "payload_too_large",
        429 => "too_many_requests",
        503 | 507 => "unavailable",
        400..=499 | 501 => "bad_request",
        _ => "internal",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::{Language, name_of};

    #[test]
    fn every_status_has_words() {
        for status in (400..600).filter_map(|status| StatusCode::from_u16(status).ok()) {
            for language in Language::ALL {
                let name = name_of(status);
                assert!(language.knows(&format!("error-page-{name}-title")), "{status}");
                assert!(language.knows(&format!("error-page-{name}")), "{status}");
            }
        }
    }
}
