//! Owns `kopeck backup`: what it takes, and what it says when it is done.
//!
//! Never: the copying (that is the engine's). Bounds: those of the engine's backup.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use store_sqlite::{Backup, Done, Watch};

use super::progress::Progress;
use super::stoppable;
use crate::config::Directory;

/// What to back up, and where to.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wanted {
    /// The file to make: outside of the data directory, best on another disk.
    file: PathBuf,

    #[command(flatten)]
    directory: Directory,

    /// Replaces a file of that name, in one step, when the backup is whole.
    #[arg(long)]
    force: bool,

    /// Gives up when the service's write-ahead log has grown by more than this meanwhile: it cannot
    /// start again from its beginning before the copy is done.
    #[arg(long, default_value_t = 4 << 30, value_name = "BYTES")]
    log_bytes_max: u64,

    /// Says what was done as JSON.
    #[arg(long)]
    json: bool,
}

/// Makes a backup and says so.
pub(crate) fn run(wanted: Wanted) -> anyhow::Result<()> {
    let progress = Arc::new(Progress::new());
    let (file, json) = (wanted.file.clone(), wanted.json);
    let watch: Arc<dyn Watch> = Arc::clone(&progress) as _;
    let done = stoppable(&progress, move || {
        let backup = Backup {
            data: &wanted.directory.data,
            file: &wanted.file,
            replace: wanted.force,
            log_grows_bytes_max: wanted.log_bytes_max,
        };
        store_sqlite::backup(&backup, &watch)
    })?;
    progress.finish();
    let done = done?;
    untold(report(("file", "Backed up to"), &file, &done, json));
    Ok(())
}

/// It is done, whether or not anybody can be told: the status says so, and this why there is nothing to read.
pub(super) fn untold(said: anyhow::Result<()>) {
    if let Err(error) = said {
        let done = "what was to be done is done, and could not be told";
        crate::complain(format_args!("kopeck: standard output: {error:#}; {done}"));
    }
}

/// Says what was done, on standard output: where, by a name in JSON and in words.
pub(super) fn report(
    (name, what): (&str, &str),
    place: &Path,
    done: &Done,
    json: bool,
) -> anyhow::Result<()> {
    let Done { contents, bytes, elapsed } = done;
    let (operations, wallets, seconds) =
        (contents.operations, contents.wallets, elapsed.as_secs_f64());
    let mut out = std::io::stdout().lock();
    if json {
        let line = serde_json::json!({
            (name): place.display().to_string(),
            "operations": operations,
            "last_operation_id": (operations > 0).then_some(operations),
            "wallets": wallets,
            "bytes": bytes,
            "seconds": seconds,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(out, "{what} {}, checked.", place.display())?;
        writeln!(out, "  operations  {operations} (the id of the last one)")?;
        writeln!(out, "  wallets     {wallets}")?;
        writeln!(out, "  bytes       {bytes}")?;
        writeln!(out, "  seconds     {seconds:.2}")?;
    }
    Ok(out.flush()?)
}
