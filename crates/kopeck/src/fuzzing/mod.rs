//! Owns the doors through which a fuzzer reaches the code that handlers read requests with, and what
//! must hold for whatever comes through: a door panics when it does not.
//!
//! Never: in a release. Bounds: what the fuzzer gives; the work of a door is about linear in it.
//!
//! Each door reads the same thing a second time in the most naive way and compares. The inputs that
//! were worth keeping are in `fuzz/corpus`; the test here sends them all through their doors again.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a door panics when something does not hold"
)]

mod amount;
mod batch;
mod cookie;
mod form;
mod idempotency_key;
mod json;
mod operations;

use futures_util::FutureExt;
use http_body_util::BodyExt;
use ledger::Currency;

use crate::problem::Problem;
use axum::response::IntoResponse;

pub use amount::amount;
pub use batch::batch;
pub use cookie::cookie;
pub use form::form;
pub use idempotency_key::idempotency_key;
pub use json::json;
pub use operations::operations;

/// A door: it panics when something does not hold for this input.
pub type Door = fn(&[u8]);

/// Every door under the name of its target.
pub const DOORS: [(&str, Door); 7] = [
    ("amount", amount),
    ("batch", batch),
    ("cookie", cookie),
    ("form", form),
    ("idempotency_key", idempotency_key),
    ("json", json),
    ("operations", operations),
];

/// Currencies with 0, 2, 3 and 4 digits after the point; a byte chooses.
fn currency(choice: u8) -> Currency {
    let codes = ["RUB", "JPY", "KWD", "CLF"];
    Currency::parse(codes[usize::from(choice) % codes.len()]).unwrap()
}

/// A refusal of a body: the client's fault, and JSON that says so.
fn check_refusal(problem: Problem) {
    let (code, status) = (problem.code(), problem.status());
    assert!(status.is_client_error(), "{code}: {status}");
    let body = problem.into_response().into_body().collect().now_or_never();
    let body: serde_json::Value =
        serde_json::from_slice(&body.unwrap().unwrap().to_bytes()).unwrap();
    assert_eq!(body["code"], code);
    assert_eq!(body["status"], status.as_u16());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::DOORS;

    /// Every kept input, the findings among them, through its door.
    #[test]
    fn the_corpus_holds() {
        let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus"));
        let mut kept = BTreeSet::new();
        for entry in corpus.read_dir().unwrap() {
            kept.insert(entry.unwrap().file_name().into_string().unwrap());
        }
        assert_eq!(kept, DOORS.map(|(name, _)| name.to_owned()).into());
        for (name, door) in DOORS {
            let mut inputs = 0;
            for entry in corpus.join(name).read_dir().unwrap() {
                let path = entry.unwrap().path();
                // Shown when the door panics.
                println!("{}", path.display());
                door(&std::fs::read(path).unwrap());
                inputs += 1;
            }
            assert!(inputs > 0, "{name} has no inputs");
        }
    }
}
