//! Owns a start: the book as the data file has it, checked, before anything is served.
//!
//! Never: a guess. What does not follow from the rules is a damage, named, and the start fails.
//! Bounds: the wallet tables once, and the operations after the sweep's mark, or in the log if those are more.

use ledger::{Book, Chain, OperationId, Timestamp, Transfer, WalletId, WalletKind, WalletState};
use rusqlite::{Connection, OptionalExtension};

use crate::file::chain::{Links, Verifier};
use crate::file::open_error::OpenError;
use crate::file::{chain, rows, swept};
use crate::read::heads::Heads;

/// What a start found.
pub(crate) struct State {
    pub(crate) book: Book,
    /// The sweep's mark.
    pub(crate) mark: u64,
    /// The chain over the book.
    pub(crate) chain: Chain,
    /// How many operations were replayed.
    pub(crate) replayed: u64,
}

/// Loads the wallets, replays the operations after the sweep's mark, and verifies them, and all that came after the
/// newest one in the file without its log: that every page between the two is there.
pub(crate) fn recover(
    connection: &Connection,
    links: Links,
    heads: &Heads,
    without_log: Option<u64>,
) -> Result<State, OpenError> {
    let mark: u64 =
        connection.query_row("SELECT sweep_operation_id FROM ledger", (), |row| row.get(0))?;
    let mut book = Book::new();
    load_wallets(connection, &mut book, heads)?;
    book.restore_mark(OperationId::new(mark), time_of(connection, mark)?);
    // With the operation of the mark, too.
    let before = without_log.map_or(mark, |newest| newest.min(mark)).saturating_sub(1);
    let mut verifier = Verifier::from(connection, links, before)??;
    let replayed = replay(connection, &mut book, &mut verifier, heads)?;
    book.check()?;
    verifier.chain.commit();
    Ok(State { book, mark, chain: verifier.chain, replayed })
}

/// The latest moment that an operation or a refusal was written down.
pub(crate) fn latest(connection: &Connection) -> rusqlite::Result<Timestamp> {
    let latest_us = connection.query_row(
        "SELECT max(
             coalesce((SELECT time_us FROM transfer ORDER BY operation_id DESC LIMIT 1), 0),
             coalesce((SELECT time_us FROM refusal ORDER BY refusal_id DESC LIMIT 1), 0))",
        (),
        |row| row.get(0),
    )?;
    Ok(Timestamp::from_micros(latest_us))
}

fn load_wallets(connection: &Connection, book: &mut Book, heads: &Heads) -> Result<(), OpenError> {
    let wallets = count_wallets(connection)?;
    let kept = swept::wallets_kept(connection)?;
    if kept > wallets {
        return Err(OpenError::WalletMissing(wallets + 1));
    }
    let mut swept = swept::Reader::new(connection)?;
    for number in 1..=wallets {
        let (balance, last) = swept.state(number)?;
        let kind = kind_of(number);
        let wallet = book
            .restore_wallet(WalletState { kind, balance, last })
            .ok_or(OpenError::WalletMissing(number))?;
        if let Some(last) = last {
            heads.publish(wallet, last);
        }
    }
    // Users and wallets are made together, so the newest user's wallet is the last one.
    let newest: Option<u64> = connection
        .query_row("SELECT wallet_id FROM user ORDER BY user_id DESC LIMIT 1", (), |row| row.get(0))
        .optional()?;
    if newest.unwrap_or(0) != book.wallets() {
        return Err(OpenError::WalletMissing(newest.unwrap_or(0).max(book.wallets())));
    }
    Ok(())
}

/// The bank is made first, so that no person's wallet can ever be the one that may go negative.
fn kind_of(number: u64) -> WalletKind {
    if number == WalletId::FIRST.get() { WalletKind::System } else { WalletKind::Person }
}

/// How many wallets there are: numbered from 1, without a gap, each of the kind that its number says,
/// and of the user of its number. Else a person could go below zero, or be taken for another one.
fn count_wallets(connection: &Connection) -> Result<u64, OpenError> {
    let (count, newest, changed): (u64, u64, Option<u64>) = connection.query_row(
        "SELECT count(*), coalesce(max(wallet_id), 0),
                min(CASE WHEN user_id <> wallet_id OR (system <> 0) <> (wallet_id = ?)
                    THEN wallet_id END)
         FROM wallet",
        [WalletId::FIRST.get().cast_signed()],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    if count != newest {
        let out_of_place = connection.query_row(
            "SELECT wallet_id FROM
                 (SELECT wallet_id, row_number() OVER (ORDER BY wallet_id) AS place FROM wallet)
             WHERE wallet_id <> place LIMIT 1",
            (),
            |row| row.get::<_, i64>(0),
        )?;
        return Err(OpenError::WalletMissing(out_of_place.cast_unsigned()));
    }
    changed.map_or(Ok(count), |number| Err(OpenError::WalletChanged(number)))
}

/// The mark's own operation must be there: it says the time that the book's clock starts from.
fn time_of(connection: &Connection, mark: u64) -> Result<Timestamp, OpenError> {
    if mark == 0 {
        return Ok(Timestamp::default());
    }
    let time_us: Option<i64> = connection
        .query_row(
            "SELECT time_us FROM transfer WHERE operation_id = ?",
            [mark.cast_signed()],
            |row| row.get(0),
        )
        .optional()?;
    time_us.map(Timestamp::from_micros).ok_or(OpenError::OperationMissing(mark))
}

fn replay(
    connection: &Connection,
    book: &mut Book,
    verifier: &mut Verifier,
    heads: &Heads,
) -> Result<u64, OpenError> {
    let mark = book.last_operation().map_or(0, OperationId::get);
    let mut select = connection.prepare(rows::SELECT_KEPT_AFTER)?;
    // The chain starts with a whole block, so somewhat before the mark.
    let mut rows = select.query([verifier.chain.operations().cast_signed()])?;
    let mut replayed = 0;
    while let Some(row) = rows.next()? {
        let kept = rows::read_kept(row)?;
        let transfer = &kept.transfer;
        if let (_, Some(found)) = verifier.take(&kept)? {
            chain::compare(chain::block_root(connection, found.number)?, found)?;
        }
        if transfer.id.get() <= mark {
            check_swept(book, transfer)?;
            continue;
        }
        #[cfg(feature = "planted-faults")]
        if crate::planted::skip_replay(book, transfer) {
            continue;
        }
        book.replay(transfer)?;
        for side in [transfer.debit, transfer.credit] {
            // A wallet may have been swept after this operation: its head is later already.
            if let Some(last) = book.wallet(side.wallet).and_then(|state| state.last) {
                heads.publish(side.wallet, last);
            }
        }
        replayed += 1;
    }
    Ok(replayed)
}

/// What the mark covers must be in the wallets: else an operation would be undone.
fn check_swept(book: &Book, transfer: &Transfer) -> Result<(), OpenError> {
    for side in [transfer.debit, transfer.credit] {
        let state = book.wallet(side.wallet);
        let is_in = state.is_some_and(|state| match state.last {
            Some(last) if last == transfer.id => state.balance == side.balance,
            last => last > Some(transfer.id),
        });
        if !is_in {
            let (wallet, operation) = (side.wallet.get(), transfer.id.get());
            return Err(OpenError::WalletBehind { wallet, operation });
        }
    }
    Ok(())
}
