//! Owns every refusal that a rule can give.
//!
//! Never: an infrastructure failure (that is a [`LedgerError`](crate::LedgerError)), an HTTP status,
//! a text for a person. Bounds: the variants are all there are; when several hold, one is given.

/// A business refusal, decided before any write. Nothing has changed when one is given.
///
/// Of several that hold, the one that is come to first is given. Who asks is looked at before all else
/// ([`NotTheBank`](Self::NotTheBank)); then the form, which whoever takes the request reads before the
/// ledger is asked: the amount, the details, the external id, and a wallet's number that no wallet can
/// have ([`WalletNotFound`](Self::WalletNotFound)); then the key and the external id, as used before;
/// and what the book says last. Within each of these, the order of the variants is kept.
/// Codes are stable: they are part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Rejection {
    /// A deposit was asked for by someone who is not the bank.
    #[error("only the bank may bring money in")]
    NotTheBank,
    /// The key was used before by the same user for another request.
    #[error("this idempotency key was used before for another request")]
    IdempotencyKeyReused,
    /// The payment provider's id was used before for a deposit of another amount or wallet.
    #[error("this external id was used before for another deposit")]
    ExternalIdReused,
    /// The amount is not decimal text of the form of a JSON number.
    #[error("the amount is not a decimal number such as 115.60")]
    AmountMalformed,
    /// The amount is zero or negative.
    #[error("the amount must be greater than zero")]
    AmountNotPositive,
    /// The amount has more digits after the point than the currency.
    #[error("the amount has more digits after the point than the currency")]
    AmountTooPrecise,
    /// The amount is above the greatest that one operation may move.
    #[error(
        "the amount is too large: at most 15 digits, counted in the currency's smallest unit \
         (9999999999999.99 where two stand after the point)"
    )]
    AmountTooLarge,
    /// The details are longer than [`DETAILS_CHARS_MAX`](crate::DETAILS_CHARS_MAX).
    #[error("the details are too long: at most 200 characters")]
    DetailsTooLong,
    /// The details hold a control character.
    #[error("the details must not contain control characters")]
    DetailsMalformed,
    /// The external id is not 1 to 255 visible ASCII characters.
    #[error("an external id has 1 to 255 visible ASCII characters")]
    ExternalIdMalformed,
    /// Both sides are the same wallet.
    #[error("the sender and the receiver are the same wallet")]
    SenderIsReceiver,
    /// A wallet that the operation names does not exist.
    #[error("there is no such wallet")]
    WalletNotFound,
    /// The bank asked for a transfer. It brings money in by deposits, which say so in the history.
    #[error("the bank pays into a wallet with a deposit, not with a transfer")]
    BankMustDeposit,
    /// The sender has less than the amount.
    #[error("the balance is smaller than the amount")]
    InsufficientFunds,
    /// A balance would pass the greatest magnitude that a wallet may hold.
    #[error(
        "the balance of a wallet would pass its limit of 15 digits, counted in the currency's \
         smallest unit"
    )]
    BalanceLimit,
}

impl Rejection {
    /// Every refusal.
    pub const ALL: [Self; 15] = [
        Self::NotTheBank,
        Self::IdempotencyKeyReused,
        Self::ExternalIdReused,
        Self::AmountMalformed,
        Self::AmountNotPositive,
        Self::AmountTooPrecise,
        Self::AmountTooLarge,
        Self::DetailsTooLong,
        Self::DetailsMalformed,
        Self::ExternalIdMalformed,
        Self::SenderIsReceiver,
        Self::WalletNotFound,
        Self::BankMustDeposit,
        Self::InsufficientFunds,
        Self::BalanceLimit,
    ];

    /// The refusal of a code.
    #[must_use]
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rejection| rejection.code() == code)
    }

    /// The stable code, in `snake_case`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotTheBank => "not_the_bank",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::ExternalIdReused => "external_id_reused",
            Self::AmountMalformed => "amount_malformed",
            Self::AmountNotPositive => "amount_not_positive",
            Self::AmountTooPrecise => "amount_too_precise",
            Self::AmountTooLarge => "amount_too_large",
            Self::DetailsTooLong => "details_too_long",
            Self::DetailsMalformed => "details_malformed",
            Self::ExternalIdMalformed => "external_id_malformed",
            Self::SenderIsReceiver => "sender_is_receiver",
            Self::WalletNotFound => "wallet_not_found",
            Self::BankMustDeposit => "bank_must_deposit",
            Self::InsufficientFunds => "insufficient_funds",
            Self::BalanceLimit => "balance_limit",
        }
    }
}
