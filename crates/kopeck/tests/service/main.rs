//! The whole service over real HTTP: the real binary on port 0, a directory of its own for each
//! test, modules that mirror the URLs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod account;
mod backup;
mod bank;
mod batches;
mod bench;
mod browser;
mod check;
mod contention;
mod contract;
mod docs;
mod edge;
mod harness;
mod hostile;
mod imports;
mod input;
mod keys;
mod killed;
mod money;
mod operations;
mod pages;
mod receipts;
mod slow_batches;
mod statement;
mod storage;
mod wallet;
