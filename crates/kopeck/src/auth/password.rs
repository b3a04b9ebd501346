//! Owns passwords: their form, their Argon2id hashes, and how many are computed at a time.
//!
//! Never: a hash computed on an async thread, or a password kept. Bounds: 8 to 1 024 bytes; at most
//! `hashes_max` hashes at a time, 19 MiB each; of one network no more than that run or are next, or
//! [`NETWORK_HASHES`] if that is more, and of a site of networks twice as many; a wait for one's turn of at most `wait_max`.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Secret;
use super::lines::{Lines, Place};
use super::throttle::{network, site};

/// The least length of a password, in characters.
pub(crate) const PASSWORD_CHARS_MIN: usize = 8;
/// The greatest length of a password, in bytes.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1_024;

/// So many hashes of one network run or are next, or `hashes_max` where that is more: a network that is
/// alone has all that the machine gives, and one that floods has its others wait behind themselves.
const NETWORK_HASHES: usize = 4;

/// A password could not be hashed or checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    /// Too many others wait for theirs.
    #[error("too many passwords are being checked")]
    Overloaded,
    /// The hash function failed or a kept hash is not readable.
    #[error("password hashing failed: {0}")]
    Broken(String),
}

/// Hashes passwords and checks them.
#[derive(Debug)]
pub(crate) struct Passwords {
    networks: Lines,
    sites: Lines,
    turns: Arc<Semaphore>,
    wait_max: Duration,
    /// A hash that no password fits: checked for an unknown e-mail, so that it takes as long.
    dummy: String,
}

impl Passwords {
    /// Allows `hashes_max` at a time.
    pub(crate) fn new(hashes_max: usize, wait_max: Duration) -> Result<Self, PasswordError> {
        let turns = Arc::new(Semaphore::new(hashes_max.max(1)));
        let places = hashes_max.max(NETWORK_HASHES);
        // More than a network's, so that a site has room for another network than one that floods.
        let (networks, sites) = (Lines::new(places), Lines::new(places.saturating_mul(2)));
        Ok(Self { networks, sites, turns, wait_max, dummy: hash_of_nothing()? })
    }

    /// The PHC string to keep for a password.
    pub(crate) async fn hash(
        &self,
        password: Secret,
        client: IpAddr,
    ) -> Result<String, PasswordError> {
        self.in_turn(client, move || hash_now(&password)).await
    }

    /// Whether a password is the one that was hashed. Without a hash: no, after the same work.
    pub(crate) async fn verify(
        &self,
        password: Secret,
        hash: Option<String>,
        client: IpAddr,
    ) -> Result<bool, PasswordError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.dummy.clone());
        let fits = self.in_turn(client, move || verify_now(&password, &hash)).await?;
        Ok(known && fits)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        client: IpAddr,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let turn = tokio::time::timeout(self.wait_max, self.turn(client));
        let turn = turn.await.ok().flatten().ok_or(PasswordError::Overloaded)?;
        let task = tokio::task::spawn_blocking(move || {
            // Held by the work itself: a client that goes away does not make room for another.
            let _turn = turn;
            step_back();
            work()
        });
        task.await.map_err(broken)?
    }

    /// The network's own line first, then its site's, then everybody's, in which neither has more than a few.
    async fn turn(&self, client: IpAddr) -> Option<(OwnedSemaphorePermit, [Place; 2])> {
        let network = self.networks.wait(network(client)).await?;
        let site = self.sites.wait(site(client)).await?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        Some((turn, [site, network]))
    }
}

/// Lets everybody else go first: a flood of logins must not hold transfers up. The hashes still get
/// their share, about a tenth of a processor that is wanted by others too. The blocking threads do
/// nothing else but start and end the engine.
fn step_back() {
    const NICE: i32 = 10;
    thread_local! {
        static DONE: Cell<bool> = const { Cell::new(false) };
    }
    if !DONE.replace(true) {
        // Where the system does not let us, hashes take as much as everybody.
        let _ = setpriority_process(Some(gettid()), NICE);
    }
}

/// OWASP's parameters for Argon2id: 19 MiB, two passes, one lane.
fn argon2() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(19_456, 2, 1, None).map_err(broken)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The PHC string of a hash that nobody computed: random bytes in its place. To find that a password
/// does not fit it is the same work as with any other, and a start need not wait for it to be made.
fn hash_of_nothing() -> Result<String, PasswordError> {
    let mut bytes = [0; Params::DEFAULT_OUTPUT_LEN];
    getrandom::fill(&mut bytes).map_err(broken)?;
    let nothing = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon2()?.params()).map_err(broken)?,
        salt: Some(Salt::generate()),
        hash: Some(Output::new(&bytes).map_err(broken)?),
    };
    Ok(nothing.to_string())
}

fn broken(error: impl std::fmt::Display) -> PasswordError {
    PasswordError::Broken(error.to_string())
}

/// Hashes on the calling thread.
pub(crate) fn hash_now(password: &Secret) -> Result<String, PasswordError> {
    let hash = argon2()?.hash_password(password.reveal().as_bytes());
    hash.map(|hash| hash.to_string()).map_err(broken)
}

fn verify_now(password: &Secret, hash: &str) -> Result<bool, PasswordError> {
    match argon2()?.verify_password(password.reveal().as_bytes(), hash) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(broken(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn hashes_fit_their_password_only() {
        let passwords = Passwords::new(2, Duration::from_secs(5)).unwrap();
        let hash = passwords.hash(secret("Pa$$w0rd"), HERE).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify(secret("Pa$$w0rd"), Some(hash.clone()), HERE).await.unwrap());
        assert!(!passwords.verify(secret("pa$$w0rd"), Some(hash), HERE).await.unwrap());
        assert!(!passwords.verify(secret("Pa$$w0rd"), None, HERE).await.unwrap());
    }

    /// Whether it takes as long is for a clock to say, and clocks are not for tests: it is the same
    /// work, and it waits for the same turn.
    #[tokio::test]
    async fn an_unknown_user_costs_a_whole_hash() {
        let passwords = Passwords::new(1, Duration::from_millis(20)).unwrap();
        let hash = passwords.hash(secret("Pa$$w0rd"), HERE).await.unwrap();
        let costs = |hash: &str| hash.rsplitn(3, '$').last().map(str::to_owned);
        assert_eq!(costs(&passwords.dummy), costs(&hash));
        // Salt and hash are as long, and can be read: an error would be an answer in no time.
        assert_eq!(passwords.dummy.len(), hash.len());
        assert!(!verify_now(&secret("Pa$$w0rd"), &passwords.dummy).unwrap());
        assert_ne!(passwords.dummy, Passwords::new(1, Duration::from_secs(1)).unwrap().dummy);
        assert!(costs(&hash).is_some_and(|costs| costs.contains("m=19456,t=2,p=1")));
        let _turn = Arc::clone(&passwords.turns).acquire_owned().await.unwrap();
        let refused = passwords.verify(secret("wrong one"), None, HERE).await;
        assert!(matches!(refused, Err(PasswordError::Overloaded)));
    }

    /// The flood is of logins that succeed, which the throttle does not count.
    #[tokio::test]
    async fn a_network_that_floods_keeps_nobody_else_out() {
        const FLOOD: usize = 300;
        // One /64 has many addresses, and one /56 has many /64.
        let network = |number| format!("2001:db8::{number:x}");
        let site = |number| format!("2001:db8:0:{:x}::1", number % 256);
        let neighbour = "2001:db8:0:1::1";
        assert!(before(FLOOD, network, neighbour).await <= 2 * NETWORK_HASHES);
        assert!(before(FLOOD, site, "2001:db8:0:100::1").await <= 4 * NETWORK_HASHES);
    }

    /// How many of a flood go before somebody who comes after it.
    async fn before(flood: usize, from: impl Fn(usize) -> String, honest: &str) -> usize {
        let passwords = Arc::new(Passwords::new(1, Duration::from_secs(60)).unwrap());
        let done = Arc::new(AtomicUsize::new(0));
        let ask = |client: &str| {
            let (passwords, client) = (Arc::clone(&passwords), client.parse().unwrap());
            let done = Arc::clone(&done);
            let work = move || Ok(done.fetch_add(1, Ordering::Relaxed));
            tokio::spawn(async move { passwords.in_turn(client, work).await })
        };
        let turn = Arc::clone(&passwords.turns).acquire_owned().await.unwrap();
        let mut flood: Vec<_> = (0..flood).map(|number| ask(&from(number))).collect();
        tokio::task::yield_now().await;
        let honest = ask(honest);
        tokio::task::yield_now().await;
        drop(turn);
        let before = honest.await.unwrap().unwrap();
        for asked in flood.drain(..) {
            asked.await.unwrap().unwrap();
        }
        before
    }

    #[tokio::test]
    async fn the_wait_is_bounded() {
        let passwords = Passwords::new(1, Duration::from_millis(20)).unwrap();
        let _turn = Arc::clone(&passwords.turns).acquire_owned().await.unwrap();
        let refused = passwords.hash(secret("Pa$$w0rd"), HERE).await;
        assert!(matches!(refused, Err(PasswordError::Overloaded)));
    }
}
