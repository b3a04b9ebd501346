//! Owns everything that a benchmark found, and its JSON.
//!
//! Never: a measurement. Bounds: the rates over time are told for each run's last round.

use std::time::Duration;

use serde_json::{Value, json};

use super::checks::Finding;
use super::run::{Run, Spread};
use super::tally::SLICE;
use super::usage::CHECKPOINT_FSYNCS;

/// The version of the JSON: it changes when a field changes its meaning or goes.
const VERSION: u32 = 1;

/// A promise with a number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub(super) what: String,
    pub(super) unit: &'static str,
    pub(super) value: f64,
    /// How it varied from round to round, where it was measured more than once.
    pub(super) range: Option<(f64, f64)>,
    pub(super) limit: Limit,
    /// How it was measured, if that needs saying.
    pub(super) note: String,
}

/// What a number must keep to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    pub(super) fn new(what: &str, unit: &'static str, value: Spread, limit: Limit) -> Self {
        let range = (value.min < value.max).then_some((value.min, value.max));
        let (what, note) = (what.to_owned(), String::new());
        Self { what, unit, value: value.median, range, limit, note }
    }

    pub(super) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// Whether the number keeps to it.
    pub(super) fn is_met(&self) -> bool {
        match self.limit {
            Limit::AtLeast(least) => self.value >= least,
            Limit::AtMost(most) => self.value <= most,
        }
    }
}

/// Everything that was found.
#[derive(Debug, Clone, Default)]
pub(super) struct Document {
    /// What was measured, and with what, in words.
    pub(super) settings: Vec<(&'static str, String)>,
    pub(super) runs: Vec<Run>,
    pub(super) targets: Vec<Target>,
    pub(super) findings: Vec<Finding>,
    /// What was measured otherwise than it was asked for, and why.
    pub(super) notes: Vec<String>,
}

impl Document {
    /// Of a benchmark on this machine.
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        let settings = vec![
            ("kopeck", env!("CARGO_PKG_VERSION").to_owned()),
            ("processors", format!("{processors}, {}", processor_name())),
            ("build", if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned()),
        ];
        Self { settings, ..Self::default() }
    }

    pub(super) fn set(&mut self, name: &'static str, value: impl ToString) {
        self.settings.push((name, value.to_string()));
    }

    /// Whether everything that was checked of the result holds, and something was.
    pub(super) fn is_sound(&self) -> bool {
        let mut checked = self.findings.iter().filter_map(|finding| finding.holds).peekable();
        checked.peek().is_some() && checked.all(|holds| holds)
    }

    /// What whoever reads a rate must not overlook.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.runs.iter().flat_map(Run::warnings).collect()
    }

    /// One document.
    pub(super) fn json(&self) -> Value {
        json!({
            "version": VERSION,
            "settings": self.settings.iter().map(|(name, value)| json!({"name": name, "value": value}))
                .collect::<Vec<_>>(),
            "runs": self.runs.iter().map(run).collect::<Vec<_>>(),
            "fsyncs_counted_for_a_checkpoint": CHECKPOINT_FSYNCS,
            "targets": self.targets.iter().map(target).collect::<Vec<_>>(),
            "checks": self.findings.iter().map(|Finding { what, holds, detail }| {
                json!({"what": what, "holds": holds, "detail": detail})
            }).collect::<Vec<_>>(),
            "checks_hold": self.is_sound(),
            "notes": self.notes,
            "warnings": self.warnings(),
        })
    }
}

fn run(run: &Run) -> Value {
    let millis = |pause: Duration| pause.as_secs_f64() * 1e3;
    let (server, client) = run.processors();
    let taken = run.taken();
    let slices = run.rounds.last().map(|round| round.tally.slices.clone()).unwrap_or_default();
    json!({
        "on": run.on,
        "scenario": run.scenario,
        "operations_per_request": run.batch,
        "connections": run.connections,
        "asked_requests_per_second": run.asked_rate,
        "rounds": run.rounds.iter().map(|round| round.rate()).collect::<Vec<_>>(),
        "operations_per_second": spread(run.rate()),
        "operations_acknowledged": run.counted(),
        "latency_ms": {
            "p50": run.millis(0.5),
            "p99": run.millis(0.99),
            "p99_9": run.millis(0.999),
            "max": run.millis(1.0),
        },
        "longest_pause_ms": Some(run.pause()).filter(|pause| !pause.is_zero()).map(millis),
        "errors": run.errors(),
        "errors_total": run.errors_total(),
        "server_processors_busy": server,
        "client_processors_busy": client,
        "share_taken_by_others": taken.by_others,
        "share_taken_by_host": taken.by_host,
        "bytes_written_per_operation": run.bytes_each(),
        "fsyncs_per_operation": run.fsyncs_each(),
        "checkpoints": run.checkpoints(),
        "slice_ms": millis(SLICE),
        "operations_by_slice_of_last_round": slices,
    })
}

fn target(target: &Target) -> Value {
    let (least, most) = match target.limit {
        Limit::AtLeast(least) => (Some(least), None),
        Limit::AtMost(most) => (None, Some(most)),
    };
    json!({
        "what": target.what,
        "unit": target.unit,
        "value": target.value,
        "min": target.range.map(|(min, _)| min),
        "max": target.range.map(|(_, max)| max),
        "at_least": least,
        "at_most": most,
        "met": target.is_met(),
        "note": target.note,
    })
}

fn spread(Spread { median, min, max }: Spread) -> Value {
    json!({"median": median, "min": min, "max": max})
}

fn processor_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or("of a kind that is not told").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_met_on_the_right_side() {
        let met = |value, limit| {
            let spread = Spread { median: value, min: value, max: value };
            Target::new("x", "", spread, limit).is_met()
        };
        assert!(met(0.9, Limit::AtLeast(0.9)) && !met(0.89, Limit::AtLeast(0.9)));
        assert!(met(5.0, Limit::AtMost(5.0)) && !met(5.1, Limit::AtMost(5.0)));
        assert!(!met(f64::NAN, Limit::AtLeast(0.0)) && !met(f64::NAN, Limit::AtMost(1.0)));
    }

    #[test]
    fn a_result_that_nobody_checked_is_not_sound() {
        let mut document = Document::new();
        assert!(!document.is_sound());
        let finding = |holds| Finding { what: "x", holds, detail: String::new() };
        document.findings = vec![finding(None)];
        assert!(!document.is_sound(), "nothing was checked");
        document.findings.push(finding(Some(true)));
        assert!(document.is_sound());
        assert_eq!(document.json()["checks"][0]["holds"], Value::Null);
        document.findings.push(finding(Some(false)));
        assert!(!document.is_sound());
        assert_eq!(document.json()["checks_hold"], false);
    }
}
