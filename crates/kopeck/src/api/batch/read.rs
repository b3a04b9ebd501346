//! Owns the reading of one operation of a batch, from an array or a line.
//!
//! Never: a copy of a text that can be borrowed. Bounds: those of the ledger's own types.

use std::borrow::Cow;
use std::fmt;

use ledger::{IdempotencyKey, OperationKind, Rejection, Role, Submission, User};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::value::RawValue;

use crate::api::json;
use crate::api::wire::{self, MoneyRefused};
use crate::problem::{Code, Problem};
use crate::state::AppState;

/// An operation as it is written. [`OperationBody`](super::describe::OperationBody) describes it.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation<'b> {
    #[serde(default, rename = "type")]
    kind: Option<Kind>,
    #[serde(borrow)]
    wallet_id: &'b RawValue,
    #[serde(borrow)]
    amount: &'b RawValue,
    #[serde(default, borrow)]
    details: Option<Text<'b>>,
    #[serde(default, borrow)]
    external_id: Option<Text<'b>>,
    #[serde(default, borrow)]
    idempotency_key: Option<Text<'b>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Transfer,
    Deposit,
}

/// By hand: a derived reader would take `{"deposit": null}` too.
impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match &*Text::deserialize(deserializer)?.0 {
            "transfer" => Ok(Self::Transfer),
            "deposit" => Ok(Self::Deposit),
            other => Err(D::Error::unknown_variant(other, &["transfer", "deposit"])),
        }
    }
}

/// A string, borrowed where nothing in it is escaped. (serde borrows a `Cow`, but not within an
/// `Option`.)
#[derive(Debug)]
pub(super) struct Text<'b>(pub(super) Cow<'b, str>);

impl<'de: 'b, 'b> Deserialize<'de> for Text<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Reader)
    }
}

/// Reads an operation that a user asks for: its form first, then the rules, in the order of
/// [`Rejection`].
pub(crate) fn operation(
    text: &str,
    user: &User,
    currency: ledger::Currency,
) -> Result<Submission, MoneyRefused> {
    let Operation { kind, wallet_id, amount, details, external_id, idempotency_key } =
        json::read_text("the operation", text)?;
    let is_bank = user.role == Role::Bank;
    let kind = kind.unwrap_or(if is_bank { Kind::Deposit } else { Kind::Transfer });
    if kind == Kind::Transfer && external_id.is_some() {
        let problem = Problem::new(Code::UnknownField);
        return Err(problem.detail("a transfer has no `external_id`").field("external_id").into());
    }
    let key = match idempotency_key {
        None => None,
        Some(Text(text)) => Some(IdempotencyKey::parse(&text).map_err(|malformed| {
            let problem = Problem::new(Code::IdempotencyKeyMalformed);
            problem.detail(malformed.to_string()).field("idempotency_key")
        })?),
    };
    if kind == Kind::Deposit && !is_bank {
        return Err(Rejection::NotTheBank.into());
    }
    let order = wire::order(
        (wallet_id, amount),
        details.as_ref().map(|Text(text)| &**text),
        external_id.as_ref().map(|Text(text)| &**text),
        currency,
    )?;
    let operation = ledger::Operation {
        kind: match kind {
            Kind::Transfer => OperationKind::Transfer,
            Kind::Deposit => OperationKind::Deposit,
        },
        debit: user.wallet,
        credit: order.to,
        amount: order.amount,
        details: order.details,
        external_id: order.external_id,
    };
    Ok(Submission { operation, key })
}

/// What is wrong with an operation that could not be read, counted with what the ledger refuses.
pub(super) fn refused(state: &AppState, refused: MoneyRefused) -> Problem {
    match refused {
        MoneyRefused::Form(problem) => problem,
        MoneyRefused::Rule(rejection) => state.teller.refuse(rejection).into(),
    }
}
