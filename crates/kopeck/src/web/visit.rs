//! Owns what every page wants to know of a request: the language, who it is, and a form's token.
//!
//! Never: what a page is about. Bounds: one look at the session a request; a token is issued only
//! for pages that have a form.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;

use super::errors;
use super::language::Language;
use super::layout::{self, Layout};
use crate::auth::{Caller, Client, form_token};
use crate::extract::MaybeCaller;
use crate::state::AppState;

/// A request for a page.
pub(crate) struct Visit {
    /// The language to answer in.
    pub(crate) language: Language,
    /// What was asked for.
    pub(crate) uri: Uri,
    /// The request's headers.
    pub(crate) headers: HeaderMap,
    /// Who is on the other end.
    pub(crate) client: Client,
    /// Who it is, if somebody is logged in.
    pub(crate) caller: Option<Caller>,
}

impl FromRequestParts<AppState> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        // A failure to tell who it is is logged at the edge; a person gets a page.
        let client = Client::from_request_parts(parts, state)
            .await
            .map_err(|problem| errors::page_instead(problem, &parts.headers))?;
        let MaybeCaller(caller) = MaybeCaller::from_request_parts(parts, state)
            .await
            .map_err(|problem| errors::page_instead(problem, &parts.headers))?;
        Ok(Self {
            language: Language::of_headers(&parts.headers),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
            client,
            caller,
        })
    }
}

/// A token for the forms of one page, and the cookie that goes out with it, if any.
pub(crate) struct IssuedToken {
    /// The text of the hidden field.
    pub(crate) text: String,
    cookie: Option<HeaderValue>,
}

impl IssuedToken {
    /// The page as an answer, with the cookie that its forms need.
    pub(crate) fn answer(self, status: StatusCode, page: &impl askama::Template) -> Response {
        let mut response = layout::answer(status, page);
        if let Some(cookie) = self.cookie {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        response
    }
}

impl Visit {
    /// A token for the forms of the page that is being made. Once a page. Errors: the operating
    /// system gave no randomness.
    pub(crate) fn issue_token(&self) -> Result<IssuedToken, getrandom::Error> {
        let (token, cookie) = form_token::issue(&self.headers, self.caller.as_ref(), &self.client)?;
        Ok(IssuedToken { text: token.to_string(), cookie })
    }

    /// Whether a form that was sent came from a page made for this client.
    pub(crate) fn verify_token(&self, presented: &str) -> bool {
        form_token::verify(presented, &self.headers, self.caller.as_ref(), &self.client)
    }

    /// The frame of a page.
    pub(crate) fn layout(&self, title: &str, token: Option<&IssuedToken>) -> Layout {
        let mut layout = Layout::new(self.language, &self.uri, title);
        if self.caller.is_some() {
            layout.log_out_token = token.map(|token| token.text.clone());
        }
        layout
    }

    /// The page for a failure.
    pub(crate) fn error(&self, status: StatusCode) -> Response {
        errors::page(status, &self.headers)
    }
}
