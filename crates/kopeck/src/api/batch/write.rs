//! Owns the writing of results: an object for each operation, into one buffer.
//!
//! Never: a text in between, or a float. Bounds: a result is a few hundred bytes; where a client made up a field of an
//! operation, its beginning is told twice, so that it is a few thousand at most.

use ledger::{Currency, Outcome};

use crate::api::digits::number;
use crate::api::wire::MovedAnswer;
use crate::problem::Problem;

/// No outcome of the ledger is longer, of an array: it has nothing in it that a client wrote.
pub(super) const OUTCOME_BYTES_MAX: usize = 400;

/// What a result says in `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// A rule, or the form: nothing was done.
    Refused,
    /// Nobody knows whether it was done.
    Unknown,
    /// No more results will come; nothing was done of what has none.
    Ended,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Ended => "ended",
        }
    }
}

/// Writes an operation's outcome; of a line, with its index. True when it was done.
pub(super) fn outcome(
    out: &mut Vec<u8>,
    index: Option<u64>,
    outcome: &Outcome,
    currency: Currency,
) -> bool {
    let transfer = match &outcome.decision {
        Ok(transfer) => transfer,
        Err(rejection) => {
            problem(out, index, Status::Refused, &(*rejection).into(), outcome.replayed);
            return false;
        }
    };
    begin(out, index, "OK");
    MovedAnswer::new(transfer, currency).write_rest(out);
    end(out, outcome.replayed);
    true
}

/// Writes what is wrong, as problems have it.
pub(super) fn problem(
    out: &mut Vec<u8>,
    index: Option<u64>,
    status: Status,
    problem: &Problem,
    replayed: bool,
) {
    begin(out, index, status.word());
    let fields =
        [("code", problem.code()), ("title", problem.title()), ("detail", problem.detail_text())];
    for (name, value) in fields.into_iter().chain(problem.field_name().map(|it| ("field", it))) {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        // Writing a text into a buffer cannot fail.
        let _ = serde_json::to_writer(&mut *out, value);
    }
    end(out, replayed);
}

fn begin(out: &mut Vec<u8>, index: Option<u64>, status: &str) {
    out.push(b'{');
    if let Some(index) = index {
        out.extend_from_slice(b"\"index\":");
        number(out, index);
        out.push(b',');
    }
    out.extend_from_slice(b"\"status\":\"");
    out.extend_from_slice(status.as_bytes());
    out.push(b'"');
}

fn end(out: &mut Vec<u8>, replayed: bool) {
    if replayed {
        out.extend_from_slice(b",\"replayed\":true");
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use ledger::{
        Amount, Balance, ID_MAX, MINOR_UNITS_MAX, OperationId, OperationKind, Rejection, Side,
        Timestamp, Transfer, WalletId,
    };

    use super::*;

    #[test]
    fn no_outcome_is_longer() {
        let balance = Balance::from_minor(-MINOR_UNITS_MAX).unwrap();
        let side = Side { wallet: WalletId::new(ID_MAX).unwrap(), balance, previous: None };
        let transfer = Transfer {
            id: OperationId::new(ID_MAX).unwrap(),
            kind: OperationKind::Transfer,
            debit: side,
            credit: side,
            amount: Amount::from_minor(1).unwrap(),
            details: None,
            external_id: None,
            time: Timestamp::from_micros(0),
        };
        let all = Rejection::ALL.into_iter().map(Err).chain([Ok(transfer)]);
        for decision in all {
            let mut out = Vec::new();
            let told = Outcome { decision, replayed: true };
            outcome(&mut out, None, &told, Currency::parse("CLF").unwrap());
            assert!(out.len() <= OUTCOME_BYTES_MAX, "{}", String::from_utf8(out).unwrap());
        }
    }
}
