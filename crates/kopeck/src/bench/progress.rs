//! Owns the bars on a terminal that show how far a benchmark is.
//!
//! Never: a word where standard error is no terminal. Bounds: drawn a few times a second.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts.
pub(super) fn counted(title: &str, total: u64) -> ProgressBar {
    styled(title, total, "{msg} {wide_bar} {human_pos} of {human_len}, {per_sec}, {eta} left")
}

/// A bar for so many milliseconds.
pub(super) fn timed(title: &str, millis: u64) -> ProgressBar {
    styled(title, millis, "{msg} {wide_bar} {eta} left")
}

fn styled(title: &str, total: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(title.to_owned());
    bar
}
