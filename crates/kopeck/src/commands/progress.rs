//! Owns the bar on a terminal that shows how far a command is, and the wish to stop it.
//!
//! Never: a word where standard error is no terminal. Bounds: drawn a few times a second.

use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use store_sqlite::{Step, Watch};

/// How far it is, and whether it should stop.
pub(crate) struct Progress {
    bar: ProgressBar,
    cancelled: AtomicBool,
}

impl Progress {
    /// Nothing is shown before the first step.
    pub(crate) fn new() -> Self {
        // Drawn on standard error, and only where that is a terminal.
        Self { bar: ProgressBar::no_length(), cancelled: AtomicBool::new(false) }
    }

    /// Counts operations.
    pub(crate) fn operations(&self, total: Option<u64>) {
        let template = if total.is_some() {
            "{wide_bar} {human_pos} of {human_len} operations, {eta} left"
        } else {
            "{spinner} {human_pos} operations"
        };
        self.show(template, total);
    }

    /// One operation more.
    pub(crate) fn operation(&self) {
        self.bar.inc(1);
    }

    /// Asks whoever works to stop.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self, template: &str, length: Option<u64>) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        match length {
            Some(length) => self.bar.set_length(length),
            None => self.bar.unset_length(),
        }
    }
}

impl Watch for Progress {
    fn step(&self, step: Step) {
        match step {
            Step::Copying { done_bytes, total_bytes } => {
                if self.bar.length() != Some(total_bytes) {
                    let template = "copying {wide_bar} {bytes} of {total_bytes}, {eta} left";
                    self.show(template, Some(total_bytes));
                }
                self.bar.set_position(done_bytes);
            }
            Step::Checking => self.show("{spinner} checking the copy", None),
            Step::Replaying { done_operations, total_operations } => {
                if self.bar.length() != Some(total_operations) {
                    self.operations(Some(total_operations));
                }
                self.bar.set_position(done_operations);
            }
            Step::Syncing => self.show("{spinner} syncing", None),
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}
