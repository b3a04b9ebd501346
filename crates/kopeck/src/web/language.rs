//! Owns which language a page is in: the switch, its cookie, and `Accept-Language`.
//!
//! Never: the words (that is `text`), or a place to send somebody to on another host. Bounds: two
//! languages; English when nothing says otherwise; the cookie lives a year and says nothing else.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::cookie::CookieJar;

/// The cookie that remembers a choice.
const COOKIE: &str = "lang";
/// The query parameter that makes one.
const PARAMETER: &str = "lang";
const COOKIE_AGE_SECONDS: u32 = 365 * 24 * 60 * 60;

/// A language that every page can be shown in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// English.
    English,
    /// Russian.
    Russian,
}

impl Language {
    /// Every language, in the order of the switch.
    pub(crate) const ALL: [Self; 2] = [Self::English, Self::Russian];

    /// The BCP 47 tag.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Russian => "ru",
        }
    }

    /// What the language calls itself.
    pub(crate) fn own_name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::Russian => "Русский",
        }
    }

    fn of_tag(tag: &str) -> Option<Self> {
        let primary = tag.split(['-', '_']).next()?;
        Self::ALL.into_iter().find(|language| primary.eq_ignore_ascii_case(language.tag()))
    }

    /// The language of a request: the choice that was made, else what the browser asks for.
    pub(crate) fn of_headers(headers: &HeaderMap) -> Self {
        let chosen = CookieJar::from_headers(headers)
            .get(COOKIE)
            .and_then(|cookie| Self::of_tag(cookie.value()));
        let asked = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        chosen.or_else(|| asked.and_then(Self::negotiate)).unwrap_or(Self::English)
    }

    /// The language that an `Accept-Language` header (RFC 9110, section 12.5.4) weighs most.
    ///
    /// The libraries of the field read the order and drop the weights; here both count.
    fn negotiate(header: &str) -> Option<Self> {
        let mut best: Option<(u16, Self)> = None;
        for range in header.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let Some(language) = parts.next().and_then(Self::of_tag) else { continue };
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1_000, thousandths);
            if weight > best.map_or(0, |(weight, _)| weight) {
                best = Some((weight, language));
            }
        }
        best.map(|(_, language)| language)
    }
}

/// A weight such as `0.8` in thousandths; what is not a weight counts for nothing.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = format!("{fraction:0<3}");
    match (whole, fraction.get(..3).map(str::parse::<u16>)) {
        ("1", _) => 1_000,
        ("0", Some(Ok(thousandths))) => thousandths,
        _ => 0,
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Language {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of_headers(&parts.headers))
    }
}

/// Middleware: `?lang=ru` on any page remembers the choice and leads to the same page without it;
/// every page says which language it is in, and that this depends on the request's headers.
pub(crate) async fn layer(request: Request, next: Next) -> Response {
    if request.method() == Method::GET
        && let Some((language, page)) = switched(request.uri())
    {
        let cookie = format!(
            "{COOKIE}={}; Path=/; Max-Age={COOKIE_AGE_SECONDS}; HttpOnly; SameSite=Lax",
            language.tag()
        );
        return ([(header::SET_COOKIE, cookie)], Redirect::to(&page)).into_response();
    }
    let language = Language::of_headers(request.headers());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
    headers.append(header::VARY, HeaderValue::from_static("accept-language, cookie"));
    response
}

/// The language that an address switches to, and the address without the switch.
fn switched(uri: &Uri) -> Option<(Language, String)> {
    let mut language = None;
    let mut kept = Vec::new();
    for pair in uri.query()?.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((PARAMETER, tag)) => language = language.or(Language::of_tag(tag)),
            _ => kept.push(pair),
        }
    }
    // A path that begins with two slashes would name another host.
    let path = uri.path().trim_start_matches(['/', '\\']);
    let question = if kept.is_empty() { "" } else { "?" };
    Some((language?, format!("/{path}{question}{}", kept.join("&"))))
}

/// The address of this very page in another language.
pub(crate) fn switch_address(uri: &Uri, language: Language) -> String {
    let kept: Vec<&str> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(PARAMETER))
        .collect();
    let path = uri.path().trim_start_matches(['/', '\\']);
    let and = if kept.is_empty() { "" } else { "&" };
    format!("/{path}?{}{and}{PARAMETER}={}", kept.join("&"), language.tag())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, Uri, header};

    use super::{Language, switch_address, switched};

    #[test]
    fn the_browser_s_weights_decide_unless_a_choice_was_made() {
        let check = |accept: &str, cookie: &str, expected: Language| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, accept.parse().unwrap());
            headers.insert(header::COOKIE, cookie.parse().unwrap());
            assert_eq!(Language::of_headers(&headers), expected, "{accept} {cookie}");
        };
        use Language::{English, Russian};
        check("", "", English);
        check("ru", "", Russian);
        check("ru-RU,ru;q=0.9,en-US;q=0.8,en;q=0.7", "", Russian);
        check("en-GB,en;q=0.9,ru;q=0.8", "", English);
        check("en;q=0.5, ru;q=0.75", "", Russian);
        check("en;q=0, ru;q=0.001", "", Russian);
        check("de,fr;q=0.9,ru;q=0.1", "", Russian);
        check("de,fr", "", English);
        check("*", "", English);
        check("ru;q=nonsense, en;q=0.1", "", English);
        check("RU-ru", "", Russian);
        check("rue", "", English);
        check("en", "a=b; lang=ru", Russian);
        check("ru", "lang=en", English);
        check("ru", "lang=xx", Russian);
    }

    #[test]
    fn the_switch_leads_to_the_same_page_of_this_host() {
        let check = |address: &str, expected: Option<(Language, &str)>| {
            let uri: Uri = address.parse().unwrap();
            let expected = expected.map(|(language, page)| (language, page.to_owned()));
            assert_eq!(switched(&uri), expected, "{address}");
        };
        check("/", None);
        check("/login?lang=xx", None);
        check("/login?lang=ru", Some((Language::Russian, "/login")));
        check("/?from=3&lang=en&trail=9", Some((Language::English, "/?from=3&trail=9")));
        check("//other.example/?lang=ru", Some((Language::Russian, "/other.example/")));
    }

    #[test]
    fn the_address_of_the_switch_keeps_the_query() {
        let check = |address: &str, expected: &str| {
            let uri: Uri = address.parse().unwrap();
            assert_eq!(switch_address(&uri, Language::Russian), expected);
        };
        check("/", "/?lang=ru");
        check("/?from=3&lang=en", "/?from=3&lang=ru");
        check("//other.example", "/other.example?lang=ru");
    }
}
