//! Owns the faults that are planted on purpose, one a process: the external checker must catch each.
//!
//! Never: in a release, or in any build that did not ask for the feature `planted-faults`; without
//! it nothing here is compiled. Bounds: the environment variable [`VARIABLE`] chooses one fault, and
//! without it everything works as it should.

#[cfg(not(debug_assertions))]
compile_error!("planted faults are for tests of the checker: no release may have them");

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ledger::{Book, IdempotencyKey, Page, Statement, Transfer, WalletId};
use rusqlite::Connection;

/// Chooses the fault.
const VARIABLE: &str = "KOPECK_PLANTED_FAULT";
/// One credit in so many is dropped.
const DROP_EVERY: u64 = 10;
/// How long a decided transfer can be seen before its batch goes on.
const EARLY: Duration = Duration::from_millis(2);
/// Decided transfers that readers are shown.
const EARLY_MAX: usize = 1_024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    AnsweredBeforeFsync,
    KeyIgnored,
    CreditDropped,
    DirtyRead,
    ReplaySkipped,
}

fn is_planted(fault: Fault) -> bool {
    static FAULT: OnceLock<Option<Fault>> = OnceLock::new();
    let planted = FAULT.get_or_init(|| {
        let name = std::env::var(VARIABLE).ok()?;
        eprintln!("kopeck: the fault {name} is planted: for tests of the checker only");
        match name.as_str() {
            "answered-before-fsync" => Some(Fault::AnsweredBeforeFsync),
            "key-ignored" => Some(Fault::KeyIgnored),
            "credit-dropped" => Some(Fault::CreditDropped),
            "dirty-read" => Some(Fault::DirtyRead),
            "replay-skipped" => Some(Fault::ReplaySkipped),
            _ => {
                eprintln!("kopeck: {VARIABLE}: there is no such fault");
                std::process::exit(2);
            }
        }
    });
    *planted == Some(fault)
}

/// Commits return before the write-ahead log is on the disk.
pub(crate) fn answer_before_fsync(writer: &Connection) -> rusqlite::Result<()> {
    if is_planted(Fault::AnsweredBeforeFsync) {
        writer.pragma_update(None, "synchronous", "off")?;
    }
    Ok(())
}

/// The key is neither looked up nor kept.
pub(crate) fn ignore(key: Option<IdempotencyKey>) -> Option<IdempotencyKey> {
    key.filter(|_| !is_planted(Fault::KeyIgnored))
}

/// The paid wallet's state stays as it was `before`; only the payer's has changed.
pub(crate) fn drop_credit(book: &mut Book, transfer: &Transfer) {
    if !is_planted(Fault::CreditDropped) || !transfer.id.get().is_multiple_of(DROP_EVERY) {
        return;
    }
    let Some(before) = transfer.credit.balance.debited(transfer.amount) else { return };
    let mut other = Book::new();
    for wallet in (1..=book.wallets()).filter_map(WalletId::new) {
        let Some(mut state) = book.wallet(wallet) else { return };
        if wallet == transfer.credit.wallet {
            (state.balance, state.last) = (before, transfer.credit.previous);
        }
        other.restore_wallet(state);
    }
    other.restore_mark(Some(transfer.id), transfer.time);
    other.commit();
    *book = other;
}

/// Transfers that are decided, and may be committed or not.
fn early() -> MutexGuard<'static, Vec<Transfer>> {
    static DECIDED: Mutex<Vec<Transfer>> = Mutex::new(Vec::new());
    DECIDED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets readers see what is not committed.
pub(crate) fn show_early(transfer: &Transfer) {
    if !is_planted(Fault::DirtyRead) {
        return;
    }
    let mut early = early();
    if early.len() == EARLY_MAX {
        early.remove(0);
    }
    early.push(transfer.clone());
    drop(early);
    std::thread::sleep(EARLY);
}

/// Puts what is not committed in front of what is, where a page starts with the newest.
pub(crate) fn read_dirty(mut statement: Statement, page: Page) -> Statement {
    if !is_planted(Fault::DirtyRead) || page.from.is_some() {
        return statement;
    }
    let wallet = statement.wallet;
    for transfer in &*early() {
        let newest = statement.entries.first().map(|entry| entry.operation);
        let new = transfer.side(wallet).filter(|_| Some(transfer.id) > newest);
        if let Some(side) = new {
            statement.balance = side.balance;
            statement.entries.splice(..0, transfer.entry(wallet));
        }
    }
    statement
}

/// Leaves the wallets as the last sweep left them, and goes on after this transfer.
pub(crate) fn skip_replay(book: &mut Book, transfer: &Transfer) -> bool {
    let skip = is_planted(Fault::ReplaySkipped);
    if skip {
        book.restore_mark(Some(transfer.id), transfer.time);
    }
    skip
}
