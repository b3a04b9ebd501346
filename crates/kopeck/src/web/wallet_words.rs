//! Owns what is said about one wallet: its balance and its entries, in one language.
//!
//! Never: a look at the ledger, or a word that needs one. Bounds: the entries it is given.

use ledger::{Balance, Currency, Entry, EntryKind, OperationId, Role, User};

use super::format::{self, Moment};
use super::language::Language;
use super::text::Value;
use crate::state::AppState;

/// An entry as the history shows it.
pub(super) struct Row {
    pub(super) operation: OperationId,
    pub(super) what: String,
    pub(super) details: Option<String>,
    pub(super) time: Moment,
    pub(super) amount: String,
    pub(super) came_in: bool,
    pub(super) balance: String,
}

/// Says things about one wallet in one language.
pub(super) struct WalletWords<'a> {
    /// The language.
    pub(super) language: Language,
    /// The currency of all wallets.
    pub(super) currency: Currency,
    /// The wallet's owner.
    pub(super) user: &'a User,
    /// Where the times of the history are told.
    pub(super) zone: chrono_tz::Tz,
}

impl<'a> WalletWords<'a> {
    /// For the wallet of this user.
    pub(super) fn new(state: &AppState, language: Language, user: &'a User) -> Self {
        let (currency, zone) = (state.ledger.currency(), state.config.time_zone);
        Self { language, currency, user, zone }
    }

    /// Whether this wallet's owner pays into wallets instead of sending from an own one.
    pub(super) fn is_bank(&self) -> bool {
        self.user.role == Role::Bank
    }

    /// What the form that moves money is called.
    pub(super) fn form_title(&self) -> String {
        self.language.say(if self.is_bank() { "deposit-title" } else { "send-title" })
    }

    /// A balance.
    pub(super) fn balance(&self, balance: Balance) -> String {
        format::balance(balance, self.language, self.currency)
    }

    /// Whether an entry made the wallet fuller.
    pub(super) fn came_in(&self, entry: &Entry) -> bool {
        match entry.kind {
            EntryKind::TransferIn => true,
            EntryKind::TransferOut => false,
            EntryKind::Deposit => !self.is_bank(),
        }
    }

    /// That an entry was just made; or when, and that it was made once, though its form came more than once.
    pub(super) fn done(&self, entry: &Entry, once: bool) -> String {
        let amount = format::amount(entry.amount, self.language, self.currency);
        let (wallet, balance) = (entry.counterparty.to_string(), self.balance(entry.balance));
        let time = format::moment(entry.time, self.language, self.zone).shown;
        let values = [
            ("amount", Value::Text(&amount)),
            ("wallet", Value::Text(&wallet)),
            ("balance", Value::Text(&balance)),
            ("time", Value::Text(&time)),
        ];
        match (entry.kind, once) {
            (EntryKind::Deposit, false) => self.language.say_with("paid-in", &values),
            (EntryKind::Deposit, true) => self.language.say_with("paid-in-once", &values),
            (_, false) => self.language.say_with("sent", &values),
            (_, true) => self.language.say_with("sent-once", &values),
        }
    }

    /// An entry as the history shows it.
    pub(super) fn row(&self, entry: &Entry) -> Row {
        let counterparty = entry.counterparty.to_string();
        let what = match entry.kind {
            EntryKind::TransferIn => self.language.say_one("entry-in", "wallet", &counterparty),
            EntryKind::TransferOut => self.language.say_one("entry-out", "wallet", &counterparty),
            EntryKind::Deposit if self.is_bank() => {
                self.language.say_one("entry-deposit-made", "wallet", &counterparty)
            }
            EntryKind::Deposit => self.language.say("entry-deposit"),
        };
        let came_in = self.came_in(entry);
        Row {
            operation: entry.operation,
            what,
            details: entry.details.as_ref().map(|details| details.as_str().to_owned()),
            time: format::moment(entry.time, self.language, self.zone),
            amount: format::movement(entry.amount, came_in, self.language, self.currency),
            came_in,
            balance: self.balance(entry.balance),
        }
    }

    /// Why the bank's balance is as it is.
    pub(super) fn bank_hint(&self, balance: Balance) -> Option<String> {
        if !self.is_bank() {
            return None;
        }
        if balance == Balance::ZERO {
            return Some(self.language.say("bank-balance-hint-none"));
        }
        let amount = format::magnitude(balance, self.language, self.currency);
        Some(self.language.say_one("bank-balance-hint", "amount", &amount))
    }
}
