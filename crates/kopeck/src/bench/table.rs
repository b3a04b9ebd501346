//! Owns the text of a result: for people, at most as wide as a terminal.
//!
//! Never: a figure that is not in the document. Bounds: a line a run, a target, a check.

use std::fmt::Write as _;

use super::checks::Finding;
use super::document::{Document, Limit, Target};
use super::run::Run;

const NONE: &str = "–";

/// What the columns of runs are called.
pub(super) const COLUMNS: [&str; 12] = [
    "on",
    "scenario",
    "ops",
    "conn",
    "ops/s",
    "min–max",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "errors",
    "CPU s+c",
    "B/op, fsync/op",
];

/// The whole text.
pub(super) fn text(document: &Document) -> String {
    let mut text = String::new();
    // Writing into a string cannot fail.
    for (name, value) in &document.settings {
        let _ = writeln!(text, "{name:<12} {value}");
    }
    if !document.runs.is_empty() {
        let rows: Vec<_> = document.runs.iter().map(cells).collect();
        let _ = write!(text, "\n{}", aligned(&COLUMNS, &rows));
    }
    for run in document.runs.iter().filter(|run| run.errors_total() > 0) {
        let _ = writeln!(text, "  errors, {}", errors(run));
    }
    for note in &document.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    for warning in document.warnings() {
        let _ = writeln!(text, "WARNING  {warning}");
    }
    if !document.targets.is_empty() {
        let rows: Vec<_> = document.targets.iter().map(target_cells).collect();
        let _ = write!(text, "\n{}", aligned(&TARGET_COLUMNS, &rows));
        for target in document.targets.iter().filter(|target| !target.note.is_empty()) {
            let _ = writeln!(text, "  {}: {}", target.what, target.note);
        }
    }
    text.push('\n');
    for finding in &document.findings {
        let _ = writeln!(text, "{}  {}: {}", verdict(finding), finding.what, finding.detail);
    }
    text
}

/// What became of a check, in a word or two.
pub(super) fn verdict(finding: &Finding) -> &'static str {
    match finding.holds {
        Some(true) => "holds",
        Some(false) => "FAILS",
        None => "not checked",
    }
}

/// A run's errors, the most frequent first.
pub(super) fn errors(run: &Run) -> String {
    let mut errors: Vec<_> = run.errors().into_iter().collect();
    errors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let errors = errors.iter().map(|(code, count)| format!("{} {code}", whole(*count as f64)));
    format!("{}: {}", run.name(), errors.collect::<Vec<_>>().join(", "))
}

/// A run's cells.
pub(super) fn cells(run: &Run) -> [String; 12] {
    let rate = run.rate();
    let (server, client) = run.processors();
    let optional = |value: Option<f64>, digits: usize| {
        value.map_or(NONE.to_owned(), |value| format!("{value:.digits$}"))
    };
    let latency = |share| match run.latencies().is_empty() {
        true => NONE.to_owned(),
        false => format!("{:.2}", run.millis(share)),
    };
    [
        run.on.to_owned(),
        match run.asked_rate {
            Some(rate) => format!("{} at {}/s", run.scenario, whole(rate)),
            None => run.scenario.clone(),
        },
        run.batch.to_string(),
        if run.connections == 0 { NONE.to_owned() } else { run.connections.to_string() },
        whole(rate.median),
        if run.rounds.len() > 1 {
            format!("{}–{}", whole(rate.min), whole(rate.max))
        } else {
            NONE.to_owned()
        },
        latency(0.5),
        latency(0.99),
        latency(0.999),
        run.errors_total().to_string(),
        format!("{}+{}", optional(server, 2), optional(client, 2)),
        format!("{}, {}", optional(run.bytes_each(), 0), optional(run.fsyncs_each(), 4)),
    ]
}

/// What the columns of targets are called.
pub(super) const TARGET_COLUMNS: [&str; 5] = ["target", "met", "measured", "wanted", "min–max"];

/// A target's cells.
pub(super) fn target_cells(target: &Target) -> [String; 5] {
    let number = |value: f64| {
        let text = match value {
            value if value >= 1_000.0 => whole(value),
            value if target.unit.is_empty() => format!("{value:.3}"),
            value => format!("{value:.2}"),
        };
        if target.unit.is_empty() { text } else { format!("{text} {}", target.unit) }
    };
    let wanted = match target.limit {
        Limit::AtLeast(least) => format!("≥ {}", number(least)),
        Limit::AtMost(most) => format!("≤ {}", number(most)),
    };
    let range = target
        .range
        .map_or(NONE.to_owned(), |(min, max)| format!("{}–{}", number(min), number(max)));
    let met = if target.is_met() { "yes" } else { "NO" }.to_owned();
    [target.what.clone(), met, number(target.value), wanted, range]
}

/// Digits in groups of three.
pub(super) fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            // One that does not break, so that a number stays on its line.
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

/// The first columns to the left, numbers to the right.
fn aligned<const N: usize>(head: &[&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        let named = head.get(column).map_or(0, |name| name.chars().count());
        cells.chain([named]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: Vec<&str>| {
        let mut row = String::new();
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width - cell.chars().count());
            let left = column == 0 || (N == COLUMNS.len() && column == 1);
            let _ = if left { write!(row, "{cell}{pad}  ") } else { write!(row, "{pad}{cell}  ") };
        }
        text.push_str(row.trim_end());
        text.push('\n');
    };
    line(head.to_vec());
    for row in rows {
        line(row.iter().map(String::as_str).collect());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_columns_aligned() {
        for (value, expected) in [
            (0.4, "0"),
            (999.0, "999"),
            (1_000.0, "1\u{a0}000"),
            (1_234_567.0, "1\u{a0}234\u{a0}567"),
        ] {
            assert_eq!(whole(value), expected);
        }
        let rows = [["a", "1"].map(str::to_owned), ["bcd", "22"].map(str::to_owned)];
        assert_eq!(aligned(&["x", "n"], &rows), "x     n\na     1\nbcd  22\n");
    }
}
