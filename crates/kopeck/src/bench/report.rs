//! Owns the page of a result: one file, readable on a phone, light and dark, that loads nothing.
//!
//! Never: a script, or a figure that is not in the document; nor one look for two runs in a plot, or two
//! looks for one. Bounds: [`LINES_MAX`] lines in a plot, then there is another; of the rate over time the
//! newest round of each.

use std::fmt::Write as _;

use super::document::Document;
use super::plot::{COLOURS, Plot, Scale, Series, Style, escaped};
use super::run::Run;
use super::table::{COLUMNS, TARGET_COLUMNS, cells, errors, target_cells, verdict};
use super::tally::SLICE;

const STYLE: &str = include_str!("report.css");

/// More lines in a plot tell nothing any more.
const LINES_MAX: usize = 8;

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
    let plots = plots(&document.runs);
    if !plots.is_empty() {
        page.push_str("<h2>Plots</h2><div class=\"plots\">");
        for plot in plots {
            page.push_str(&plot.figure());
        }
        page.push_str("</div>");
    }
    if let Some(note) = undrawn(&document.runs) {
        let _ = write!(page, "<p class=\"note\">{}</p>", escaped(&note));
    }
    page.push_str("</body></html>\n");
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
        let [what, met, measured, wanted, range] = target_cells(target).map(|cell| escaped(&cell));
        let class = if target.is_met() { "good" } else { "bad" };
        let note = match target.note.as_str() {
            "" => String::new(),
            note => format!("<span class=\"note\">{}</span>", escaped(note)),
        };
        let _ = write!(
            page,
            "<tr><td>{what}{note}</td><td class=\"{class}\">{met}</td><td>{measured}</td>\
             <td>{wanted}</td><td>{range}</td></tr>"
        );
    }
    page.push_str("</tbody></table></div>");
}

/// Single requests and batches of each size have plots of their own: one would flatten the other.
fn plots(runs: &[Run]) -> Vec<Plot> {
    let all: Vec<_> = runs.iter().zip(styles(runs)).collect();
    let mut batches: Vec<usize> = runs.iter().map(|run| run.batch).collect();
    batches.sort_unstable();
    batches.dedup();
    let of_a_size = |title: &str, batch: usize| match (batches.len(), batch) {
        (1, _) => title.to_owned(),
        (_, 1) => format!("{title}: single requests"),
        _ => format!("{title}: batches of {batch}"),
    };
    let mut plots = Vec::new();
    for &batch in &batches {
        let some = || all.iter().filter(move |(run, _)| run.batch == batch).copied();
        let series = |points: fn(&Run) -> Vec<(f64, f64)>| {
            let line = |(run, style): (&Run, Style)| Series {
                style,
                name: run.name(),
                points: points(run),
            };
            some().map(line).collect()
        };
        plots.push(Plot {
            title: of_a_size("Acknowledged operations over time, last round", batch),
            x: ("seconds", Scale::Linear),
            y: ("operations a second", Scale::Linear),
            series: series(over_time),
            beside: Vec::new(),
        });
        plots.push(Plot {
            title: of_a_size("Latency that so many of the requests did not exceed", batch),
            x: ("requests for each slower one: 100 is p99, 1 k is p99.9", Scale::Logarithmic),
            y: ("milliseconds", Scale::Logarithmic),
            series: series(distribution),
            beside: Vec::new(),
        });
        plots.push(Plot {
            title: of_a_size("Acknowledged operations by connections, medians", batch),
            x: ("connections", Scale::Logarithmic),
            y: ("operations a second", Scale::Linear),
            series: by_connections(some()),
            beside: Vec::new(),
        });
    }
    plots.into_iter().flat_map(|plot| plot.split(LINES_MAX)).collect()
}

/// How the line of each run looks, in every plot: what is the same but for connections and rate has the same
/// colour; what has the same colour has other dashes.
fn styles(runs: &[Run]) -> Vec<Style> {
    let mut groups: Vec<String> = Vec::new();
    let mut drawn = [0; COLOURS];
    let style = |run: &Run| {
        let name = run.name_at_any_load();
        let known = groups.iter().position(|group| *group == name);
        let group = known.unwrap_or(groups.len());
        if known.is_none() {
            groups.push(name);
        }
        let colour = group % COLOURS;
        let dashes = drawn.get_mut(colour).map_or(0, |drawn| std::mem::replace(drawn, *drawn + 1));
        Style { colour, dashes }
    };
    runs.iter().map(style).collect()
}

/// A line for what was measured with several numbers of connections.
fn by_connections<'r>(runs: impl Iterator<Item = (&'r Run, Style)>) -> Vec<Series> {
    let mut lines: Vec<Series> = Vec::new();
    for (run, style) in runs {
        if run.connections == 0 || run.asked_rate.is_some() {
            continue;
        }
        let (name, point) = (run.name_at_any_load(), (run.connections as f64, run.rate().median));
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Series { style, name, points: vec![point] }),
        }
    }
    for line in &mut lines {
        line.points.sort_by(|one, other| one.0.total_cmp(&other.0));
        line.points.dedup_by_key(|point| point.0);
    }
    lines.retain(|line| line.points.len() > 1);
    lines
}

/// Which runs have no line in a plot, and why.
fn undrawn(runs: &[Run]) -> Option<String> {
    let names = |of: &dyn Fn(&&Run) -> bool| {
        let names = runs.iter().filter(of).map(Run::name).collect::<Vec<_>>();
        (!names.is_empty()).then(|| names.join("; "))
    };
    let untimed = |run: &&Run| distribution(run).is_empty();
    let untimed_names = names(&untimed)
        .map(|names| format!("Without a line, because no single request was timed: {names}."));
    let short_names = names(&|run| !untimed(run) && over_time(run).is_empty()).map(|names| {
        let slice = SLICE.as_secs_f64();
        format!(
            "Without a line over time, because the last round took less than {slice} s: {names}."
        )
    });
    let notes = untimed_names.into_iter().chain(short_names).collect::<Vec<_>>();
    (!notes.is_empty()).then(|| notes.join(" "))
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
    use super::super::load::{Round, Used};
    use super::super::tally::Tally;
    use super::*;

    fn run(connections: usize) -> Run {
        let mut tally = Tally::new(Duration::from_secs(1));
        tally.counted = 1_000;
        tally.slices.fill(100);
        (1..=1_000_u64).for_each(|nanos| tally.latencies.saturating_record(nanos * 10_000));
        Run {
            on: "kopeck",
            scenario: "uniform".to_owned(),
            batch: 1,
            connections,
            asked_rate: None,
            rounds: vec![Round { seconds: 1.0, tally, used: Used::default() }],
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
        assert_eq!(page.matches("<figure").count(), 3);
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

    #[test]
    fn every_run_is_drawn_and_looks_the_same_in_every_plot() {
        let other = |run: Run| Run { on: "null", ..run };
        let all =
            [1, 4, 16, 64, 256].map(|connections| [run(connections), other(run(connections))]);
        let runs = all.into_iter().flatten().collect::<Vec<_>>();
        let mut looks = std::collections::BTreeMap::new();
        for plot in plots(&runs) {
            assert!(plot.series.len() <= LINES_MAX);
            let mut here = Vec::new();
            for line in plot.series {
                assert!(!here.contains(&line.style), "two lines look the same");
                here.push(line.style);
                assert_eq!(*looks.entry(line.name).or_insert(line.style), line.style);
            }
        }
        assert!(runs.iter().all(|run| looks.contains_key(&run.name())));
        assert_eq!(looks.len(), runs.len() + 2, "and one line each for the rate by connections");
        assert_eq!(looks["kopeck uniform"].colour, looks["kopeck uniform, 64 connections"].colour);
        assert_eq!(undrawn(&runs), None);
        // With more of them than there are colours, dashes tell them apart.
        let many = (1..=20).map(|batch| Run { batch, ..run(1) }).collect::<Vec<_>>();
        let looks = styles(&many);
        for (number, style) in looks.iter().enumerate() {
            assert_eq!(looks.iter().position(|other| other == style), Some(number));
        }
    }

    #[test]
    fn a_plot_with_nothing_in_it_is_left_out_and_why_is_said() {
        let mut short = Run { on: "engine", connections: 0, ..run(1) };
        short.rounds[0].tally.slices.clear();
        let untimed = Tally { slices: Vec::new(), ..Tally::new(Duration::ZERO) };
        let round = Round { seconds: 1.0, tally: untimed, used: Used::default() };
        let raw = Run { on: "raw", rounds: vec![round], ..short.clone() };
        let titles =
            |runs: &[Run]| plots(runs).into_iter().map(|plot| plot.title).collect::<Vec<_>>();
        let [only] = titles(&[short.clone(), raw.clone()]).try_into().unwrap();
        assert!(only.starts_with("Latency"), "{only}");
        let said = undrawn(&[short, raw.clone()]).unwrap();
        assert!(said.contains("timed: raw uniform. Without a line over time"), "{said}");
        let document = Document { runs: vec![raw], ..Document::new() };
        assert!(!page(&document).contains("<h2>Plots"));
    }
}
