//! Owns how large the books are that targets are measured on, and which of them lie on the disk together.
//!
//! Never: a book. Bounds: what was asked for.

use super::STILL_SMALL;
use crate::bench::options::Targets;
use crate::bench::work::Size;

/// How many people pay, in each book.
const PAYERS: u64 = 10_000;
/// In the small book everybody has this many operations on average, so that a first page of history is
/// as full as in the large one.
const OPERATIONS_EACH: u64 = 40;

pub(super) fn small_size(wanted: &Targets) -> Size {
    let wallets = PAYERS.min(wanted.wallets);
    let operations = wallets * OPERATIONS_EACH / 2;
    Size { wallets, sessions: wallets, operations, hot_operations: 0 }
}

/// The small book's people alone.
pub(super) fn people_size(wanted: &Targets) -> Size {
    Size { operations: 0, ..small_size(wanted) }
}

pub(super) fn large_size(wanted: &Targets) -> Size {
    Size {
        wallets: wanted.wallets,
        sessions: PAYERS.min(wanted.wallets),
        operations: wanted.rows,
        hot_operations: wanted.history,
    }
}

pub(super) fn engine_size(wanted: &Targets) -> Size {
    Size { sessions: 0, operations: wanted.wallets, hot_operations: 0, ..large_size(wanted) }
}

pub(super) fn many_size(wanted: &Targets) -> Size {
    let wallets = wanted.many_wallets;
    Size { wallets, sessions: PAYERS.min(wallets), operations: 0, hot_operations: 0 }
}

/// Those that lie on the disk together when most is on it. The large one goes before that of many wallets
/// is made, if nothing is kept.
pub(super) fn largest_books(wanted: &Targets) -> Vec<(&'static str, Size)> {
    let large = ("large", large_size(wanted));
    let many = ("many", many_size(wanted));
    let either = match wanted.place.keep {
        true => vec![large, many],
        false if large.1.disk_bytes() > many.1.disk_bytes() => vec![large],
        false => vec![many],
    };
    let small = small_size(wanted);
    let people = people_size(wanted);
    let others = [
        ("small", small),
        (STILL_SMALL, small),
        ("null", people),
        ("bare", people),
        ("engine", engine_size(wanted)),
    ];
    either.into_iter().chain(others).collect()
}
