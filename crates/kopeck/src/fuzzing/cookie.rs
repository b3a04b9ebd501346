//! Owns the door to the cookies and to the other headers that say who is asking.
//!
//! Never: a look at the store. Bounds: linear.

use std::net::{IpAddr, Ipv4Addr};

use axum::http::{HeaderMap, HeaderValue, header};

use crate::auth::{Client, cookies, form_token};
use crate::web::language::Language;

/// The first byte says whether the client speaks HTTPS; each line of the rest is one `Cookie` header.
pub fn cookie(data: &[u8]) {
    let Some((&choice, lines)) = data.split_first() else { return };
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(64) {
        // What is not a header's value is refused before anything of ours sees it.
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(header::COOKIE, value);
    }
    let https = choice % 2 == 1;
    let client = Client { address: IpAddr::V4(Ipv4Addr::LOCALHOST), https };
    let prefix = if https { "__Host-" } else { "" };
    for (cookie, name) in
        [(cookies::SESSION, "kopeck_session"), (cookies::VISITOR, "kopeck_visitor")]
    {
        let token = cookie.read(&headers, &client);
        let found = token.as_ref().map(|token| token.reveal());
        assert_eq!(found, naive(&headers, &format!("{prefix}{name}")));
        if let Some(token) = token {
            assert!(!format!("{token:?}").contains(&token.reveal()));
            let set = cookie.set(&token, &client, std::time::Duration::from_secs(1));
            let sent = set.to_str().unwrap().split(';').next().unwrap().to_owned();
            assert_eq!(sent, format!("{prefix}{name}={}", token.reveal()));
        }
    }
    // Neither a browser's language nor a form's token is a reason to panic.
    let _ = Language::of_headers(&headers);
    for line in lines.split(|byte| *byte == b'\n') {
        let presented = String::from_utf8_lossy(line);
        assert!(!form_token::verify(&presented, &headers, None, &client), "nobody could know it");
    }
    who_is_asking(lines);
}

/// The value of the one cookie of this name, if it is a token.
fn naive(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut found = Vec::new();
    for header in headers.get_all(header::COOKIE) {
        // What holds more than visible ASCII characters was not written by us.
        let Ok(text) = header.to_str() else { continue };
        for pair in text.split(';') {
            if let Some(value) = pair.trim().strip_prefix(&format!("{name}=")) {
                found.push(value.to_owned());
            }
        }
    }
    let is_token = |value: &String| {
        value.len() == 64 && value.chars().all(|char| "0123456789abcdef".contains(char))
    };
    if found.len() == 1 { found.pop().filter(is_token) } else { None }
}

/// The same lines as what proxies and browsers say: an address is found or it is the peer's.
fn who_is_asking(lines: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(64) {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append("x-forwarded-for", value.clone());
        headers.append("x-forwarded-proto", value.clone());
        headers.append(header::ACCEPT_LANGUAGE, value);
    }
    let _ = Language::of_headers(&headers);
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let stranger = Client::of(peer, &headers, &[]);
    assert_eq!(stranger, Client { address: peer, https: false });
    let trusted = Client::of(peer, &headers, &["127.0.0.0/8".parse().unwrap()]);
    let written = String::from_utf8_lossy(lines);
    assert!(trusted.address == peer || !written.is_empty());
    assert!(!trusted.https || written.to_ascii_lowercase().contains("https"));
}
