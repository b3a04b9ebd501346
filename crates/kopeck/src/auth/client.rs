//! Owns who is on the other end: the client's address and whether it speaks HTTPS.
//!
//! Never: a forwarded header believed that a trusted proxy did not write. Bounds: the hops of one
//! X-Forwarded-For are read from the right until the first that is not trusted.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The address of the connection's other end. The server puts it into every request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Who sent a request. The edge puts it into every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// The client's address: the peer's, or what trusted proxies say.
    pub(crate) address: IpAddr,
    /// Whether the client came by HTTPS, as a trusted proxy says.
    pub(crate) https: bool,
}

impl Client {
    /// Reads it off a request that came from `peer`.
    pub(crate) fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let peer = peer.to_canonical();
        if !is_trusted(peer, trusted) {
            return Self { address: peer, https: false };
        }
        // With several headers, the last was written by the nearest proxy.
        let protocols = headers.get_all("x-forwarded-proto").into_iter().next_back();
        let https = protocols
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.rsplit(',').next())
            .is_some_and(|protocol| protocol.trim().eq_ignore_ascii_case("https"));
        Self { address: forwarded_for(peer, headers, trusted), https }
    }
}

/// Whether a request most likely came by a proxy that nobody told of: from nearby, and for somebody else.
pub(crate) fn is_by_untrusted_proxy(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    let is_near = match peer {
        IpAddr::V4(peer) => peer.is_loopback() || peer.is_private() || peer.is_link_local(),
        IpAddr::V6(peer) => {
            peer.is_loopback() || peer.is_unique_local() || peer.is_unicast_link_local()
        }
    };
    is_near && headers.contains_key("x-forwarded-for") && !is_trusted(peer, trusted)
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// The right-most hop that is not a trusted proxy; the left-most one when all are.
fn forwarded_for(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut address = peer;
    for value in headers.get_all("x-forwarded-for").into_iter().rev() {
        for hop in value.to_str().unwrap_or_default().rsplit(',') {
            // What is not an address was not written by our proxies: the last known hop it is.
            let Some(hop) = parse_hop(hop.trim()) else { return address };
            address = hop;
            if !is_trusted(hop, trusted) {
                return address;
            }
        }
    }
    address
}

/// An address, with or without a port, IPv6 with or without brackets.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let plain = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = plain.parse().ok();
    let address = address.or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, forwarded: &[&str], protocol: &str, expected: &str, https: bool) {
        let trusted: Vec<IpNet> =
            vec!["10.0.0.0/8".parse().unwrap(), "fd00::1/128".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        if !protocol.is_empty() {
            headers.append("x-forwarded-proto", protocol.parse().unwrap());
        }
        let client = Client::of(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(client, Client { address: expected.parse().unwrap(), https }, "{forwarded:?}");
    }

    #[test]
    fn proxies_that_nobody_told_of() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let mut forwarded = HeaderMap::new();
        let none = forwarded.clone();
        forwarded.append("x-forwarded-for", "198.51.100.7".parse().unwrap());
        for (peer, expected) in [
            ("127.0.0.1", true),
            ("192.168.0.1", true),
            ("::ffff:172.17.0.1", true),
            ("::1", true),
            ("fd00::1", true),
            ("10.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("203.0.113.9", false),
            ("2001:db8::1", false),
        ] {
            let peer = peer.parse().unwrap();
            assert_eq!(is_by_untrusted_proxy(peer, &forwarded, &trusted), expected, "{peer}");
            assert!(!is_by_untrusted_proxy(peer, &none, &trusted), "{peer}");
        }
    }

    #[test]
    fn addresses() {
        check("203.0.113.9", &[], "", "203.0.113.9", false);
        check("203.0.113.9", &["1.1.1.1"], "https", "203.0.113.9", false);
        check("10.0.0.1", &[], "", "10.0.0.1", false);
        check("10.0.0.1", &["198.51.100.7"], "https", "198.51.100.7", true);
        check("::ffff:10.0.0.1", &["198.51.100.7"], "http", "198.51.100.7", false);
        check("10.0.0.1", &["6.6.6.6, 198.51.100.7, 10.1.1.1"], "", "198.51.100.7", false);
        check("10.0.0.1", &["6.6.6.6", "198.51.100.7"], "http,https", "198.51.100.7", true);
        check("10.0.0.1", &["10.2.2.2, 10.1.1.1"], "https,http", "10.2.2.2", false);
        check("10.0.0.1", &["6.6.6.6, nonsense, 10.1.1.1"], "", "10.1.1.1", false);
        check("fd00::1", &["[2001:db8::5]:4711"], "", "2001:db8::5", false);
        check("fd00::1", &["198.51.100.7:80"], "", "198.51.100.7", false);
    }
}
