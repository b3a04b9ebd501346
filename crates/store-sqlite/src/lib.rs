//! The embedded engine: group commit over an append-only SQLite file.
//!
//! One writer thread owns all state and drains a bounded queue: the book decides in memory, one
//! transaction appends the rows, one fsync makes them durable, then the state is published and
//! every waiter is answered. Readers see committed state only.
//!
//! Nothing here knows of HTTP or JSON, and nothing here decides whether money moves.

mod checkpoint;
mod connection;
mod directory;
#[cfg(test)]
mod full_disk;
mod gate;
mod heads;
mod people;
mod queue;
mod readers;
mod recovery;
mod rows;
mod schema;
mod store;
mod sweep;
mod writer;

pub use store::{
    Deliver, Observer, OpenError, Options, Recovered, SqliteStore, Unobserved, deliver_here,
};
