//! Owns the patience with guessing: how many sign-ups and failed logins are let through.
//!
//! Never: a refusal that costs more than a look-up; a name or address kept. Bounds: four tables of
//! [`SLOTS`] buckets of 8 bytes. Two keys that fall on one slot share its bucket: with a table far
//! larger than the number of clients at work this is rare, and which ones do is secret. And as many
//! marks of networks that are known, of which a newer one takes the place of an older.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many buckets a table has.
const SLOTS: usize = 1 << 16;

/// How often something may happen: `burst` times at once, then once every `interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// How many at once.
    pub(crate) burst: u32,
    /// How long until there is room for one more.
    pub(crate) interval: Duration,
}

/// Too many already; there is room for one more after this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait(pub(crate) Duration);

/// The tables.
#[derive(Debug)]
pub(crate) struct Throttle {
    sign_ups_by_address: Buckets,
    logins_by_address: Buckets,
    /// By e-mail address and the network, if it is known, else the site: tight, and in nobody else's way.
    logins_by_both: Buckets,
    /// By e-mail address alone: wide, against guessers with many addresses. Known networks neither fill
    /// it nor are held up by it, so that guessers do not lock the owner out.
    logins_by_email: Buckets,
    /// Networks from which somebody logged in with an e-mail address.
    known: Marks,
}

/// What a login took; given back when it succeeds, so that only failures count.
#[derive(Debug)]
#[must_use]
pub(crate) struct LoginTry<'t> {
    throttle: &'t Throttle,
    network: IpAddr,
    known: bool,
    email_key: String,
}

impl Throttle {
    /// Starts with all buckets full.
    pub(crate) fn new(
        sign_ups_by_address: Rate,
        logins_by_address: Rate,
        by_both: Rate,
        by_email: Rate,
    ) -> Self {
        Self {
            sign_ups_by_address: Buckets::new(sign_ups_by_address),
            logins_by_address: Buckets::new(logins_by_address),
            logins_by_both: Buckets::new(by_both),
            logins_by_email: Buckets::new(by_email),
            known: Marks::new(),
        }
    }

    /// Lets a sign-up through, or not yet.
    pub(crate) fn sign_up(&self, address: IpAddr) -> Result<(), Wait> {
        self.sign_ups_by_address.take(network(address))
    }

    /// Lets a login be tried, or not yet.
    pub(crate) fn log_in(&self, address: IpAddr, email_key: &str) -> Result<LoginTry<'_>, Wait> {
        // What is taken before a refusal is given back: a try that was not looked at tells nothing.
        let network = network(address);
        self.logins_by_address.take(network)?;
        let known = self.known.has((network, email_key));
        let both = (whose(network, known), email_key);
        let by_both = self.logins_by_both.take(both);
        by_both.inspect_err(|_| self.logins_by_address.give_back(network))?;
        let by_email = if known { Ok(()) } else { self.logins_by_email.take(email_key) };
        by_email.inspect_err(|_| {
            self.logins_by_address.give_back(network);
            self.logins_by_both.give_back(both);
        })?;
        Ok(LoginTry { throttle: self, network, known, email_key: email_key.to_owned() })
    }

    /// Somebody proved from this address to be who has this e-mail address.
    pub(crate) fn know(&self, address: IpAddr, email_key: &str) {
        self.known.set((network(address), email_key));
    }
}

impl LoginTry<'_> {
    /// The login succeeded, or its password was never looked at.
    pub(crate) fn give_back(self) {
        let Self { throttle, network, known, email_key } = self;
        throttle.logins_by_address.give_back(network);
        throttle.logins_by_both.give_back((whose(network, known), email_key.as_str()));
        if !known {
            throttle.logins_by_email.give_back(email_key.as_str());
        }
    }
}

/// One client has a whole /64 of IPv6 addresses, so the network stands for it.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    of_ipv6(address, 64)
}

/// One customer may have a /56 of IPv6, which is 256 networks.
pub(crate) fn site(address: IpAddr) -> IpAddr {
    of_ipv6(address, 56)
}

/// Who fails with one e-mail address: of networks that are not known, a whole site of them. Who shares it
/// loses nothing but tries with the same address.
fn whose(network: IpAddr, known: bool) -> IpAddr {
    if known { network } else { site(network) }
}

/// An IPv6 address without what comes after so many bits.
fn of_ipv6(address: IpAddr, bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(u128::BITS - bits).unwrap_or_default();
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

/// A mark a key, as long as no other takes its place.
#[derive(Debug)]
struct Marks {
    slots: Box<[AtomicU64]>,
    keys: RandomState,
}

impl Marks {
    fn new() -> Self {
        let slots = std::iter::repeat_with(AtomicU64::default).take(SLOTS).collect();
        Self { slots, keys: RandomState::new() }
    }

    /// The mark is the whole hash: to have that of another's key is not a matter of tries.
    fn mark(&self, key: impl Hash) -> (u64, Option<&AtomicU64>) {
        let mark = self.keys.hash_one(key);
        let slot = usize::try_from(mark % self.slots.len() as u64);
        // Nothing is 0.
        (mark.max(1), slot.ok().and_then(|slot| self.slots.get(slot)))
    }

    fn set(&self, key: impl Hash) {
        if let (mark, Some(slot)) = self.mark(key) {
            slot.store(mark, Ordering::Relaxed);
        }
    }

    fn has(&self, key: impl Hash) -> bool {
        let (mark, slot) = self.mark(key);
        slot.is_some_and(|slot| slot.load(Ordering::Relaxed) == mark)
    }
}

/// Buckets by key, each as the moment when it will be full again (GCRA).
#[derive(Debug)]
struct Buckets {
    slots: Box<[AtomicU64]>,
    keys: RandomState,
    start: Instant,
    interval_micros: u64,
    burst_micros: u64,
}

impl Buckets {
    fn new(rate: Rate) -> Self {
        let interval_micros = u64::try_from(rate.interval.as_micros()).unwrap_or(u64::MAX).max(1);
        Self {
            slots: std::iter::repeat_with(AtomicU64::default).take(SLOTS).collect(),
            keys: RandomState::new(),
            start: Instant::now(),
            interval_micros,
            burst_micros: interval_micros.saturating_mul(u64::from(rate.burst.max(1))),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn slot(&self, key: impl Hash) -> Option<&AtomicU64> {
        let slot = self.keys.hash_one(key) % self.slots.len() as u64;
        usize::try_from(slot).ok().and_then(|slot| self.slots.get(slot))
    }

    fn take(&self, key: impl Hash) -> Result<(), Wait> {
        self.take_at(key, self.now())
    }

    fn take_at(&self, key: impl Hash, now: u64) -> Result<(), Wait> {
        let Some(slot) = self.slot(key) else { return Ok(()) };
        let mut wait = 0;
        let taken = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let full_at = full_at.max(now).saturating_add(self.interval_micros);
            wait = (full_at - now).saturating_sub(self.burst_micros);
            (wait == 0).then_some(full_at)
        });
        taken.map(|_| ()).map_err(|_| Wait(Duration::from_micros(wait)))
    }

    fn give_back(&self, key: impl Hash) {
        let Some(slot) = self.slot(key) else { return };
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            Some(full_at.saturating_sub(self.interval_micros))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, interval: Duration::from_secs(2) };
    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_burst_then_a_trickle() {
        let buckets = Buckets::new(RATE);
        for _ in 0..3 {
            buckets.take_at("a", SECOND).unwrap();
        }
        assert_eq!(buckets.take_at("a", SECOND), Err(Wait(Duration::from_secs(2))));
        assert_eq!(buckets.take_at("a", 2 * SECOND), Err(Wait(Duration::from_secs(1))));
        buckets.take_at("b", SECOND).unwrap();
        buckets.take_at("a", 3 * SECOND).unwrap();
        assert!(buckets.take_at("a", 3 * SECOND).is_err());
        // Full again, but never fuller than full.
        for _ in 0..3 {
            buckets.take_at("a", 1_000 * SECOND).unwrap();
        }
        assert!(buckets.take_at("a", 1_000 * SECOND).is_err());
    }

    #[test]
    fn only_failed_logins_count() {
        let once = Rate { burst: 1, interval: Duration::from_secs(3_600) };
        let throttle = Throttle::new(RATE, once, once, once);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..10 {
            throttle.log_in(address, "a@b.c").unwrap().give_back();
        }
        let _failed = throttle.log_in(address, "a@b.c").unwrap();
        assert!(throttle.log_in(address, "d@e.f").is_err(), "by address");
        assert!(throttle.log_in("192.0.2.2".parse().unwrap(), "a@b.c").is_err(), "by e-mail");
        // Refused for its e-mail, the second address lost nothing.
        throttle.log_in("192.0.2.2".parse().unwrap(), "g@h.i").unwrap().give_back();
    }

    #[test]
    fn one_guesser_locks_nobody_else_out() {
        let rate = |burst| Rate { burst, interval: Duration::from_secs(3_600) };
        let throttle = Throttle::new(RATE, rate(100), rate(3), rate(5));
        let (guesser, owner) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..3 {
            let _failed = throttle.log_in(guesser, "a@b.c").unwrap();
        }
        for _ in 0..10 {
            assert!(throttle.log_in(guesser, "a@b.c").is_err());
        }
        throttle.log_in(owner, "a@b.c").unwrap().give_back();
        // Many guessers together are held up by the wide bucket.
        for other in ["192.0.2.3", "192.0.2.4"] {
            let _failed = throttle.log_in(other.parse().unwrap(), "a@b.c").unwrap();
        }
        assert!(throttle.log_in("192.0.2.5".parse().unwrap(), "a@b.c").is_err());
    }

    /// A /56 is 256 networks, a /48 is 256 of those.
    #[test]
    fn many_networks_do_not_lock_out_one_that_is_known() {
        let rate = |burst| Rate { burst, interval: Duration::from_secs(3_600) };
        let throttle = Throttle::new(RATE, rate(100), rate(3), rate(12));
        let owner = "2001:db8:1::1".parse().unwrap();
        let guesses = |site: u8| {
            let guess = |network: &u8| {
                let guesser = format!("2001:db8:2:{site:02x}{network:02x}::1").parse().unwrap();
                throttle.log_in(guesser, "a@b.c").is_ok()
            };
            (0..=u8::MAX).filter(guess).count()
        };
        assert_eq!(guesses(0), 3, "a site is one guesser");
        throttle.know(owner, "a@b.c");
        assert_eq!((1..=u8::MAX).map(guesses).sum::<usize>(), 9, "sites are as many");
        let stranger = "2001:db8:3::1".parse().unwrap();
        assert!(throttle.log_in(stranger, "a@b.c").is_err());
        throttle.log_in(stranger, "d@e.f").unwrap().give_back();
        // What is known guesses no more than others do, each for itself.
        for _ in 0..3 {
            let _failed = throttle.log_in(owner, "a@b.c").unwrap();
        }
        assert!(throttle.log_in(owner, "a@b.c").is_err());
        let neighbour = "2001:db8:1:1::1".parse().unwrap();
        assert!(throttle.log_in(neighbour, "a@b.c").is_err(), "nobody knows it");
        // Nor does it take from what everybody has, or give to it.
        throttle.know(neighbour, "a@b.c");
        throttle.log_in(neighbour, "a@b.c").unwrap().give_back();
        assert!(throttle.log_in(stranger, "a@b.c").is_err());
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        assert_eq!(
            network("2001:db8::1".parse().unwrap()),
            network("2001:db8::2".parse().unwrap())
        );
        assert_ne!(
            network("2001:db8:0:1::1".parse().unwrap()),
            network("2001:db8:0:2::1".parse().unwrap())
        );
        assert_eq!(
            network("::ffff:192.0.2.1".parse().unwrap()),
            "192.0.2.1".parse::<IpAddr>().unwrap()
        );
    }
}
