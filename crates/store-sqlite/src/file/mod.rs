//! The data file: its names and its lock, its shape, how it is opened, and how everything in it is written as rows.
//!
//! Nothing here knows who writes it or who reads it, and nothing here has a thread.

pub(crate) mod batch_record;
pub(crate) mod chain;
pub(crate) mod connection;
pub(crate) mod directory;
pub(crate) mod forgetting;
pub(crate) mod key_mark;
pub(crate) mod log;
pub(crate) mod names;
pub(crate) mod open_error;
pub(crate) mod people;
pub(crate) mod rewrite;
pub(crate) mod rows;
pub(crate) mod schema;
pub(crate) mod swept;
