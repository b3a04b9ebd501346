//! Owns how histories are written for other programs: CSV (RFC 4180) for spreadsheets, and JSON Lines,
//! which is exact.
//!
//! Never: a text that a spreadsheet takes for a formula, or a number that is not exact. Bounds: a row
//! at a time.
//!
//! # Text that a spreadsheet could run
//!
//! People write what they like into an operation's details, and a spreadsheet runs a cell that
//! begins with `=`, `+`, `-`, `@`, a tab or a carriage return. So in CSV an apostrophe is put in
//! front of each of these, and of their full-width forms, where a cell could begin: at the beginning
//! of the text, and after a `,`, `;`, `|`, tab or line break inside of it (for whoever splits the
//! file at another separator than it has); white space, invisible characters and quotation marks
//! before it change nothing. To undo it exactly, an apostrophe in such a place gets another one, and
//! whoever reads takes one away from there. Numbers are no text: `-5.00` stays what it is.

use std::borrow::Cow;
use std::io::{self, Write};

use ledger::{Currency, Details, Entry, EntryKind, ExternalId, OperationKind, Transfer};
use serde::ser::{Error, SerializeMap};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::clock;

/// How a sheet is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Comma-separated values (RFC 4180) with a header row, for spreadsheets.
    Csv,
    /// An object of JSON a line, exact.
    Jsonl,
}

/// One value of a row.
#[derive(Debug)]
pub(crate) enum Cell<'c> {
    /// A number, as exact decimal text.
    Number(String),
    /// A word of ours.
    Word(Cow<'c, str>),
    /// Something that somebody wrote.
    Text(Option<&'c str>),
}

/// A row: names and values.
pub(crate) type Row<'c, const COLUMNS: usize> = [(&'static str, Cell<'c>); COLUMNS];

/// The columns of [`entry`].
pub(crate) const ENTRY: [&str; 9] = [
    "operation_id",
    "type",
    "amount",
    "balance",
    "currency",
    "counterparty_wallet_id",
    "details",
    "external_id",
    "timestamp",
];

/// An operation as a wallet sees it.
pub(crate) fn entry(entry: &Entry, currency: Currency) -> Row<'_, 9> {
    let kind = match entry.kind {
        EntryKind::Deposit => "deposit",
        EntryKind::TransferIn => "transfer_in",
        EntryKind::TransferOut => "transfer_out",
    };
    let cells = [
        Cell::Number(entry.operation.to_string()),
        Cell::Word(kind.into()),
        Cell::Number(entry.amount.in_units(currency).to_string()),
        Cell::Number(entry.balance.in_units(currency).to_string()),
        Cell::Word(currency.code().into()),
        Cell::Number(entry.counterparty.to_string()),
        Cell::Text(entry.details.as_ref().map(Details::as_str)),
        Cell::Text(entry.external_id.as_ref().map(ExternalId::as_str)),
        Cell::Word(clock::rfc3339(entry.time).into()),
    ];
    named(ENTRY, cells)
}

/// The columns of [`transfer`].
pub(crate) const TRANSFER: [&str; 11] = [
    "operation_id",
    "type",
    "debit_wallet_id",
    "credit_wallet_id",
    "amount",
    "debit_balance",
    "credit_balance",
    "currency",
    "details",
    "external_id",
    "timestamp",
];

/// An operation with both its sides.
pub(crate) fn transfer(transfer: &Transfer, currency: Currency) -> Row<'_, 11> {
    let kind = match transfer.kind {
        OperationKind::Deposit => "deposit",
        OperationKind::Transfer => "transfer",
    };
    let cells = [
        Cell::Number(transfer.id.to_string()),
        Cell::Word(kind.into()),
        Cell::Number(transfer.debit.wallet.to_string()),
        Cell::Number(transfer.credit.wallet.to_string()),
        Cell::Number(transfer.amount.in_units(currency).to_string()),
        Cell::Number(transfer.debit.balance.in_units(currency).to_string()),
        Cell::Number(transfer.credit.balance.in_units(currency).to_string()),
        Cell::Word(currency.code().into()),
        Cell::Text(transfer.details.as_ref().map(Details::as_str)),
        Cell::Text(transfer.external_id.as_ref().map(ExternalId::as_str)),
        Cell::Word(clock::rfc3339(transfer.time).into()),
    ];
    named(TRANSFER, cells)
}

fn named<'c, const COLUMNS: usize>(
    names: [&'static str; COLUMNS],
    cells: [Cell<'c>; COLUMNS],
) -> Row<'c, COLUMNS> {
    let mut cells = cells.into_iter();
    names.map(|name| (name, cells.next().unwrap_or(Cell::Text(None))))
}

/// A sheet that is being written.
pub(crate) enum Sheet<W: Write> {
    /// As CSV.
    Csv(Box<csv::Writer<W>>),
    /// As JSON Lines.
    JsonLines(W),
}

impl<W: Write> Sheet<W> {
    /// A sheet without a row.
    pub(crate) fn new(format: Format, out: W) -> Self {
        match format {
            Format::Csv => Self::csv(b',', out),
            Format::Jsonl => Self::JsonLines(out),
        }
    }

    /// A sheet as CSV with a separator of one's own.
    pub(crate) fn csv(separator: u8, out: W) -> Self {
        let terminator = csv::Terminator::CRLF;
        let mut builder = csv::WriterBuilder::new();
        Self::Csv(Box::new(builder.delimiter(separator).terminator(terminator).from_writer(out)))
    }

    /// Writes the names of the columns, where they stand above them.
    pub(crate) fn head(&mut self, names: &[impl AsRef<str>]) -> io::Result<()> {
        match self {
            Self::Csv(out) => out.write_record(names.iter().map(AsRef::as_ref)).map_err(of_csv),
            Self::JsonLines(_) => Ok(()),
        }
    }

    /// Writes a row.
    pub(crate) fn row<const COLUMNS: usize>(&mut self, row: &Row<'_, COLUMNS>) -> io::Result<()> {
        match self {
            Self::Csv(out) => csv_row(out, row).map_err(of_csv),
            Self::JsonLines(out) => {
                serde_json::to_writer(&mut *out, &Object(row))?;
                out.write_all(b"\n")
            }
        }
    }

    /// Writes what is still held back.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::Csv(out) => out.into_inner().map_err(|failed| {
                let error = failed.error();
                io::Error::new(error.kind(), error.to_string())
            }),
            Self::JsonLines(mut out) => out.flush().map(|()| out),
        }
    }
}

fn csv_row<const COLUMNS: usize>(
    out: &mut csv::Writer<impl Write>,
    row: &Row<'_, COLUMNS>,
) -> csv::Result<()> {
    for (_, cell) in row {
        match cell {
            Cell::Number(number) => out.write_field(number)?,
            Cell::Word(word) => out.write_field(&**word)?,
            Cell::Text(text) => out.write_field(&*neutralised(text.unwrap_or_default()))?,
        }
    }
    out.write_record(None::<&[u8]>)
}

/// The failure of whatever is written to, as it came: the crate's own conversion forgets of which kind it was.
fn of_csv(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// A row as an object of JSON.
struct Object<'r, 'c>(&'r [(&'static str, Cell<'c>)]);

impl Serialize for Object<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, cell) in self.0 {
            match cell {
                Cell::Number(number) => {
                    let exact = RawValue::from_string(number.clone()).map_err(S::Error::custom)?;
                    map.serialize_entry(name, &exact)?;
                }
                Cell::Word(word) => map.serialize_entry(name, word)?,
                Cell::Text(text) => map.serialize_entry(name, text)?,
            }
        }
        map.end()
    }
}

/// Text as it may stand in a cell of a spreadsheet. See the module's own description.
pub(crate) fn neutralised(text: &str) -> Cow<'_, str> {
    let mut safe = String::new();
    let mut kept_bytes = 0;
    let mut begins = true;
    for (at, char) in text.char_indices() {
        if begins && (is_run(char) || char == '\'') {
            safe.push_str(text.get(kept_bytes..at).unwrap_or_default());
            safe.push('\'');
            kept_bytes = at;
        }
        begins = begins_after(begins, char);
    }
    if kept_bytes == 0 && safe.is_empty() {
        return Cow::Borrowed(text);
    }
    safe.push_str(text.get(kept_bytes..).unwrap_or_default());
    Cow::Owned(safe)
}

/// Whether a spreadsheet runs a cell that begins with it.
fn is_run(char: char) -> bool {
    matches!(char, '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠')
}

/// Whether a cell could begin after a character, when it could or could not before it.
fn begins_after(before: bool, char: char) -> bool {
    let separates = matches!(char, ',' | ';' | '|' | '\t' | '\r' | '\n');
    // Not shown, but there: soft hyphen, zero-width characters, marks of direction and of bytes.
    let is_invisible = matches!(
        char,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}'
    );
    separates || (before && (char == '"' || char.is_whitespace() || is_invisible))
}

#[cfg(test)]
mod tests {
    use ledger::{Amount, Balance, OperationId, Timestamp, WalletId};

    use super::*;

    /// The rule of the module's description, read backwards.
    fn undone(cell: &str) -> String {
        let mut text = String::new();
        let (mut begins, mut taken) = (true, false);
        for char in cell.chars() {
            if begins && char == '\'' && !taken {
                taken = true;
                continue;
            }
            text.push(char);
            begins = begins_after(begins, char);
            taken = false;
        }
        text
    }

    /// Nobody reads any more, which is no failure of an export.
    #[test]
    fn a_failure_keeps_its_kind() {
        struct Closed;
        impl io::Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for format in [Format::Csv, Format::Jsonl] {
            let mut sheet = Sheet::new(format, Closed);
            let row: Row<'_, 1> = [("what", Cell::Word("word".into()))];
            // More than is held back.
            let failed = (0..100_000).find_map(|_| sheet.row(&row).err()).unwrap();
            assert_eq!(failed.kind(), io::ErrorKind::BrokenPipe, "{format:?}");
        }
    }

    #[test]
    fn text_that_a_spreadsheet_could_run() {
        let check = |text: &str, expected: &str| {
            let cell = neutralised(text);
            assert_eq!(cell, expected, "{text:?}");
            assert_eq!(undone(&cell), text, "{cell:?} is not undone");
        };
        for innocent in
            ["", "за чай", "1+1", "a=b", "e-mail", "me@home", "it's", "5 - 3", "чай, два"]
        {
            check(innocent, innocent);
        }
        check("=1+1", "'=1+1");
        check("=cmd|' /C calc'!A0", "'=cmd|'' /C calc'!A0");
        check("+7 495", "'+7 495");
        check("-5.00", "'-5.00");
        check("@SUM(A1)", "'@SUM(A1)");
        check("\tx", "'\tx");
        check("\rx", "'\rx");
        check("\t=1", "'\t'=1");
        check("  =1", "  '=1");
        check("\u{a0}=1", "\u{a0}'=1");
        check("\u{feff}=1", "\u{feff}'=1");
        check("\u{200b}-1", "\u{200b}'-1");
        check("＝1", "'＝1");
        check("＋1", "'＋1");
        check("－1", "'－1");
        check("＠x", "'＠x");
        check("\"=1", "\"'=1");
        check("x;=1", "x;'=1");
        check("x, -1", "x, '-1");
        check("x\t=1", "x\t'=1");
        check("x|\"@y", "x|\"'@y");
        check("x\n=1", "x\n'=1");
        check("'", "''");
        check("'=1", "''=1");
        check("''=1", "'''=1");
        check("x; 'y'", "x; ''y'");
        check("==", "'==");
        check("';'=1", "'';''=1");
    }

    #[test]
    fn whatever_is_written_is_undone_and_begins_no_formula() {
        let check = |text: String| {
            let cell = neutralised(&text).into_owned();
            assert_eq!(undone(&cell), text);
            for (from, separator) in [("", None), (";", Some(';')), (",", Some(','))] {
                let parts: Vec<&str> = match separator {
                    None => vec![&cell],
                    Some(separator) => cell.split(separator).collect(),
                };
                for part in parts {
                    let first = part.trim_start_matches([' ', '"', '\u{feff}']).chars().next();
                    assert!(!first.is_some_and(is_run), "{text:?} at {from:?} became {cell:?}");
                }
            }
        };
        let alphabet = ['=', '-', '\'', ';', ',', ' ', '"', '\t', 'a', '＝', '\u{feff}'];
        let letters = alphabet.len();
        for number in 0..letters.pow(5) {
            check(
                (0..5_u32).map(|place| alphabet[number / letters.pow(place) % letters]).collect(),
            );
        }
    }

    fn example() -> Entry {
        Entry {
            operation: OperationId::new(7).unwrap(),
            kind: EntryKind::TransferOut,
            amount: Amount::from_minor(1_110).unwrap(),
            balance: Balance::from_minor(-500).unwrap(),
            counterparty: WalletId::new(3).unwrap(),
            details: Details::parse("=чай, \"два\"").unwrap(),
            external_id: Some(ExternalId::parse("-7").unwrap()),
            time: Timestamp::from_micros(1_795_441_947_000_001),
        }
    }

    fn written(format: Format) -> String {
        let rub = Currency::parse("RUB").unwrap();
        let mut sheet = Sheet::new(format, Vec::new());
        sheet.head(&ENTRY).unwrap();
        sheet.row(&entry(&example(), rub)).unwrap();
        let bare = Entry { details: None, external_id: None, ..example() };
        sheet.row(&entry(&bare, rub)).unwrap();
        String::from_utf8(sheet.finish().unwrap()).unwrap()
    }

    #[test]
    fn as_csv() {
        assert_eq!(
            written(Format::Csv),
            "operation_id,type,amount,balance,currency,counterparty_wallet_id,details,\
             external_id,timestamp\r\n\
             7,transfer_out,11.10,-5.00,RUB,3,\"'=чай, \"\"два\"\"\",'-7,2026-11-23T13:52:27.000001Z\r\n\
             7,transfer_out,11.10,-5.00,RUB,3,,,2026-11-23T13:52:27.000001Z\r\n"
        );
    }

    #[test]
    fn as_json_lines() {
        assert_eq!(
            written(Format::Jsonl).lines().next().unwrap(),
            r#"{"operation_id":7,"type":"transfer_out","amount":11.10,"balance":-5.00,"currency":"RUB","counterparty_wallet_id":3,"details":"=чай, \"два\"","external_id":"-7","timestamp":"2026-11-23T13:52:27.000001Z"}"#
        );
    }
}
