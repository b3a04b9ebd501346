//! The embedded engine from outside: what it promises, across restarts, kills and damage.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod backup;
mod backup_places;
mod batches;
mod chain;
mod check;
mod damage;
mod export;
mod keys;
mod killed;
mod ledger;
mod logs;
mod model;
mod opening;
mod people;
mod shell;
mod support;
