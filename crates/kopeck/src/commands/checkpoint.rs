//! Owns `kopeck checkpoint`: the book's checkpoint from its file, for whoever publishes it.
//!
//! Never: a check of what it sums up (`kopeck check` does that). Bounds: those of a receipt's tree.

use std::io::Write;

use clap::Args;

use crate::config::Directory;
use crate::receipt::CheckpointText;

/// Of which book.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wanted {
    #[command(flatten)]
    directory: Directory,
}

/// Prints the same JSON as `GET /api/checkpoint`.
pub(crate) fn run(wanted: &Wanted) -> anyhow::Result<()> {
    let checkpoint = store_sqlite::checkpoint(&wanted.directory.data)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&CheckpointText::from(checkpoint))?)?;
    Ok(out.flush()?)
}
