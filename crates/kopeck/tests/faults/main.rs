//! The service under faults, seen by the external checker: the short form of each campaign.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod campaigns;
mod no_fault;
mod planted;
