//! Owns the page of a result: one file, readable on a phone, light and dark, that loads nothing.
//!
//! Never: a script, or a figure that is not in the document. Bounds: [`LINES_MAX`] lines in the rate
//! over time, the newest round of each.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::document::Document;
use super::plot::{Plot, Scale, Series, escaped};
use super::run::Run;
use super::table::{COLUMNS, TARGET_COLUMNS, cells, errors, target_cells, verdict};
use super::tally::SLICE;

const STYLE: &str = include_str!("report.css");

/// More lines in a plot tell nothing any more.
const LINES_MAX: usize = 6;

/// The shares of requests at which the distribution is drawn, by how many are beyond: 1 in 10^(n/8).
const DISTRIBUTION_POINTS: u32 = 40;

/// The whole page.
pub(super) fn page(document: &Document) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>kopeck bench</title><style>{STYLE}</style></head><body><h1>kopeck bench</h1><dl>"
    );
    // Writing into a string cannot fail.
    for (name, value) in &document.settings {
        let _ = write!(page, "<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(value));
    }
    page.push_str("</dl>");
    if !document.targets.is_empty() {
        page.push_str("<h2>Targets</h2>");
        targets(&mut page, document);
    }
    page.push_str("<h2>Checks of this result</h2><ul class=\"checks\">");
    for finding in &document.findings {
        let holds = verdict(finding);
        let class = match finding.holds {
            Some(true) => "good",
            Some(false) => "bad",
            None => "note",
        };
        let (what, detail) = (escaped(finding.what), escaped(&finding.detail));
        let _ = write!(page, "<li><span class=\"{class}\">{holds}</span> {what}: {detail}</li>");
    }
    page.push_str("</ul><h2>Figures</h2>");
    runs(&mut page, document);
    remarks(&mut page, document);
    page.push_str("<h2>Plots</h2><div class=\"plots\">");
    for plot in plots(&document.runs) {
        page.push_str(&plot.figure());
    }
    page.push_str("</div></body></html>\n");
    page
}

fn head(page: &mut String, class: &str, columns: &[&str]) {
    let _ = write!(page, "<div class=\"wide\"><table class=\"{class}\"><thead><tr>");
    for column in columns {
        let _ = write!(page, "<th>{}</th>", escaped(column));
    }
    page.push_str("</tr></thead><tbody>");
}

fn runs(page: &mut String, document: &Document) {
    head(page, "runs", &COLUMNS);
    for run in &document.runs {
        page.push_str("<tr>");
        for cell in cells(run) {
            let _ = write!(page, "<td>{}</td>", escaped(&cell));
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div>");
}

/// Errors, notes and warnings of the runs.
fn remarks(page: &mut String, document: &Document) {
    page.push_str("<ul class=\"remarks\">");
    for warning in document.warnings() {
        let _ = write!(page, "<li class=\"bad\">Warning: {}</li>", escaped(&warning));
    }
    for run in document.runs.iter().filter(|run| run.errors_total() > 0) {
        let _ = write!(page, "<li>Errors, {}</li>", escaped(&errors(run)));
    }
    for note in &document.notes {
        let _ = write!(page, "<li>{}</li>", escaped(note));
    }
    page.push_str("</ul>");
}

fn targets(page: &mut String, document: &Document) {
    head(page, "targets", &TARGET_COLUMNS);
    for target in &document.targets {
        let [what, measured, wanted, met, range] = target_cells(target).map(|cell| escaped(&cell));
        let class = if target.is_met() { "good" } else { "bad" };
        let note = match target.note.as_str() {
            "" => String::new(),
            note => format!("<span class=\"note\">{}</span>", escaped(note)),
        };
        let _ = write!(
            page,
            "<tr><td>{what}{note}</td><td>{measured}</td><td>{wanted}</td>\
             <td class=\"{class}\">{met}</td><td>{range}</td></tr>"
        );
    }
    page.push_str("</tbody></table></div>");
}

fn plots(runs: &[Run]) -> Vec<Plot> {
    let mut plots = Vec::new();
    let timed: Vec<&Run> = runs.iter().filter(|run| !run.latencies().is_empty()).collect();
    let chosen = || timed.iter().take(LINES_MAX);
    plots.push(Plot {
        title: "Acknowledged operations over time, last round".to_owned(),
        x: ("seconds", Scale::Linear),
        y: ("operations a second", Scale::Linear),
        series: chosen().map(|run| Series { name: run.name(), points: over_time(run) }).collect(),
    });
    plots.push(Plot {
        title: "Latency: what so many of the requests did not exceed".to_owned(),
        x: ("requests for each slower one: 100 is p99, 1 k is p99.9", Scale::Logarithmic),
        y: ("milliseconds", Scale::Logarithmic),
        series: chosen()
            .map(|run| Series { name: run.name(), points: distribution(run) })
            .collect(),
    });
    let mut by_connections: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for run in timed.iter().filter(|run| run.connections > 0 && run.asked_rate.is_none()) {
        let line = by_connections.entry(run.name_at_any_load()).or_default();
        line.push((run.connections as f64, run.rate().median));
    }
    by_connections.retain(|_, points| points.len() > 1);
    for points in by_connections.values_mut() {
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    if !by_connections.is_empty() {
        let series = by_connections.into_iter().map(|(name, points)| Series { name, points });
        plots.push(Plot {
            title: "Acknowledged operations by connections, medians".to_owned(),
            x: ("connections", Scale::Logarithmic),
            y: ("operations a second", Scale::Linear),
            series: series.collect(),
        });
    }
    plots
}

fn over_time(run: &Run) -> Vec<(f64, f64)> {
    let slice = SLICE.as_secs_f64();
    let slices = run.rounds.last().map(|round| round.tally.slices.as_slice()).unwrap_or_default();
    let point =
        |(number, count): (usize, &u64)| ((number as f64 + 0.5) * slice, *count as f64 / slice);
    slices.iter().enumerate().map(point).collect()
}

fn distribution(run: &Run) -> Vec<(f64, f64)> {
    let latencies = run.latencies();
    (0..DISTRIBUTION_POINTS)
        .map(|number| 10_f64.powf(f64::from(number) / 8.0))
        // Beyond this there is not one request.
        .take_while(|requests| *requests <= latencies.len() as f64)
        .map(|requests| (requests, latencies.value_at_quantile(1.0 - 1.0 / requests) as f64 / 1e6))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::checks::Finding;
    use super::super::load::Round;
    use super::super::tally::Tally;
    use super::super::usage::Usage;
    use super::*;

    fn run(connections: usize) -> Run {
        let mut tally = Tally::new(Duration::from_secs(1));
        tally.counted = 1_000;
        tally.slices.fill(100);
        (1..=1_000_u64).for_each(|nanos| tally.latencies.saturating_record(nanos * 10_000));
        let unused = Usage::default();
        Run {
            on: "kopeck",
            scenario: "uniform".to_owned(),
            batch: 1,
            connections,
            asked_rate: None,
            rounds: vec![Round { seconds: 1.0, tally, server: unused, client: unused }],
        }
    }

    #[test]
    fn the_page_stands_alone() {
        let detail = "<script>".to_owned();
        let document = Document {
            runs: vec![run(1), run(16)],
            findings: vec![Finding { what: "x", holds: Some(false), detail }],
            ..Document::new()
        };
        let page = page(&document);
        assert_eq!(page.matches("<svg").count(), 3);
        assert!(page.contains("FAILS") && page.contains("&lt;script&gt;"));
        for loaded in ["<script", "<link", "src=", "http:", "https:", "url("] {
            assert!(!page.contains(loaded), "{loaded}");
        }
    }

    #[test]
    fn the_distribution_ends_where_there_are_no_requests() {
        let points = distribution(&run(1));
        let (requests, millis) = *points.last().unwrap();
        assert!((requests - 1_000.0).abs() < 1e-6 && (9.9..10.1).contains(&millis), "{points:?}");
    }
}
