//! Owns the types on the wire: what bodies hold, what answers hold, and exact numbers both ways.
//!
//! Never: a float. An amount is read from the number's own text and written as such. Bounds: those
//! of the ledger's own types, into which everything is parsed here.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use ledger::{
    Amount, Currency, Entry, EntryKind, ExternalId, OperationKind, Rejection, Statement, Transfer,
    Units, User,
};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::digits;
use super::json::wrong_type;
use super::openapi::AmountText;
use super::wallet_number::wallet_id;
use crate::auth::Secret;
use crate::clock;
use crate::money::{Order, parse_details};
use crate::problem::Problem;

/// Somebody who signs up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SignUp)]
pub(crate) struct SignUpBody {
    /// 1 to 100 characters, no control characters.
    #[schema(example = "test1", min_length = 1, max_length = 100)]
    pub(crate) name: String,
    /// Compared without regard to case.
    #[schema(
        example = "test1@localhost.ru",
        format = "idn-email",
        pattern = ".@.",
        max_length = 254
    )]
    pub(crate) email: String,
    /// At least 8 characters, at most 1024 bytes.
    #[schema(
        value_type = String,
        format = Password,
        min_length = 8,
        max_length = 1024,
        example = "Pa$$w0rd"
    )]
    pub(crate) password: Secret,
}

/// Somebody who logs in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LogIn)]
pub(crate) struct LogInBody {
    /// As given at sign-up, in any case.
    #[schema(example = "test1@localhost.ru")]
    pub(crate) email: String,
    /// The password.
    #[schema(value_type = String, format = Password, example = "Pa$$w0rd")]
    pub(crate) password: Secret,
}

/// Money to bring in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Deposit)]
pub(crate) struct DepositBody<'b> {
    /// The wallet that is paid.
    #[serde(borrow)]
    #[schema(value_type = u64, minimum = 1, maximum = 9_007_199_254_740_991_i64, example = 2)]
    wallet_id: &'b RawValue,
    /// How much: more than zero, no more digits after the point than the currency has, and no more
    /// than its greatest amount. Read exactly as it is written.
    #[serde(borrow)]
    #[schema(value_type = AmountText)]
    amount: &'b RawValue,
    /// A note, at most 200 characters without control characters.
    #[serde(default)]
    #[schema(max_length = 200, example = "Перевод из Тинькофф")]
    details: Option<String>,
    /// The payment provider's own id of the payment: 1 to 255 visible ASCII characters. A payment
    /// of the same id, wallet and amount is brought in once, however often and late it is told.
    #[serde(default)]
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$",
        example = "pay_3MtwBwLkdIwHu7ix"
    )]
    external_id: Option<String>,
}

/// Money to move.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Transfer)]
pub(crate) struct TransferBody<'b> {
    /// The wallet that is paid.
    #[serde(borrow)]
    #[schema(value_type = u64, minimum = 1, maximum = 9_007_199_254_740_991_i64, example = 2)]
    wallet_id: &'b RawValue,
    /// How much: more than zero, no more digits after the point than the currency has, and no more
    /// than its greatest amount. Read exactly as it is written.
    #[serde(borrow)]
    #[schema(value_type = AmountText)]
    amount: &'b RawValue,
    /// A note, at most 200 characters without control characters.
    #[serde(default)]
    #[schema(max_length = 200, example = "Перевод из Тинькофф")]
    details: Option<String>,
}

/// A body of money that is not what it should be.
#[derive(Debug)]
pub(crate) enum MoneyRefused {
    /// Its form is wrong.
    Form(Problem),
    /// A rule refuses it.
    Rule(Rejection),
}

impl From<Problem> for MoneyRefused {
    fn from(problem: Problem) -> Self {
        Self::Form(problem)
    }
}

impl From<Rejection> for MoneyRefused {
    fn from(rejection: Rejection) -> Self {
        Self::Rule(rejection)
    }
}

impl DepositBody<'_> {
    /// Reads the values, types first, then in the order of [`Rejection`].
    pub(crate) fn parse(self, currency: Currency) -> Result<Order, MoneyRefused> {
        let Self { wallet_id, amount, details, external_id } = self;
        order((wallet_id, amount), details.as_deref(), external_id.as_deref(), currency)
    }
}

impl TransferBody<'_> {
    /// Reads the values, types first, then in the order of [`Rejection`].
    pub(crate) fn parse(self, currency: Currency) -> Result<Order, MoneyRefused> {
        order((self.wallet_id, self.amount), self.details.as_deref(), None, currency)
    }
}

/// Reads the values of an order, types first, then in the order of [`Rejection`].
pub(super) fn order(
    (to, amount): (&RawValue, &RawValue),
    details: Option<&str>,
    external_id: Option<&str>,
    currency: Currency,
) -> Result<Order, MoneyRefused> {
    let amount = amount_text(amount)?;
    let wallet = wallet_id(to)?;
    let amount = Amount::parse(&amount, currency)?;
    let details = details.map_or(Ok(None), parse_details)?;
    let external_id = external_id.map(ExternalId::parse).transpose();
    let external_id = external_id.map_err(|_| Rejection::ExternalIdMalformed)?;
    let to = wallet.ok_or(Rejection::WalletNotFound)?;
    Ok(Order { to, amount, details, external_id })
}

/// The decimal text of an amount: the number as it was written, or what the string holds.
fn amount_text(raw: &RawValue) -> Result<std::borrow::Cow<'_, str>, Problem> {
    let text = raw.get();
    let wrong = || wrong_type("amount", "a number such as 115.60, or a string of that form");
    match text.as_bytes().first() {
        Some(b'0'..=b'9' | b'-') => Ok(text.into()),
        Some(b'"') => match serde_json::from_str::<String>(text) {
            Ok(text) => Ok(text.into()),
            Err(_) => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// Exact decimal text as a JSON number.
#[derive(Debug)]
pub(crate) struct Decimal(Units);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = RawValue::from_string(self.0.to_string());
        raw.map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// It worked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Done)]
pub(crate) struct DoneAnswer {
    /// Always `OK`.
    #[schema(example = "OK")]
    status: &'static str,
}

impl DoneAnswer {
    /// It worked.
    pub(crate) const OK: Self = Self { status: "OK" };
}

/// Who is logged in now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LoggedIn)]
pub(crate) struct LoggedInAnswer {
    /// Always `OK`.
    #[schema(example = "OK")]
    status: &'static str,
    /// The user.
    #[schema(minimum = 1, example = 2)]
    user_id: u64,
    /// The user's wallet.
    #[schema(minimum = 1, example = 2)]
    wallet_id: u64,
}

impl From<&User> for LoggedInAnswer {
    fn from(user: &User) -> Self {
        Self { status: "OK", user_id: user.id.get(), wallet_id: user.wallet.get() }
    }
}

/// Money was moved.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Moved)]
pub(crate) struct MovedAnswer {
    /// Always `OK`.
    #[schema(example = "OK")]
    status: &'static str,
    /// The operation's place in the order of all operations.
    #[schema(minimum = 1, example = 2)]
    operation_id: u64,
    /// A deposit: the wallet that was paid. A transfer: the sender's.
    #[schema(minimum = 1, example = 2)]
    wallet_id: u64,
    /// The balance of that wallet after the operation.
    #[schema(value_type = f64, example = 104.50)]
    balance: Decimal,
}

/// What the text of a [`MovedAnswer`] takes at most: 55 bytes around two numbers of 16 digits and a
/// balance of 17 characters. A longer one would only cost a second allocation.
const MOVED_BYTES_MAX: usize = 104;

impl MovedAnswer {
    /// The transfer from the side whose balance the caller is to know.
    pub(crate) fn new(transfer: &Transfer, currency: Currency) -> Self {
        let side = match transfer.kind {
            OperationKind::Deposit => transfer.credit,
            OperationKind::Transfer => transfer.debit,
        };
        Self {
            status: "OK",
            operation_id: transfer.id.get(),
            wallet_id: side.wallet.get(),
            balance: Decimal(side.balance.in_units(currency)),
        }
    }

    /// The same text as serde's, at a fraction of its cost: it is the answer that there are most of.
    fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MOVED_BYTES_MAX);
        out.extend_from_slice(br#"{"status":""#);
        out.extend_from_slice(self.status.as_bytes());
        out.push(b'"');
        self.write_rest(&mut out);
        out.push(b'}');
        out
    }

    /// All that comes behind the status, each with a comma before it.
    pub(super) fn write_rest(&self, out: &mut Vec<u8>) {
        let Self { status: _, operation_id, wallet_id, balance: Decimal(balance) } = self;
        out.extend_from_slice(br#","operation_id":"#);
        digits::number(out, *operation_id);
        out.extend_from_slice(br#","wallet_id":"#);
        digits::number(out, *wallet_id);
        out.extend_from_slice(br#","balance":"#);
        digits::units(out, *balance);
    }
}

impl IntoResponse for MovedAnswer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

/// A wallet with a page of its history.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Wallet)]
pub(crate) struct WalletAnswer {
    /// The wallet.
    #[schema(minimum = 1, example = 2)]
    wallet_id: u64,
    /// Its owner.
    #[schema(minimum = 1, example = 2)]
    user_id: u64,
    /// Its balance.
    #[schema(value_type = f64, example = 104.50)]
    balance: Decimal,
    /// The currency of all amounts (ISO 4217).
    #[schema(example = "RUB")]
    currency: &'static str,
    /// The operations of the page, newest first.
    operations: Vec<OperationAnswer>,
    /// Whether there are older ones.
    has_more: bool,
    /// The `cursor` of the next page, when there is one.
    #[schema(required, example = "17")]
    next_cursor: Option<String>,
}

/// An operation as a wallet sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Operation)]
pub(crate) struct OperationAnswer {
    /// Its place in the order of all operations.
    #[schema(minimum = 1, example = 2)]
    operation_id: u64,
    /// What it means to this wallet.
    #[serde(rename = "type")]
    kind: OperationType,
    /// How much.
    #[schema(value_type = f64, example = 11.10)]
    amount: Decimal,
    /// This wallet's balance after it.
    #[schema(value_type = f64, example = 104.50)]
    balance: Decimal,
    /// The wallet on the other side.
    #[schema(minimum = 1, example = 1)]
    counterparty_wallet_id: u64,
    /// The sender's note, if there is one.
    #[schema(required, example = "Перевод из Тинькофф")]
    details: Option<String>,
    /// The payment provider's own id, when the bank gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "pay_3MtwBwLkdIwHu7ix")]
    external_id: Option<String>,
    /// When, in UTC (RFC 3339).
    #[schema(format = DateTime, example = "2026-01-31T12:34:56.789012Z")]
    timestamp: String,
}

/// What an operation means to a wallet.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OperationType {
    Deposit,
    TransferIn,
    TransferOut,
}

impl WalletAnswer {
    /// A statement as it is answered.
    pub(crate) fn new(statement: Statement, currency: Currency) -> Self {
        Self {
            wallet_id: statement.wallet.get(),
            user_id: statement.owner.get(),
            balance: Decimal(statement.balance.in_units(currency)),
            currency: currency.code(),
            operations: statement
                .entries
                .into_iter()
                .map(|entry| OperationAnswer::new(&entry, currency))
                .collect(),
            has_more: statement.next.is_some(),
            next_cursor: statement.next.map(|next| next.to_string()),
        }
    }
}

impl OperationAnswer {
    fn new(entry: &Entry, currency: Currency) -> Self {
        Self {
            operation_id: entry.operation.get(),
            kind: match entry.kind {
                EntryKind::Deposit => OperationType::Deposit,
                EntryKind::TransferIn => OperationType::TransferIn,
                EntryKind::TransferOut => OperationType::TransferOut,
            },
            amount: Decimal(entry.amount.in_units(currency)),
            balance: Decimal(entry.balance.in_units(currency)),
            counterparty_wallet_id: entry.counterparty.get(),
            details: entry.details.as_ref().map(|details| details.as_str().to_owned()),
            external_id: entry.external_id.as_ref().map(|id| id.as_str().to_owned()),
            timestamp: clock::rfc3339(entry.time),
        }
    }
}

#[cfg(test)]
mod tests {
    use ledger::Balance;

    use super::*;

    fn parse(wallet_id: &str, amount: &str) -> Result<i64, &'static str> {
        let text = format!(r#"{{"wallet_id": {wallet_id}, "amount": {amount}}}"#);
        let body: TransferBody<'_> = serde_json::from_str(&text).unwrap();
        match body.parse(Currency::parse("RUB").unwrap()) {
            Ok(money) => Ok(money.amount.minor()),
            Err(MoneyRefused::Form(problem)) => Err(problem.code()),
            Err(MoneyRefused::Rule(rejection)) => Err(rejection.code()),
        }
    }

    #[test]
    fn what_was_moved_is_told_as_serde_would() {
        let greatest = (-ledger::MINOR_UNITS_MAX, "-9999999999999.99");
        for (minor, balance) in [(-1, "-0.01"), (10_450, "104.50"), (0, "0.00"), greatest] {
            let balance_is = Balance::from_minor(minor).unwrap();
            let currency = Currency::parse("RUB").unwrap();
            let moved = MovedAnswer {
                status: "OK",
                operation_id: ledger::ID_MAX,
                wallet_id: ledger::ID_MAX,
                balance: Decimal(balance_is.in_units(currency)),
            };
            let text = String::from_utf8(moved.to_json()).unwrap();
            assert_eq!(text, serde_json::to_string(&moved).unwrap());
            assert!(text.ends_with(&format!(r#""balance":{balance}}}"#)));
            assert!(text.len() <= MOVED_BYTES_MAX, "{text}");
            assert_eq!(text.len() == MOVED_BYTES_MAX, minor == greatest.0, "{text}");
        }
    }

    #[test]
    fn amounts_are_read_from_their_own_text() {
        assert_eq!(parse("2", "115.6"), Ok(11_560));
        assert_eq!(parse("2", "\"115.6\""), Ok(11_560));
        assert_eq!(parse("2", "\"\\u0031\""), Ok(100));
        assert_eq!(parse("2", "0.07"), Ok(7));
        assert_eq!(parse("2", "1e2"), Ok(10_000));
        assert_eq!(parse("2", "9999999999999.99"), Ok(999_999_999_999_999));
        for (amount, code) in [
            ("0.001", "amount_too_precise"),
            ("-1", "amount_not_positive"),
            ("0", "amount_not_positive"),
            ("1e400", "amount_too_large"),
            ("\"abc\"", "amount_malformed"),
            ("\"NaN\"", "amount_malformed"),
            ("\"\"", "amount_malformed"),
            ("\" 1\"", "amount_malformed"),
            ("null", "wrong_type"),
            ("true", "wrong_type"),
            ("[1]", "wrong_type"),
            ("{}", "wrong_type"),
        ] {
            assert_eq!(parse("2", amount), Err(code), "{amount}");
        }
        assert_eq!(parse("2", &"9".repeat(10_000)), Err("amount_too_large"));
    }

    #[test]
    fn wallets() {
        assert_eq!(parse("0", "1"), Err("wallet_not_found"));
        for wrong in ["2.5", "\"2\"", "null"] {
            assert_eq!(parse(wrong, "1"), Err("wrong_type"), "{wrong}");
        }
        for two in ["2", "2.0", "2e0"] {
            assert_eq!(parse(two, "1"), Ok(100), "{two}");
        }
        assert_eq!(parse("0", "0"), Err("amount_not_positive"), "precedence");
    }

    #[test]
    fn numbers_are_written_exactly() {
        let currency = Currency::parse("RUB").unwrap();
        let balance = ledger::Balance::from_minor(-999_999_999_999_999).unwrap();
        let text = serde_json::to_string(&Decimal(balance.in_units(currency))).unwrap();
        assert_eq!(text, "-9999999999999.99");
    }
}
