//! Owns what every page has in common: its frame, its title, and how it becomes an answer.
//!
//! Never: what a page is about. Bounds: a page is rendered whole, in memory, and is never kept by
//! a cache: it may show somebody's money.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};

use super::assets;
use super::language::{self, Language};

/// What the frame around a page's content needs.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The language of the page.
    pub(crate) language: Language,
    /// What the browser's tab says.
    pub(crate) title: String,
    /// The ways to read this page in another language.
    pub(crate) other_languages: Vec<LanguageLink>,
    /// The form token of the button that logs out; `None` when nobody is logged in.
    pub(crate) log_out_token: Option<String>,
}

/// A link to this page in another language.
#[derive(Debug)]
pub(crate) struct LanguageLink {
    pub(crate) address: String,
    pub(crate) tag: &'static str,
    pub(crate) own_name: &'static str,
}

impl Layout {
    /// The frame of a page at `address`.
    pub(crate) fn new(language: Language, address: &Uri, title: &str) -> Self {
        let others = Language::ALL.into_iter().filter(|other| *other != language);
        let other_languages = others.map(|other| LanguageLink {
            address: language::switch_address(address, other),
            tag: other.tag(),
            own_name: other.own_name(),
        });
        Self {
            language,
            title: language.say_one("page-title", "title", title),
            other_languages: other_languages.collect(),
            log_out_token: None,
        }
    }

    /// Says in the title that something is to be put right: a screen reader reads it first.
    pub(crate) fn mark_refused(&mut self, title: &str) {
        self.title = self.language.say_one("page-title-error", "title", title);
    }

    /// Leaves out the links to this page in other languages: they would lose a form that came back, with what was
    /// typed and its key, and who types it again could pay again.
    pub(crate) fn keep_form(&mut self) {
        self.other_languages.clear();
    }

    /// Says in the title that something was done: what stands on a page when it loads is read out by
    /// nothing else. It does not say what: titles stay in a browser's history after the log-out.
    pub(crate) fn mark_done(&mut self, title: &str) {
        self.title = self.language.say_one("page-title-done", "title", title);
    }

    /// Where the style sheet is.
    #[expect(clippy::unused_self, reason = "templates call methods only")]
    pub(crate) fn style(&self) -> &'static str {
        assets::style_address()
    }

    /// Where the icon is.
    #[expect(clippy::unused_self, reason = "templates call methods only")]
    pub(crate) fn icon(&self) -> &'static str {
        assets::icon_address()
    }
}

/// A page as an answer.
pub(crate) fn answer(status: StatusCode, page: &impl Template) -> Response {
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    match page.render() {
        Ok(text) => (status, no_store, Html(text)).into_response(),
        // Writing into memory does not fail; a template that does is a defect, and says no more.
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, no_store, "500").into_response(),
    }
}
