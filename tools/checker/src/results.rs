//! Owns what a campaign came to: its tally, the line that is appended to a file of results, and the
//! table at the end.
//!
//! Never: a line of an earlier run changed. Bounds: one line a campaign.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

/// What a campaign counted. Empty violations, and not skipped: it passed.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Tally {
    /// How many rounds were done: kills, cuts, failed calls, flipped bytes, seconds.
    pub count: u64,
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Operations whose outcome was unknown to their sender at first.
    pub unknown: u64,
    /// Starts after the first.
    pub restarts: u64,
    /// Why nothing was done, if nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// What was found wrong, a sentence each.
    pub violations: Vec<String>,
    /// The longest time from a kill's restart to the first acknowledgement, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slowest_first_acknowledgement_ms: Option<u64>,
    /// What else the campaign measured or counted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, Value>,
}

/// A campaign stops when it has found so many things wrong: the rest would say the same.
pub const VIOLATIONS_MAX: usize = 20;

impl Tally {
    /// A campaign that the machine cannot do.
    #[must_use]
    pub fn skipped(why: String) -> Self {
        Self { skipped: Some(why), ..Self::default() }
    }

    /// Whether there is no point in going on.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.violations.len() >= VIOLATIONS_MAX
    }

    /// Notes what is wrong.
    pub fn violation(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// Adds to a figure that counts.
    pub fn add(&mut self, figure: &str, more: u64) {
        let counted = self.figures.get(figure).and_then(Value::as_u64).unwrap_or(0);
        self.figures.insert(figure.to_owned(), (counted + more).into());
    }

    /// Sets a figure.
    pub fn set(&mut self, figure: &str, value: impl Into<Value>) {
        self.figures.insert(figure.to_owned(), value.into());
    }

    /// Keeps the longest time from a restart to the first acknowledgement.
    pub fn first_acknowledgement(&mut self, elapsed: Duration) {
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let slowest = self.slowest_first_acknowledgement_ms.get_or_insert(ms);
        *slowest = ms.max(*slowest);
    }

    /// In one word.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match self {
            Self { violations, .. } if !violations.is_empty() => "FAILED",
            Self { skipped: Some(_), .. } => "SKIPPED",
            _ => "passed",
        }
    }
}

/// A line of the file.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// The campaign's name.
    pub campaign: String,
    /// In one word.
    pub verdict: String,
    /// What all chance in it followed from.
    pub seed: u64,
    /// The commit that the binary was built from, as far as known.
    pub commit: String,
    /// What the binary says of itself.
    pub version: String,
    /// When it began, in RFC 3339.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// What it counted.
    #[serde(flatten)]
    pub tally: Tally,
}

impl Line {
    /// Appends it, in one write, so that campaigns that run side by side may share the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&self, file: &Path) -> anyhow::Result<()> {
        let line = serde_json::to_string(self)? + "\n";
        let append = || -> std::io::Result<()> {
            if let Some(dir) = file.parent() {
                std::fs::create_dir_all(dir)?;
            }
            File::options().create(true).append(true).open(file)?.write_all(line.as_bytes())
        };
        append().with_context(|| format!("cannot append to {}", file.display()))
    }
}

/// A table of lines, for people.
#[must_use]
pub fn table(lines: &[Line]) -> String {
    let head = ["campaign", "", "count", "acknowledged", "unknown", "restarts", "first ack", "s"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(lines.iter().map(|line| {
        let Tally { count, acknowledged, unknown, restarts, .. } = &line.tally;
        let first = line.tally.slowest_first_acknowledgement_ms;
        [
            line.campaign.clone(),
            line.verdict.clone(),
            count.to_string(),
            acknowledged.to_string(),
            unknown.to_string(),
            restarts.to_string(),
            first.map(|ms| format!("{ms} ms")).unwrap_or_default(),
            format!("{:.0}", line.seconds),
        ]
    }));
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            // Words to the left, numbers to the right.
            if column < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The commit that is checked out, `+` after it when there are changes; `unknown` outside of git.
#[must_use]
pub fn commit() -> String {
    let git = |words: &[&str]| {
        let output = Command::new("git").args(words).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    let mark = if changed.is_some_and(|changed| !changed.is_empty()) { "+" } else { "" };
    commit + mark
}

/// What a binary says of its version.
///
/// # Errors
/// When it cannot be run.
pub fn version(kopeck: &Path) -> anyhow::Result<String> {
    let output = Command::new(kopeck)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot run {}", kopeck.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
