//! Owns the refusal of requests that another site made a browser send.
//!
//! Never: a say over safe methods, or over clients that are no browsers. Bounds: three headers.

use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};

/// Whether a request may change something, as far as its origin goes.
///
/// Browsers of today say in Sec-Fetch-Site where a request was made; older ones say it in Origin,
/// whose host must be the one asked. A client that sends neither is no browser.
pub(crate) fn allows(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    if method.is_safe() {
        return true;
    }
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let host = host.or_else(|| uri.authority().map(|authority| authority.as_str().as_bytes()));
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (origin, host) {
        (Some((_, origin)), Some(host)) => origin.as_bytes().eq_ignore_ascii_case(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, headers: &[(&'static str, &str)], expected: bool) {
        let map = headers.iter().map(|(name, value)| {
            (axum::http::HeaderName::from_static(name), value.parse().unwrap())
        });
        assert_eq!(
            allows(&method, &Uri::from_static("/"), &map.collect()),
            expected,
            "{headers:?}"
        );
    }

    #[test]
    fn origins() {
        let host = ("host", "kopeck.example:5000");
        check(Method::POST, &[host], true);
        check(Method::POST, &[host, ("sec-fetch-site", "same-origin")], true);
        check(Method::POST, &[host, ("sec-fetch-site", "none")], true);
        check(Method::POST, &[host, ("sec-fetch-site", "same-site")], false);
        check(Method::POST, &[host, ("sec-fetch-site", "cross-site")], false);
        check(Method::POST, &[host, ("sec-fetch-site", "new-word")], false);
        check(Method::GET, &[host, ("sec-fetch-site", "cross-site")], true);
        check(Method::POST, &[host, ("origin", "http://kopeck.example:5000")], true);
        check(Method::POST, &[host, ("origin", "https://KOPECK.example:5000")], true);
        check(Method::POST, &[host, ("origin", "http://kopeck.example")], false);
        check(Method::POST, &[host, ("origin", "http://evil.example")], false);
        check(Method::POST, &[host, ("origin", "null")], false);
        check(Method::POST, &[("origin", "http://kopeck.example:5000")], false);
        let both =
            [host, ("sec-fetch-site", "cross-site"), ("origin", "http://kopeck.example:5000")];
        check(Method::DELETE, &both, false);
    }
}
