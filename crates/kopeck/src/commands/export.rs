//! Owns `kopeck export`: a wallet's or everybody's history as a file or a stream.
//!
//! Never: a file that is half written under its name. Bounds: those of the engine's export; an
//! output that is slow holds nobody up but this command.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use ledger::WalletId;
use store_sqlite::{Export, ExportError, Watch};

use super::progress::Progress;
use super::stoppable;
use crate::config::Directory;
use crate::sheet::{self, Format, Sheet};

/// What spreadsheets know UTF-8 by.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What to export, how, and where to.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wanted {
    #[command(flatten)]
    whose: Whose,

    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,

    /// The file to make; `-` is standard output.
    #[arg(long, default_value = "-", value_name = "FILE")]
    output: PathBuf,

    /// Replaces a file of that name, in one step, when the export is whole.
    #[arg(long)]
    force: bool,

    /// Begins CSV with a byte order mark, by which Excel knows that it is UTF-8.
    #[arg(long)]
    bom: bool,

    #[command(flatten)]
    directory: Directory,
}

/// Whose history.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// The history of this wallet, oldest first, with the balance after each operation.
    #[arg(long, value_parser = parse_wallet, value_name = "NUMBER")]
    wallet: Option<WalletId>,

    /// All operations in their order, each with both its sides.
    #[arg(long)]
    all: bool,
}

fn parse_wallet(text: &str) -> Result<WalletId, String> {
    WalletId::parse(text).ok_or_else(|| "a wallet has a number, from 1".to_owned())
}

/// Writes the export.
pub(crate) fn run(wanted: Wanted) -> anyhow::Result<()> {
    let progress = Arc::new(Progress::new());
    let shown = Arc::clone(&progress);
    let written = stoppable(&progress, move || {
        if wanted.output == Path::new("-") {
            return to_standard_output(&wanted, &shown);
        }
        to_file(&wanted, &shown).with_context(|| wanted.output.display().to_string())
    })?;
    progress.finish();
    written
}

fn to_standard_output(wanted: &Wanted, progress: &Progress) -> anyhow::Result<()> {
    match write(wanted, progress, io::stdout().lock()) {
        // Whoever reads has read enough, as `head` does.
        Err(ExportError::Taker(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written.map(drop)?),
    }
}

fn to_file(wanted: &Wanted, progress: &Progress) -> anyhow::Result<()> {
    let folder = store_sqlite::folder(&wanted.output);
    if store_sqlite::holds_data(folder, &wanted.directory.data) {
        anyhow::bail!("lies in a data directory; choose a place outside of it");
    }
    let found = wanted.output.symlink_metadata();
    if found.is_ok_and(|found| !wanted.force || !found.is_file()) {
        anyhow::bail!("is there already; choose another name, or replace a file with --force");
    }
    let partial =
        tempfile::Builder::new().prefix(".kopeck-").suffix(".partial").tempfile_in(folder)?;
    let partial = write(wanted, progress, partial)?;
    partial.as_file().sync_all()?;
    if wanted.force {
        partial.persist(&wanted.output)
    } else {
        partial.persist_noclobber(&wanted.output)
    }
    .map_err(|refused| refused.error)?;
    Ok(std::fs::File::open(folder)?.sync_all()?)
}

fn write<W: Write>(wanted: &Wanted, progress: &Progress, mut out: W) -> Result<W, ExportError> {
    let export = Export::open(&wanted.directory.data)?;
    if wanted.bom && wanted.format == Format::Csv {
        out.write_all(BYTE_ORDER_MARK)?;
    }
    let mut sheet = Sheet::new(wanted.format, BufWriter::new(out));
    let currency = export.currency();
    let next = || {
        progress.operation();
        if !progress.is_cancelled() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, "stopped; the export is not whole"))
    };
    if let Some(wallet) = wanted.whose.wallet {
        progress.operations(None);
        sheet.head(&sheet::ENTRY)?;
        export.history(wallet, |entry| {
            next()?;
            sheet.row(&sheet::entry(entry, currency))
        })?;
    } else {
        let newest = export.newest()?;
        progress.operations(newest.map(ledger::OperationId::get));
        sheet.head(&sheet::TRANSFER)?;
        export.operations(newest, |transfer| {
            next()?;
            sheet.row(&sheet::transfer(transfer, currency))
        })?;
    }
    let out = sheet.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(out)
}
