//! Proves kopeck from outside: sends load, breaks things meanwhile, and compares what it reads back
//! with a book of its own.
//!
//! Never: a line of code shared with the ledger, or a look inside the service; it sees what a client
//! sees. Bounds: every campaign has a count, and a seed that is printed.

#![forbid(unsafe_code)]

pub mod audit;
pub mod book;
pub mod client;
pub mod disk;
pub mod faults;
pub mod history;
pub mod injection;
pub mod judge;
pub mod load;
pub mod machine;
pub mod proxy;
pub mod results;
pub mod service;
pub mod violation;
pub mod world;

pub use audit::{Audit, Report};
pub use client::Address;
pub use load::{Load, LoadOptions};
pub use violation::{Code, Violation};
pub use world::{Retried, World, WorldOptions};
