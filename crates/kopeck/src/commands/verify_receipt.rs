//! Owns `kopeck verify-receipt`: whether a receipt proves what it says, without the book.
//!
//! Never: a data directory, or the network. Bounds: [`read_text`]'s.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use ledger::{Details, ExternalId, OperationKind, Receipt};
use serde::Serialize;
use serde_json::json;

use super::read_text;
use crate::clock;
use crate::hex;
use crate::receipt::{CheckpointText, ReceiptText};

/// What to verify, and against what.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wanted {
    /// The receipt, as `GET /api/operations/{operation_id}/receipt` gave it; `-` is standard input.
    receipt: PathBuf,

    /// A checkpoint that was published and that you trust. Without it, the receipt is only known to
    /// agree with itself.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,

    /// Says what is proven as JSON.
    #[arg(long)]
    json: bool,
}

/// What is proven, for programs. Never by way of a JSON value, which keeps a number and not its text: the
/// receipt in it is the one that was given, with all digits of the amount.
#[derive(Debug, Serialize)]
struct Proven {
    checkpoint_compared: bool,
    receipt: ReceiptText,
    valid: bool,
}

/// Verifies, and says what is proven. Status 1 when it is not.
pub(crate) fn run(wanted: &Wanted) -> ExitCode {
    let verified = verify(wanted);
    let sound = verified.is_ok();
    match say(wanted, verified) {
        Ok(()) if sound => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            crate::complain(format_args!("kopeck: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn verify(wanted: &Wanted) -> anyhow::Result<Receipt> {
    let named = |file: &PathBuf| format!("the file {}", file.display());
    let receipt = read_text(&wanted.receipt).and_then(|text| Ok(ReceiptText::read(&text)?));
    let receipt = receipt.with_context(|| named(&wanted.receipt))?;
    if let Some(file) = &wanted.checkpoint {
        let published = read_text(file).and_then(|text| Ok(CheckpointText::read(&text)?));
        let published = published.with_context(|| named(file))?;
        let of = receipt.checkpoint.operations;
        ensure!(
            published.operations == of,
            "the receipt leads to a book of {of} operations, and the checkpoint is of {count}: ask \
             for the receipt with ?operations={count}",
            count = published.operations
        );
        ensure!(
            published.root == receipt.checkpoint.root,
            "the receipt leads to another book than the checkpoint: the roots differ"
        );
    }
    receipt.verify()?;
    Ok(receipt)
}

fn say(wanted: &Wanted, verified: anyhow::Result<Receipt>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let line = match &verified {
        Ok(receipt) if wanted.json => serde_json::to_string(&Proven {
            checkpoint_compared: wanted.checkpoint.is_some(),
            receipt: ReceiptText::new(receipt)?,
            valid: true,
        })?,
        Err(error) if wanted.json => {
            json!({"valid": false, "reason": format!("{error:#}")}).to_string()
        }
        Ok(receipt) => sentence(receipt, wanted.checkpoint.is_some()),
        Err(error) => format!("Not proven: {error:#}"),
    };
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// What a verified receipt proves. Texts of others are quoted with all that could mislead a reader
/// or a terminal escaped.
fn sentence(receipt: &Receipt, compared: bool) -> String {
    let record = &receipt.record;
    let (debit, credit) = (record.debit, record.credit);
    let amount = format!("{} {}", record.amount.in_units(record.currency), record.currency);
    let did = match record.kind {
        OperationKind::Deposit => format!("{amount} was paid in to wallet {credit} by the bank"),
        OperationKind::Transfer => format!("wallet {debit} paid {amount} to wallet {credit}"),
    };
    let quoted = |name: &str, text: Option<&str>| {
        text.map(|text| format!(", {name} {text:?}")).unwrap_or_default()
    };
    let details = quoted("with the note", record.details.as_ref().map(Details::as_str));
    let external_id =
        quoted("with the external id", record.external_id.as_ref().map(ExternalId::as_str));
    let (id, time) = (record.operation, clock::rfc3339(record.time));
    let (operations, root) = (receipt.checkpoint.operations, hex::text(&receipt.checkpoint.root));
    let book = format!("the book of {operations} operations with the root {root}");
    if compared {
        format!(
            "Proven: {did} at {time}{details}{external_id}. This is operation {id} in {book}, which \
             is that of the checkpoint."
        )
    } else {
        format!(
            "The receipt says: {did} at {time}{details}{external_id}. This is operation {id} in \
             {book}. That is proven only if the root is that of a published checkpoint of \
             {operations} operations: compare them, or give one with --checkpoint."
        )
    }
}
