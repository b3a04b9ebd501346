//! Owns the reading of the whole book, or of one wallet's history, beside a running engine.
//!
//! Never: a write, or a transaction that stays: an operation is never changed, so a state is told by
//! its newest operation alone, and what is read in many short looks is still one state. The engine's
//! log is held up by none of them. Bounds: [`ROWS_A_LOOK`] operations in memory, and 8 bytes for
//! each [`ROWS_A_LOOK`] operations of a wallet whose history is told from its beginning.

use std::io;
use std::path::{Path, PathBuf};

use ledger::{Currency, Entry, OperationId, Transfer, WalletId};
use rusqlite::Connection;

use crate::file::chain::{self, ChainDamage, Links, Verifier};
use crate::file::connection::{connect_to_read, inspect_log_at_rest};
use crate::file::open_error::{OpenError, told};
use crate::file::rows::KeptTransfer;
use crate::file::{directory, people, rows, schema, swept};
use crate::read::readers::{ReadError, follows, previous_transfer, transfer};

/// How many operations are read at once.
const ROWS_A_LOOK: usize = 4_096;

/// Why there is no export, or no whole one.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The data file was written by an older kopeck.
    #[error("{0} was last used by an older kopeck: start the service on it once")]
    Older(PathBuf),
    /// There is no such wallet.
    #[error("there is no wallet {0}")]
    NoSuchWallet(WalletId),
    /// What is there does not fit together.
    #[error("the data are damaged: {0}")]
    Damaged(String),
    /// Whoever takes the operations failed.
    #[error(transparent)]
    Taker(#[from] io::Error),
    /// It cannot be opened, or is not ours.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// SQLite failed.
    #[error("the data file cannot be read: {}", told(.0))]
    Sqlite(rusqlite::Error),
}

// Not as the error's source: the text has all of it, and would say it twice.
impl From<rusqlite::Error> for ExportError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<ReadError> for ExportError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Sqlite(error) => Self::Sqlite(error),
            ReadError::Damaged(damage) => Self::Damaged(damage),
            ReadError::Ledger(error) => Self::Damaged(error.to_string()),
        }
    }
}

impl From<ChainDamage> for ExportError {
    fn from(damage: ChainDamage) -> Self {
        Self::Damaged(damage.to_string())
    }
}

/// A data file, opened to be told.
pub struct Export {
    connection: Connection,
    currency: Currency,
    links: Links,
}

impl Export {
    /// Opens the data file of a directory, on which an engine may be running.
    pub fn open(data: &Path) -> Result<Self, ExportError> {
        directory::ensure_file(data, || OpenError::NotThere(data.to_owned()))?;
        inspect_log_at_rest(data)?;
        let file = directory::file(data);
        let connection = connect_to_read(&file)?;
        schema::refuse_others(&connection)?;
        if schema::is_empty(&connection)? {
            return Err(OpenError::NotThere(data.to_owned()).into());
        }
        if !schema::is_current(&connection)? {
            return Err(ExportError::Older(file));
        }
        Self::over(connection)
    }

    /// Over a file of today's version.
    pub(crate) fn over(connection: Connection) -> Result<Self, ExportError> {
        let currency = schema::currency(&connection)?;
        let links = Links::of(&connection, currency)?;
        Ok(Self { connection, currency, links })
    }

    /// The currency of all amounts.
    #[must_use]
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// The newest operation.
    pub fn newest(&self) -> Result<Option<OperationId>, ExportError> {
        Ok(OperationId::new(rows::newest_operation(&self.connection)?))
    }

    /// Hands over every operation up to `newest`, in their order, each verified. Blocks.
    pub fn operations(
        &self,
        newest: Option<OperationId>,
        mut take: impl FnMut(&Transfer) -> io::Result<()>,
    ) -> Result<(), ExportError> {
        let newest = newest.map_or(0, OperationId::get);
        let mut verifier = Verifier::from(&self.connection, self.links, 0)??;
        let mut look = Vec::with_capacity(ROWS_A_LOOK);
        loop {
            let last = verifier.chain.operations();
            if last >= newest {
                return Ok(());
            }
            self.read_after(last, &mut look)?;
            if look.first().is_none_or(|kept| kept.transfer.id.get() > newest) {
                return Err(missing(last + 1));
            }
            for kept in look.drain(..).take_while(|kept| kept.transfer.id.get() <= newest) {
                if let (_, Some(found)) = verifier.take(&kept)? {
                    chain::compare(chain::block_root(&self.connection, found.number)?, found)?;
                }
                take(&kept.transfer)?;
            }
        }
    }

    fn read_after(&self, last: u64, look: &mut Vec<KeptTransfer>) -> rusqlite::Result<()> {
        let mut select = self.connection.prepare_cached(rows::SELECT_KEPT_AFTER)?;
        let found = select.query_map([last.cast_signed()], rows::read_kept)?;
        look.clear();
        for kept in found.take(ROWS_A_LOOK) {
            look.push(kept?);
        }
        Ok(())
    }

    /// Hands over the history of a wallet as it is now, oldest first. Blocks.
    ///
    /// A history can be walked backwards only. So it is walked twice: first to its beginning,
    /// remembering where each stretch of [`ROWS_A_LOOK`] starts, then stretch by stretch.
    pub fn history(
        &self,
        wallet: WalletId,
        mut take: impl FnMut(&Entry) -> io::Result<()>,
    ) -> Result<(), ExportError> {
        let mut stretches = Vec::new();
        let mut start = self.head(wallet)?;
        while let Some(operation) = start {
            stretches.push(operation);
            start = self.stretch(wallet, operation, |_| {})?;
        }
        let mut entries = Vec::with_capacity(ROWS_A_LOOK);
        for operation in stretches.into_iter().rev() {
            entries.clear();
            self.stretch(wallet, operation, |transfer| entries.extend(transfer.entry(wallet)))?;
            for entry in entries.iter().rev() {
                take(entry)?;
            }
        }
        Ok(())
    }

    /// The newest operation of a wallet. The wallet table lags behind: what came after its mark is
    /// looked through.
    fn head(&self, wallet: WalletId) -> Result<Option<OperationId>, ExportError> {
        if people::owner(&self.connection, wallet)?.is_none() {
            return Err(ExportError::NoSuchWallet(wallet));
        }
        // The mark and what was swept up to it must be of one state.
        let look = self.connection.unchecked_transaction()?;
        let head: Option<u64> = look.query_row(
            "SELECT max(operation_id) FROM transfer
             WHERE operation_id > (SELECT sweep_operation_id FROM ledger)
               AND ? IN (debit_wallet_id, credit_wallet_id)",
            [wallet.get().cast_signed()],
            |row| row.get(0),
        )?;
        match head.and_then(OperationId::new) {
            Some(head) => Ok(Some(head)),
            None => Ok(swept::last(&look, wallet)?),
        }
    }

    /// Walks back from an operation of the wallet; where the next stretch starts, if there is one.
    fn stretch(
        &self,
        wallet: WalletId,
        start: OperationId,
        mut take: impl FnMut(&Transfer),
    ) -> Result<Option<OperationId>, ExportError> {
        // One look and not thousands, which is quicker; short enough to be in nobody's way.
        let look = self.connection.unchecked_transaction()?;
        let mut step = transfer(&look, self.links, start)?;
        if step.is_none() {
            return Err(missing(start.get()));
        }
        for _ in 0..ROWS_A_LOOK {
            let Some(current) = step else { return Ok(None) };
            let previous = current.side(wallet).and_then(|side| side.previous);
            step = previous_transfer(&look, self.links, current.id, previous)?;
            if !follows(&current, step.as_ref(), wallet) {
                let id = current.id;
                let damage =
                    format!("operation {id} does not follow from the state of wallet {wallet}");
                return Err(ExportError::Damaged(damage));
            }
            take(&current);
        }
        Ok(step.map(|transfer| transfer.id))
    }
}

fn missing(operation: u64) -> ExportError {
    ExportError::Damaged(format!("operation {operation} is missing"))
}
