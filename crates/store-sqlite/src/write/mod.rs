//! What is decided, and made durable: the writer's thread, the decider that it lends its state to, the state itself, and
//! what moves the log into the file behind them.
//!
//! Nothing is answered before it is on the disk.

pub(crate) mod append;
pub(crate) mod batch;
pub(crate) mod checkpoint;
pub(crate) mod decide;
pub(crate) mod decider;
pub(crate) mod desk;
#[cfg(test)]
mod full_disk;
pub(crate) mod gate;
pub(crate) mod hasher;
pub(crate) mod look_ahead;
pub(crate) mod state;
pub(crate) mod sweep;
#[cfg(test)]
pub(crate) mod under_way;
pub(crate) mod work;
pub(crate) mod writer;
