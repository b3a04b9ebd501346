//! Owns the operator's commands on a data directory (backup, restore, export, check, checkpoint), and
//! the verification of a receipt by anybody.
//!
//! Never: the work itself, which is the engine's; here the command line is obeyed, progress is shown
//! and what was done is said. Bounds: Ctrl-C and SIGTERM end each of them soon, and leave nothing
//! half done behind.

pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod checkpoint;
pub(crate) mod export;
mod progress;
pub(crate) mod restore;
pub(crate) mod verify_receipt;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::ensure;

use self::progress::Progress;

/// Runs work that blocks, and lets a signal stop it. A second signal ends the process at once.
fn stoppable<T: Send + 'static>(
    progress: &Arc<Progress>,
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = crate::signals::stop()?;
        let progress = Arc::clone(progress);
        tokio::spawn(async move {
            stop.await;
            progress.cancel();
        });
        Ok(tokio::task::spawn_blocking(work).await?)
    })
}

/// The greatest file that is read as a receipt or a checkpoint, in bytes.
const TEXT_BYTES_MAX: u64 = 65_536;

/// The text of a small file; `-` is standard input.
fn read_text(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let source: Box<dyn Read> = match file {
        file if file == Path::new("-") => Box::new(std::io::stdin().lock()),
        file => Box::new(File::open(file)?),
    };
    source.take(TEXT_BYTES_MAX + 1).read_to_string(&mut text)?;
    ensure!(text.len() as u64 <= TEXT_BYTES_MAX, "it is longer than {TEXT_BYTES_MAX} bytes");
    Ok(text)
}
