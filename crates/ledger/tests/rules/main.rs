//! The rules of money, from outside: text tables, and random operations against a naive model.
//!
//! `decisions` and `money` say in tables what is accepted and what is refused, `names` does so for
//! ids, keys and details, and `batch` for what makes two batches the same. `model` is a second, slower book that random operations are held
//! against; `chain` forges receipts; `recovery` rebuilds a book from what was recorded, and tampers with the record.

// Declared as test code, so that helpers may `unwrap` as the tests themselves may.
#[cfg(test)]
mod batch;
#[cfg(test)]
mod chain;
#[cfg(test)]
mod decisions;
#[cfg(test)]
mod model;
#[cfg(test)]
mod money;
#[cfg(test)]
mod names;
#[cfg(test)]
mod recovery;
