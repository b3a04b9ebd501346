//! Owns the door to one operation of a batch, from an array or a line.
//!
//! Never: what a batch leads to. Bounds: linear but for the small number of fields.

use ledger::{OperationKind, Rejection, Role, Submission, User, UserId, WalletId};

use super::json::{Fields, naive_money};
use super::{check_refusal, currency};
use crate::api::batch_operation;
use crate::api::wire::MoneyRefused;
use crate::money::Order;

const NAMES: [&str; 6] =
    ["type", "wallet_id", "amount", "details", "external_id", "idempotency_key"];

/// What an operation is read as, naively.
type Expected = (OperationKind, Order, Option<String>);

/// The first byte chooses who asks and in what currency, the rest is the operation.
pub fn batch(data: &[u8]) {
    let Some((&choice, text)) = data.split_first() else { return };
    // What is not UTF-8 is refused before this.
    let Ok(text) = std::str::from_utf8(text) else { return };
    let user = User {
        id: UserId::new(7).unwrap(),
        wallet: WalletId::new(7).unwrap(),
        role: if choice % 2 == 0 { Role::Person } else { Role::Bank },
        name: String::new(),
        email: String::new(),
    };
    let currency = currency(choice >> 1);
    let read = batch_operation(text, &user, currency);
    match (read, naive(text, user.role, currency)) {
        (Ok(Submission { operation, key }), Some(Ok((kind, order, expected_key)))) => {
            assert_eq!((operation.debit, operation.kind), (user.wallet, kind));
            let ledger::Operation { credit: to, amount, details, external_id, .. } = operation;
            assert_eq!(Order { to, amount, details, external_id }, order);
            assert_eq!(key.map(|key| key.as_str().to_owned()), expected_key);
        }
        (Err(MoneyRefused::Rule(refusal)), Some(Err(expected))) => assert_eq!(refusal, expected),
        (Err(MoneyRefused::Form(problem)), None) => check_refusal(problem),
        (read, expected) => panic!("{read:?} instead of {expected:?}"),
    }
}

/// `None` when the form is wrong.
fn naive(
    text: &str,
    role: Role,
    currency: ledger::Currency,
) -> Option<Result<Expected, Rejection>> {
    let fields = Fields::of(text.as_bytes())?;
    fields.has_only(&NAMES)?;
    let kind = match fields.text_or_null("type")?.as_deref() {
        None if role == Role::Bank => OperationKind::Deposit,
        None | Some("transfer") => OperationKind::Transfer,
        Some("deposit") => OperationKind::Deposit,
        Some(_) => return None,
    };
    fields.text_or_null("details")?;
    let external_id = fields.text_or_null("external_id")?;
    let key = fields.text_or_null("idempotency_key")?;
    fields.raw("wallet_id").and(fields.raw("amount"))?;
    let visible = |key: &String| {
        (1..=255).contains(&key.len()) && key.bytes().all(|byte| (b'!'..=b'~').contains(&byte))
    };
    if kind == OperationKind::Transfer && external_id.is_some() || !key.iter().all(visible) {
        return None;
    }
    if kind == OperationKind::Deposit && role == Role::Person {
        return Some(Err(Rejection::NotTheBank));
    }
    let order = naive_money(&fields, currency, &NAMES)?;
    Some(order.map(|order| (kind, order, key)))
}
