//! Owns `kopeck check`: what it takes, what it says, and its exit status.
//!
//! Never: the check itself (that is the engine's). Bounds: those of the engine's check. Status 0: all
//! is sound; 1: something is damaged, whether or not that could be told; 2: it could not be checked, or
//! that it is sound could not be told.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use store_sqlite::{Check, Checked, Finding, Place};

use super::progress::Progress;
use super::{read_text, stoppable};
use crate::complain;
use crate::config::Directory;
use crate::hex;
use crate::receipt::CheckpointText;

/// When nothing could be found out about the data, or be told.
const NOT_CHECKED: u8 = 2;

/// What to check.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wanted {
    #[command(flatten)]
    directory: Directory,

    /// A checkpoint that was published (`GET /api/checkpoint`): the book must still lead to it, so
    /// nothing before it was changed. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,

    /// Says what was found as JSON.
    #[arg(long)]
    json: bool,
}

/// Checks, and says what was found.
pub(crate) fn run(wanted: Wanted) -> ExitCode {
    let json = wanted.json;
    let checked = match check(wanted) {
        Ok(checked) => checked,
        Err(error) => {
            complain(format_args!("kopeck: {error:#}"));
            return ExitCode::from(NOT_CHECKED);
        }
    };
    let said = if json { say_json(&checked) } else { say(&checked) };
    let untold = match said {
        // Whoever reads has read enough, as `head` does.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(format_args!("kopeck: standard output: {error}"));
            true
        }
        _ => false,
    };
    match checked.is_sound() {
        false => ExitCode::FAILURE,
        true if untold => ExitCode::from(NOT_CHECKED),
        true => ExitCode::SUCCESS,
    }
}

fn check(wanted: Wanted) -> anyhow::Result<Checked> {
    let published = match &wanted.checkpoint {
        Some(file) => {
            let read = read_text(file).and_then(|text| Ok(CheckpointText::read(&text)?));
            Some(read.with_context(|| format!("the checkpoint {}", file.display()))?)
        }
        None => None,
    };
    let progress = Arc::new(Progress::new());
    let watch = Arc::clone(&progress);
    let checked = stoppable(&progress, move || {
        store_sqlite::check(&Check { data: &wanted.directory.data, published }, &*watch)
    })?;
    progress.finish();
    Ok(checked?)
}

fn say(checked: &Checked) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for Finding { code, detail, .. } in &checked.damages {
        writeln!(out, "{code}: {detail}")?;
    }
    let told = checked.damages.len() as u64;
    match checked.damages_total {
        0 => writeln!(out, "Sound: every operation is as it was recorded.")?,
        total if total > told => {
            writeln!(out, "Damaged: {total} damages; the first {told} above.")?
        }
        1 => writeln!(out, "Damaged: 1 damage.")?,
        total => writeln!(out, "Damaged: {total} damages.")?,
    }
    writeln!(out, "  operations  {}", checked.operations)?;
    writeln!(out, "  wallets     {}", checked.wallets)?;
    writeln!(out, "  users       {}", checked.users)?;
    writeln!(out, "  keys        {}", checked.keys)?;
    if let Some(root) = &checked.root {
        writeln!(out, "  root        {}", hex::text(root))?;
    }
    writeln!(out, "  seconds     {:.2}", checked.elapsed.as_secs_f64())?;
    out.flush()
}

fn say_json(checked: &Checked) -> io::Result<()> {
    let line = json!({
        "sound": checked.is_sound(),
        "operations": checked.operations,
        "wallets": checked.wallets,
        "users": checked.users,
        "keys": checked.keys,
        "root": checked.root.map(|root| hex::text(&root)),
        "damages": checked.damages.iter().map(finding).collect::<Vec<_>>(),
        "damages_total": checked.damages_total,
        "seconds": checked.elapsed.as_secs_f64(),
    });
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn finding(Finding { code, place, detail }: &Finding) -> Value {
    match place {
        Place::Operation(id) => json!({"code": code, "operation_id": id, "detail": detail}),
        Place::Wallet(id) => json!({"code": code, "wallet_id": id, "detail": detail}),
        Place::User(id) => json!({"code": code, "user_id": id, "detail": detail}),
        Place::Whole => json!({"code": code, "detail": detail}),
    }
}
