//! Owns the people of a service that somebody else runs: they sign up and are paid in over its API.
//!
//! Never: more people than were asked for, or a password that is used elsewhere. Bounds: [`PEOPLE_MAX`], one
//! after another; a sign-up takes the service a password's hash, and its throttle may say no.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, bail, ensure};
use ledger::Currency;
use serde_json::json;

use super::asker::Asker;
use super::connect::connect;
use super::progress;
use super::requests::{Crowd, Person};
use crate::auth::SessionToken;

/// The greatest number of people that sign up.
pub(super) const PEOPLE_MAX: u64 = 1_000;

/// What everybody is paid in, in whole units: as much as on a private server.
const MONEY: u64 = 1_000_000;

/// Where a URL leads: plain HTTP, without a path.
pub(super) fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let rest = url.strip_prefix("http://").context("--url begins with http:// (no TLS here)")?;
    let host = rest.trim_end_matches('/');
    ensure!(!host.contains('/'), "--url has no path");
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let addresses = host.to_socket_addrs().with_context(|| format!("who is {host}?"))?;
    first_that_accepts(addresses).with_context(|| format!("{host} has no address"))?
}

/// `localhost` may be `::1` first, while the service listens on 127.0.0.1 only. Nothing if there are none.
fn first_that_accepts(
    addresses: impl Iterator<Item = SocketAddr>,
) -> Option<anyhow::Result<SocketAddr>> {
    let mut last = None;
    for address in addresses {
        match connect(address) {
            Ok(_) => return Some(Ok(address)),
            Err(error) => last = Some(Err(error.into())),
        }
    }
    last
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
    let wallet = asker.get("/api/wallet?limit=1", &bank.cookie)?;
    let currency = wallet.text("currency").context("a wallet without a currency")?;
    ensure!(
        Currency::parse(currency)?.exponent() == 2,
        "the service keeps {currency}, and a benchmark pays 0.01: it needs a currency with two digits"
    );
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
        let deposit = json!({"wallet_id": person.wallet, "amount": MONEY, "details": "bench"});
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
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_of_plain_http() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        assert_eq!(address(&format!("http://{there}/")).unwrap(), there);
        drop(listener);
        let said = format!("{:#}", address(&format!("http://{there}")).unwrap_err());
        assert!(said.contains(&format!("cannot connect to {there}")), "{said}");
        for bad in ["https://127.0.0.1", "127.0.0.1:5000", "http://127.0.0.1/api"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
    #[test]
    fn of_several_addresses_it_is_the_one_that_accepts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let shut = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let found = |addresses: &[SocketAddr]| first_that_accepts(addresses.iter().copied());
        assert_eq!(found(&[shut, open]).unwrap().unwrap(), open);
        assert!(found(&[shut, shut]).unwrap().is_err());
        assert!(found(&[]).is_none());
    }
}
