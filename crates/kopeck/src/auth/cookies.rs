//! Owns the cookies: their names, attributes, and how they are read.
//!
//! Never: a cookie that a script can read, or one sent along with another site's form.
//! Bounds: two cookies, 64 characters each; the session's lives as long as a session may at most.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};

use super::{Client, SessionToken};

/// A cookie of ours. Over HTTPS its name has the prefix `__Host-`, which binds it to this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CookieName {
    pub(crate) plain: &'static str,
    https: &'static str,
}

/// Holds the session's token.
pub(crate) const SESSION: CookieName =
    CookieName { plain: "kopeck_session", https: "__Host-kopeck_session" };

/// Holds a visitor's token, to which the forms before login are bound.
pub(crate) const VISITOR: CookieName =
    CookieName { plain: "kopeck_visitor", https: "__Host-kopeck_visitor" };

impl CookieName {
    fn on(self, client: &Client) -> &'static str {
        if client.https { self.https } else { self.plain }
    }

    /// Reads the token that the request carries. A name that came twice counts for nothing: one
    /// of the two is not ours.
    pub(crate) fn read(self, headers: &HeaderMap, client: &Client) -> Option<SessionToken> {
        let name = self.on(client).as_bytes();
        let mut values = headers
            .get_all(header::COOKIE)
            .into_iter()
            .flat_map(|value| pairs(value.as_bytes()))
            .filter_map(|pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="));
        let value = values.next()?;
        if values.next().is_some() { None } else { SessionToken::parse(value) }
    }

    /// The `Set-Cookie` value that gives the client a token.
    pub(crate) fn set(self, token: &SessionToken, client: &Client, lives: Duration) -> HeaderValue {
        self.write(&token.reveal(), client, lives.as_secs())
    }

    /// The `Set-Cookie` value that takes it away.
    pub(crate) fn clear(self, client: &Client) -> HeaderValue {
        self.write("", client, 0)
    }

    fn write(self, value: &str, client: &Client, seconds: u64) -> HeaderValue {
        let secure = if client.https { "; Secure" } else { "" };
        let name = self.on(client);
        let text =
            format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        let mut header = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        header.set_sensitive(true);
        header
    }
}

/// What stands between semicolons.
fn pairs(cookies: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(cookies);
    std::iter::from_fn(move || {
        let text = rest?;
        let (pair, after) = match memchr::memchr(b';', text) {
            Some(end) => (text.get(..end), text.get(end + 1..)),
            None => (Some(text), None),
        };
        rest = after;
        pair
    })
}

/// The `Set-Cookie` value that logs the client in; `lives` is the session's absolute expiry.
pub(crate) fn set_session(token: &SessionToken, client: &Client, lives: Duration) -> HeaderValue {
    SESSION.set(token, client, lives)
}

/// The `Set-Cookie` value that makes the client forget its session.
pub(crate) fn clear_session(client: &Client) -> HeaderValue {
    SESSION.clear(client)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn client(https: bool) -> Client {
        Client { address: IpAddr::V4(Ipv4Addr::LOCALHOST), https }
    }

    fn read(cookie: &str, https: bool) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, cookie.parse().unwrap());
        SESSION.read(&headers, &client(https)).is_some()
    }

    #[test]
    fn attributes() {
        let token = SessionToken::generate().unwrap();
        let (text, day) = (token.reveal(), Duration::from_secs(86_400));
        assert_eq!(
            set_session(&token, &client(false), day).to_str().unwrap(),
            format!("kopeck_session={text}; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax"),
        );
        assert_eq!(
            set_session(&token, &client(true), day).to_str().unwrap(),
            format!(
                "__Host-kopeck_session={text}; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax; Secure"
            ),
        );
        assert_eq!(
            clear_session(&client(false)).to_str().unwrap(),
            "kopeck_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax",
        );
    }

    #[test]
    fn reading() {
        let token = "ab".repeat(32);
        assert!(read(&format!("kopeck_session={token}"), false));
        assert!(read(&format!("a=b; kopeck_session={token}; c"), false));
        assert!(!read(&format!("__Host-kopeck_session={token}"), false));
        assert!(!read(&format!("kopeck_session={token}"), true), "planted over plain HTTP");
        assert!(read(&format!("__Host-kopeck_session={token}"), true));
        assert!(!read(&format!("kopeck_session={token}; kopeck_session={token}"), false));
        assert!(!read(&format!("kopeck_session={token};kopeck_session=x"), false));
        assert!(
            read(&format!("other=ключ; kopeck_session={token}"), false),
            "beside one that is not ASCII"
        );
        assert!(!read(&format!("kopeck_session ={token}"), false));
        assert!(!read(&format!("kopeck_session2={token}"), false));
        assert!(!read("kopeck_session", false));
        assert!(!read("kopeck_session=", false));
        assert!(!read("", false));
    }
}
