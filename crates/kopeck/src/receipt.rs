//! Owns the text of receipts and checkpoints: how they are written, and how they are read back by
//! whoever verifies one.
//!
//! Never: a balance, or a verification (that is the ledger's). Bounds: reading takes the fields that
//! writing gives: one more, less or twice is refused. Whoever reformats JSON may write the same number
//! or hash in another way, so `11.1` is `11.10`; what has no such other way, a text or a time, is as it was.

use ledger::{
    Amount, Checkpoint, Currency, Details, ExternalId, Hash, ID_MAX, OperationId, OperationKind,
    Receipt, Record, Timestamp, WalletId,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{clock, hex};

/// What the whole book is at some moment, in one hash.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Checkpoint)]
pub(crate) struct CheckpointText {
    /// How many operations the book has.
    #[schema(minimum = 0, example = 2)]
    operations: u64,
    /// The root of the Merkle tree over them (RFC 6962 with SHA-256), in hexadecimal.
    #[schema(
        pattern = "^[0-9a-f]{64}$",
        example = "8cf38c5d8a6d2bd1d2ee0e8e6a1a2ae3a0bd9cb0cd25bbb0b06b2a68bbbfc00d"
    )]
    root: String,
}

/// An operation with the proof that it is in the book of a checkpoint.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Receipt)]
pub(crate) struct ReceiptText {
    /// Its place in the order of all operations.
    #[schema(minimum = 1, example = 2)]
    operation_id: u64,
    /// Whether it brought money in or moved it.
    #[serde(rename = "type")]
    kind: ReceiptType,
    /// The wallet that paid.
    #[schema(minimum = 1, example = 2)]
    debit_wallet_id: u64,
    /// The wallet that was paid.
    #[schema(minimum = 1, example = 1)]
    credit_wallet_id: u64,
    /// How much.
    #[schema(value_type = f64, example = 11.10)]
    amount: Box<RawValue>,
    /// In what (ISO 4217).
    #[schema(example = "RUB")]
    currency: String,
    /// When, in UTC (RFC 3339).
    #[schema(format = DateTime, example = "2026-01-31T12:34:56.789012Z")]
    timestamp: String,
    /// The same in microseconds since 1970-01-01T00:00:00Z.
    #[schema(example = 1_769_862_896_789_012_i64)]
    time_us: i64,
    /// What stands for the idempotency key, or for the lack of one, without telling it; in
    /// hexadecimal.
    #[schema(pattern = "^[0-9a-f]{16}$", example = "6a3f08d1c29be754")]
    key_mark: String,
    /// The sender's note, if there is one.
    #[schema(required, example = "Перевод из Тинькофф")]
    details: Option<String>,
    /// The payment provider's own id, when the bank gave one.
    #[schema(required, example = "pay_3MtwBwLkdIwHu7ix")]
    external_id: Option<String>,
    /// The link of the operation before it, in hexadecimal.
    #[schema(pattern = "^[0-9a-f]{16}$", example = "3f1c0f6f0d1f8a52")]
    previous: String,
    /// The hashes from the operation to the root (RFC 6962, section 2.1.1), in hexadecimal.
    #[schema(example = json!(["5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"]))]
    proof: Vec<String>,
    /// The book that it is in.
    checkpoint: CheckpointText,
}

/// What an operation did.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReceiptType {
    Deposit,
    Transfer,
}

/// A text is not a receipt's or a checkpoint's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAReceipt {
    /// Its form is not one.
    #[error("it is not of the form that the service gives")]
    Form(#[from] serde_json::Error),
    /// A value cannot be in any book.
    #[error("`{0}` holds what no book does")]
    Value(&'static str),
    /// The time is told twice, and differently.
    #[error("`timestamp` and `time_us` are not the same moment")]
    TwoTimes,
}

impl From<Checkpoint> for CheckpointText {
    fn from(Checkpoint { operations, root }: Checkpoint) -> Self {
        Self { operations, root: hex::text(&root) }
    }
}

impl CheckpointText {
    /// Reads the text of a checkpoint.
    pub(crate) fn read(text: &str) -> Result<Checkpoint, NotAReceipt> {
        serde_json::from_str::<Self>(text)?.parse()
    }

    fn parse(&self) -> Result<Checkpoint, NotAReceipt> {
        let root = unhex(&self.root).ok_or(NotAReceipt::Value("root"))?;
        if self.operations > ID_MAX {
            return Err(NotAReceipt::Value("operations"));
        }
        Ok(Checkpoint { operations: self.operations, root })
    }
}

impl ReceiptText {
    /// A receipt as it is written.
    pub(crate) fn new(receipt: &Receipt) -> Result<Self, serde_json::Error> {
        let Receipt { record, previous, proof, checkpoint } = receipt;
        Ok(Self {
            operation_id: record.operation.get(),
            kind: match record.kind {
                OperationKind::Deposit => ReceiptType::Deposit,
                OperationKind::Transfer => ReceiptType::Transfer,
            },
            debit_wallet_id: record.debit.get(),
            credit_wallet_id: record.credit.get(),
            amount: RawValue::from_string(record.amount.in_units(record.currency).to_string())?,
            currency: record.currency.code().to_owned(),
            timestamp: clock::rfc3339(record.time),
            time_us: record.time.micros(),
            key_mark: hex::text(&record.key_mark.to_be_bytes()),
            details: record.details.as_ref().map(|details| details.as_str().to_owned()),
            external_id: record.external_id.as_ref().map(|id| id.as_str().to_owned()),
            previous: hex::text(&previous.to_be_bytes()),
            proof: proof.iter().map(|hash| hex::text(hash)).collect(),
            checkpoint: (*checkpoint).into(),
        })
    }

    /// Reads the text of a receipt. What it says is not verified yet.
    pub(crate) fn read(text: &str) -> Result<Receipt, NotAReceipt> {
        serde_json::from_str::<Self>(text)?.parse()
    }

    fn parse(&self) -> Result<Receipt, NotAReceipt> {
        let value = NotAReceipt::Value;
        let currency = Currency::parse(&self.currency).map_err(|_| value("currency"))?;
        let amount = Amount::parse(self.amount.get(), currency).map_err(|_| value("amount"))?;
        let time = Timestamp::from_micros(self.time_us);
        if self.timestamp != clock::rfc3339(time) {
            return Err(NotAReceipt::TwoTimes);
        }
        let details = self.details.as_deref().map_or(Ok(None), Details::parse);
        let details = details.map_err(|_| value("details"))?;
        // Trimmed, it would be another text than the one that is shown.
        if details.as_ref().map(Details::as_str) != self.details.as_deref() {
            return Err(value("details"));
        }
        let external_id = self.external_id.as_deref().map(ExternalId::parse).transpose();
        let number = |text: &str, name| unhex(text).map(u64::from_be_bytes).ok_or(value(name));
        let proof = self.proof.iter().map(|hash| unhex(hash).ok_or(value("proof")));
        Ok(Receipt {
            record: Record {
                operation: OperationId::new(self.operation_id).ok_or(value("operation_id"))?,
                kind: match self.kind {
                    ReceiptType::Deposit => OperationKind::Deposit,
                    ReceiptType::Transfer => OperationKind::Transfer,
                },
                debit: WalletId::new(self.debit_wallet_id).ok_or(value("debit_wallet_id"))?,
                credit: WalletId::new(self.credit_wallet_id).ok_or(value("credit_wallet_id"))?,
                amount,
                currency,
                time,
                key_mark: number(&self.key_mark, "key_mark")?,
                details,
                external_id: external_id.map_err(|_| value("external_id"))?,
            },
            previous: number(&self.previous, "previous")?,
            proof: proof.collect::<Result<Vec<Hash>, _>>()?,
            checkpoint: self.checkpoint.parse()?,
        })
    }
}

/// The bytes of exactly so many hexadecimal digits.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        for digit in pair {
            let digit = char::from(*digit).to_digit(16)?;
            *byte = *byte << 4 | u8::try_from(digit).ok()?;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    fn receipt() -> Receipt {
        Receipt {
            record: Record {
                operation: OperationId::new(2).unwrap(),
                kind: OperationKind::Transfer,
                debit: WalletId::new(2).unwrap(),
                credit: WalletId::new(1).unwrap(),
                amount: Amount::from_minor(1_110).unwrap(),
                currency: Currency::parse("RUB").unwrap(),
                time: Timestamp::from_micros(1_769_862_896_789_012),
                key_mark: u64::MAX - 1,
                details: Details::parse("за чай \"\u{202e}\"").unwrap(),
                external_id: None,
            },
            previous: 7,
            proof: vec![[0xab; 32], [1; 32]],
            checkpoint: Checkpoint { operations: 3, root: [0xcd; 32] },
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let text = serde_json::to_string(&ReceiptText::new(&receipt()).unwrap()).unwrap();
        assert!(text.contains(r#""amount":11.10,"#), "{text}");
        assert!(text.contains(r#""key_mark":"fffffffffffffffe","#), "{text}");
        assert_eq!(ReceiptText::read(&text).unwrap(), receipt());
        let checkpoint = receipt().checkpoint;
        let text = serde_json::to_string(&CheckpointText::from(checkpoint)).unwrap();
        assert_eq!(CheckpointText::read(&text).unwrap(), checkpoint);
    }

    #[test]
    fn the_same_value_may_be_written_in_another_way() {
        let text = serde_json::to_string(&ReceiptText::new(&receipt()).unwrap()).unwrap();
        for (from, to) in
            [("11.10", "11.1"), ("11.10", "1.110e1"), ("abab", "ABab"), (":2,", ": 2 ,")]
        {
            assert!(text.contains(from), "{from}");
            assert_eq!(ReceiptText::read(&text.replace(from, to)).unwrap(), receipt(), "{to}");
        }
    }

    #[test]
    fn nothing_else_is_read() {
        let text = serde_json::to_string(&ReceiptText::new(&receipt()).unwrap()).unwrap();
        for (from, to) in [
            ("\"amount\":11.10", "\"amount\":11.101"),
            ("\"amount\":11.10", "\"amount\":-11.10"),
            ("\"amount\":11.10", "\"amount\":null"),
            ("\"operation_id\":2", "\"operation_id\":0"),
            ("\"debit_wallet_id\":2", "\"debit_wallet_id\":0"),
            ("\"debit_wallet_id\":2,", ""),
            ("\"debit_wallet_id\":2,", "\"debit_wallet_id\":2,\"debit_wallet_id\":3,"),
            ("\"debit_wallet_id\":2,", "\"debit_wallet_id\":2,\"balance\":3,"),
            ("\"time_us\":1769862896789012", "\"time_us\":1769862896789013"),
            ("\"transfer\"", "\"gift\""),
            ("за чай", " за чай"),
            ("RUB", "rub"),
            ("\"fffffffffffffffe\"", "\"0fffffffffffffffe\""),
            ("\"fffffffffffffffe\"", "\"+ffffffffffffffe\""),
            ("\"external_id\":null", "\"external_id\":\"\""),
            ("\"abab", "\"gbab"),
        ] {
            assert!(text.contains(from), "{from}");
            let changed = text.replacen(from, to, 1);
            assert!(ReceiptText::read(&changed).is_err(), "{changed}");
        }
        assert!(CheckpointText::read("{\"operations\": 1, \"root\": \"ab\"}").is_err());
        let checkpoint = |operations: u64| {
            let text = CheckpointText::from(Checkpoint { operations, root: [1; 32] });
            CheckpointText::read(&serde_json::to_string(&text).unwrap())
        };
        assert!(checkpoint(ID_MAX).is_ok());
        for absurd in [ID_MAX + 1, 1 << 63, u64::MAX] {
            let refused = checkpoint(absurd);
            assert!(matches!(refused, Err(NotAReceipt::Value("operations"))), "{absurd}");
        }
    }

    /// The example of docs/data-file.md, as it stands there.
    #[test]
    fn the_documented_example_holds() {
        let page = include_str!("../../../docs/data-file.md");
        let (_, rest) = page.split_once("```json\n").unwrap();
        let receipt = ReceiptText::read(rest.split_once("```").unwrap().0).unwrap();
        receipt.verify().unwrap();
        let line = |name: &str| {
            let start = format!("    {name}  ");
            page.lines().find_map(|line| line.strip_prefix(start.as_str())).unwrap()
        };
        let bytes = |text: &str| -> Vec<u8> {
            let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
        };
        for number in ["1", "2"] {
            let hash = sha2::Sha256::digest(bytes(line(&format!("leaf {number}"))));
            assert_eq!(hex::text(&hash), line(&format!("hash {number}")));
        }
        let hash = ledger::leaf_hash(receipt.previous, &receipt.record, &mut Vec::new());
        assert_eq!(hex::text(&hash), line("hash 2"));
        let previous = hex::text(&receipt.previous.to_be_bytes());
        assert!(
            line("hash 1").starts_with(&previous)
                && line("leaf 2").starts_with(&format!("00{previous}"))
        );
    }
}
