//! Owns `kopeck restore`: what it takes, and what it says when it is done.
//!
//! Never: the copying and the checks (those are the engine's). Bounds: those of the engine's restore.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use store_sqlite::{Done, Restore, Watch};

use super::progress::Progress;
use super::{backup, stoppable};
use crate::config::Directory;

/// What to restore, and where to.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wanted {
    /// The backup.
    file: PathBuf,

    #[command(flatten)]
    directory: Directory,

    /// Lets those who were logged in at the time of the backup be so again. Without it everybody
    /// logs in anew: some have logged out since, or changed a password that somebody else knew.
    #[arg(long)]
    keep_sessions: bool,

    /// Says what was done as JSON.
    #[arg(long)]
    json: bool,
}

/// Restores a backup and says so.
pub(crate) fn run(wanted: Wanted) -> anyhow::Result<()> {
    let progress = Arc::new(Progress::new());
    let watch: Arc<dyn Watch> = Arc::clone(&progress) as _;
    let Wanted { file, directory, keep_sessions, json } = wanted;
    let data = directory.data.clone();
    let done = stoppable(&progress, move || {
        store_sqlite::restore(
            &Restore { file: &file, data: &directory.data, keep_sessions },
            &watch,
        )
    })?;
    progress.finish();
    let done = done?;
    backup::untold(report(&data, &done, json, keep_sessions));
    Ok(())
}

fn report(data: &Path, done: &Done, json: bool, keep_sessions: bool) -> anyhow::Result<()> {
    backup::report(("data", "Restored into"), data, done, json)?;
    if !json {
        let sessions =
            if keep_sessions { "kept as they were" } else { "ended: everybody logs in anew" };
        writeln!(std::io::stdout().lock(), "  sessions    {sessions}")?;
    }
    Ok(())
}
