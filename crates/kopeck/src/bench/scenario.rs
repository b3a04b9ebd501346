//! Owns who pays whom: the scenarios, and chance.
//!
//! Never: a request, a wallet's number (people are counted from 0 here, the bank is not among them).
//! Bounds: a Zipf scenario keeps 8 bytes for each wallet; a choice costs at most a binary search.

use std::sync::Arc;

use clap::ValueEnum;

use crate::hex;

/// How many wallets the Zipf scenario is over, if there are as many.
pub(super) const ZIPF_WALLETS_MAX: usize = 100_000;

/// Who pays whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// The bank pays into one wallet, again and again.
    BankToOne,
    /// The bank pays into random wallets.
    BankToMany,
    /// Random people pay into random wallets.
    Uniform,
    /// The same, but some are in it far more often than others: Zipf's law with exponent 1, over
    /// the first 100 000 wallets.
    Zipf,
    /// Random people pay into one wallet.
    HotIn,
    /// One person pays into random wallets.
    HotOut,
    /// One wallet is in every transfer: it is paid and it pays, in turns.
    HotBoth,
}

impl Scenario {
    /// Whether one payer sends everything, or every second request.
    pub(super) fn has_one_payer(self) -> bool {
        match self {
            Self::BankToOne | Self::BankToMany | Self::HotOut | Self::HotBoth => true,
            Self::Uniform | Self::Zipf | Self::HotIn => false,
        }
    }

    /// Its name, as on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BankToOne => "bank-to-one",
            Self::BankToMany => "bank-to-many",
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
            Self::HotIn => "hot-in",
            Self::HotOut => "hot-out",
            Self::HotBoth => "hot-both",
        }
    }
}

/// Who pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payer {
    /// The bank: a deposit.
    Bank,
    /// A person: a transfer.
    Person(usize),
}

/// Shares of Zipf's law, summed up; made once for all threads.
pub(super) type Shares = Arc<[f64]>;

/// The shares of Zipf's law with exponent 1 over the first wallets.
pub(super) fn zipf_shares(wallets: usize) -> Shares {
    let mut sum = 0.0;
    (1..=wallets.min(ZIPF_WALLETS_MAX))
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect()
}

/// Chooses who pays whom, one after another.
pub(super) struct Chooser {
    scenario: Scenario,
    /// How many people can pay (are logged in): the first ones.
    payers: usize,
    /// How many wallets there are, but for the bank's.
    wallets: usize,
    shares: Shares,
    random: fastrand::Rng,
    out: bool,
}

impl Chooser {
    /// At least two people must be able to pay. `shares` is only looked at for Zipf.
    pub(super) fn new(
        scenario: Scenario,
        (payers, wallets): (usize, usize),
        shares: Shares,
        seed: u64,
    ) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self {
            scenario,
            payers: payers.max(2),
            wallets: wallets.max(2),
            shares,
            random,
            out: false,
        }
    }

    /// Who pays next.
    pub(super) fn payer(&mut self) -> Payer {
        self.out = !self.out;
        match self.scenario {
            Scenario::BankToOne | Scenario::BankToMany => Payer::Bank,
            Scenario::Uniform => Payer::Person(self.random.usize(..self.payers)),
            Scenario::Zipf => Payer::Person(self.ranked() % self.payers),
            Scenario::HotOut => Payer::Person(0),
            Scenario::HotBoth if self.out => Payer::Person(0),
            Scenario::HotIn | Scenario::HotBoth => Payer::Person(self.random.usize(1..self.payers)),
        }
    }

    /// Whom this payer pays: never itself.
    pub(super) fn payee(&mut self, payer: Payer) -> usize {
        let payer = match payer {
            Payer::Bank => None,
            Payer::Person(person) => Some(person),
        };
        match self.scenario {
            Scenario::BankToOne | Scenario::HotIn => 0,
            Scenario::HotBoth if payer != Some(0) => 0,
            Scenario::HotOut | Scenario::HotBoth => self.random.usize(1..self.wallets),
            Scenario::BankToMany => self.random.usize(..self.wallets),
            Scenario::Uniform => self.other(payer),
            Scenario::Zipf => loop {
                let payee = self.ranked();
                if Some(payee) != payer {
                    break payee;
                }
            },
        }
    }

    /// A random UUID (version 4), as clients name their requests.
    pub(super) fn key(&mut self) -> [u8; 36] {
        uuid(self.random.u128(..))
    }

    fn other(&mut self, than: Option<usize>) -> usize {
        let wallet = self.random.usize(..self.wallets - 1);
        if than.is_some_and(|than| wallet >= than) { wallet + 1 } else { wallet }
    }

    fn ranked(&mut self) -> usize {
        let total = self.shares.last().copied().unwrap_or_default();
        let at = self.random.f64() * total;
        self.shares.partition_point(|sum| *sum <= at).min(self.shares.len().saturating_sub(1))
    }
}

/// The text of a UUID of version 4 from 128 random bits.
pub(super) fn uuid(bits: u128) -> [u8; 36] {
    /// Where the digits of each byte stand, between the hyphens.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let bits = bits & !(0xf << 76) | (0x4 << 76);
    let bits = bits & !(0x3 << 62) | (0x2 << 62);
    let mut text = [b'-'; 36];
    for (byte, place) in bits.to_be_bytes().into_iter().zip(PLACES) {
        if let Some([high, low]) = text.get_mut(place..place + 2) {
            (*high, *low) = (hex::digit(byte >> 4), hex::digit(byte & 15));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Scenario; 7] = [
        Scenario::BankToOne,
        Scenario::BankToMany,
        Scenario::Uniform,
        Scenario::Zipf,
        Scenario::HotIn,
        Scenario::HotOut,
        Scenario::HotBoth,
    ];

    #[test]
    fn nobody_pays_oneself_and_nobody_is_out_of_bounds() {
        for scenario in ALL {
            for (payers, wallets) in [(2, 2), (2, 50), (50, 50)] {
                let mut chooser =
                    Chooser::new(scenario, (payers, wallets), zipf_shares(wallets), 7);
                for _ in 0..2_000 {
                    let payer = chooser.payer();
                    let payee = chooser.payee(payer);
                    assert!(payee < wallets, "{scenario:?}");
                    if let Payer::Person(person) = payer {
                        assert!(person < payers && person != payee, "{scenario:?} {person}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_hot_wallet_is_in_every_transfer_and_pays_as_often_as_it_is_paid() {
        let mut chooser = Chooser::new(Scenario::HotBoth, (9, 9), zipf_shares(9), 7);
        let mut paid = 0;
        for _ in 0..1_000 {
            let payer = chooser.payer();
            let payee = chooser.payee(payer);
            assert!(payer == Payer::Person(0) || payee == 0);
            paid += u32::from(payee == 0);
        }
        assert_eq!(paid, 500);
    }

    #[test]
    fn the_first_by_zipf_is_ten_times_as_frequent_as_the_tenth() {
        let mut chooser = Chooser::new(Scenario::Zipf, (100, 100), zipf_shares(100), 7);
        let mut counts = [0_u32; 100];
        for _ in 0..200_000 {
            counts[chooser.payee(Payer::Bank)] += 1;
        }
        let ratio = f64::from(counts[0]) / f64::from(counts[9]);
        assert!((8.5..11.5).contains(&ratio), "{ratio}");
        assert!(counts[99] > 0);
    }

    #[test]
    fn a_key_is_a_uuid_of_version_4() {
        assert_eq!(&uuid(0), b"00000000-0000-4000-8000-000000000000");
        assert_eq!(&uuid(u128::MAX), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
        let mixed = uuid(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(&mixed, b"01234567-89ab-4def-8123-456789abcdef");
    }
}
