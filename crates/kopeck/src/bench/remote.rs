//! Owns the people of a service that somebody else runs: they sign up and are paid in over its API.
//!
//! Never: more people than were asked for, or a password that is used elsewhere. Bounds: [`PEOPLE_MAX`], one
//! after another; a sign-up takes the service a password's hash, and its throttle may say no.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, bail, ensure};
use serde_json::json;

use super::asker::Asker;
use super::progress;
use super::requests::{Crowd, Person};
use crate::auth::SessionToken;

/// The greatest number of people that sign up.
pub(super) const PEOPLE_MAX: u64 = 1_000;

/// Where a URL leads: plain HTTP, without a path.
pub(super) fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let rest = url.strip_prefix("http://").context("--url begins with http:// (no TLS here)")?;
    let host = rest.trim_end_matches('/');
    ensure!(!host.contains('/'), "--url has no path");
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut addresses = host.to_socket_addrs().with_context(|| format!("who is {host}?"))?;
    addresses.next().with_context(|| format!("{host} has no address"))
}

/// Signs people up, and pays each of them in.
pub(super) fn crowd(address: SocketAddr, people: u64) -> anyhow::Result<Crowd> {
    let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let (Some(email), Some(password)) = (set("BANK_EMAIL"), set("BANK_PASS")) else {
        bail!("--url needs the bank's credentials in BANK_EMAIL and BANK_PASS");
    };
    let mut asker = Asker::new(address)?;
    let claim = json!({"email": email, "password": password});
    let bank = logged_in(&mut asker, "/api/login", &claim)?;
    let run = SessionToken::generate()?.reveal();
    let (run, password) = (run.get(..12).unwrap_or_default(), SessionToken::generate()?.reveal());
    let bar = progress::counted("people sign up", people);
    let people = (0..people).map(|number| {
        let claim = json!({
            "name": format!("bench {number}"),
            "email": format!("bench-{run}-{number}@localhost"),
            "password": password,
        });
        let person = logged_in(&mut asker, "/api/signup", &claim)?;
        let deposit = json!({"wallet_id": person.wallet, "amount": 10_000, "details": "bench"});
        asker.post("/api/external_to_wallet", &bank.cookie, &deposit)?;
        bar.inc(1);
        Ok(person)
    });
    let people = people.collect::<anyhow::Result<Vec<_>>>()?;
    bar.finish_and_clear();
    let wallets = people.len();
    Ok(Crowd { bank, people, wallets })
}

fn logged_in(asker: &mut Asker, path: &str, claim: &serde_json::Value) -> anyhow::Result<Person> {
    let answer = asker.post(path, "", claim)?;
    let wallet = answer.number("wallet_id").context("an answer without a wallet")?;
    let cookie = answer.cookie.context("an answer without a session")?.to_owned();
    Ok(Person { wallet, cookie })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_plain_http() {
        assert_eq!(address("http://127.0.0.1:5000/").unwrap().to_string(), "127.0.0.1:5000");
        assert_eq!(address("http://127.0.0.1").unwrap().port(), 80);
        for bad in ["https://127.0.0.1", "127.0.0.1:5000", "http://127.0.0.1/api"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
