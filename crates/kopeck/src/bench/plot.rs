//! Owns plots as SVG text: lines over two axes, in colours and dashes that the page's style sheet gives.
//!
//! Never: a script, a font or a colour of its own, a figure that was not handed in. Bounds: as many
//! points as were handed in; [`COLOURS`] colours and [`DASHES`] dashes, then they begin again.

use std::fmt::Write as _;

/// How many colours the page has for lines.
pub(super) const COLOURS: usize = 8;
/// How many kinds of dashes it has.
const DASHES: usize = 6;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
/// Marks on an axis, about.
const MARKS: f64 = 5.0;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    /// Which colour, from 0 on.
    pub(super) colour: usize,
    /// Which dashes, from 0 on; 0 is none.
    pub(super) dashes: usize,
}

impl Style {
    fn classes(self) -> String {
        format!("c{} d{}", self.colour % COLOURS, self.dashes % DASHES)
    }
}

/// A line.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) style: Style,
    /// What it is called in the legend.
    pub(super) name: String,
    /// Its points, from left to right.
    pub(super) points: Vec<(f64, f64)>,
}

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Evenly, from zero.
    Linear,
    /// By powers of ten, with no zero.
    Logarithmic,
}

/// A plot.
#[derive(Debug, Clone)]
pub(super) struct Plot {
    pub(super) title: String,
    /// What the axes tell, with units.
    pub(super) x: (&'static str, Scale),
    pub(super) y: (&'static str, Scale),
    pub(super) series: Vec<Series>,
    /// Points that have their places, too, so that plots of the same are to the same scale.
    pub(super) beside: Vec<(f64, f64)>,
}

/// From values to places.
struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    marks: Vec<f64>,
}

impl Axis {
    fn new(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let usable = |value: &f64| value.is_finite() && (scale == Scale::Linear || *value > 0.0);
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(usable) {
            (least, most) = (least.min(value), most.max(value));
        }
        if least > most {
            (least, most) = (1.0, 10.0);
        }
        match scale {
            Scale::Linear => {
                let step = nice_step(most.max(f64::MIN_POSITIVE) / MARKS);
                let count = (most / step).ceil().max(1.0);
                let marks = (0..=count as u32).map(|mark| f64::from(mark) * step).collect();
                Self { scale, from: 0.0, to: count * step, marks }
            }
            Scale::Logarithmic => {
                let from = least.log10().floor();
                let to = most.log10().ceil().max(from + 1.0);
                let marks = (from as i32..=to as i32).map(|power| 10_f64.powi(power)).collect();
                Self { scale, from, to, marks }
            }
        }
    }

    /// Where a value stands, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(f64::MIN_POSITIVE).log10(),
        };
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 times a power of ten, at least as great.
fn nice_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or(10.0 * power)
}

impl Plot {
    /// As several plots to the same scale, of at most so many lines each; none if there is nothing to draw.
    pub(super) fn split(mut self, lines_max: usize) -> Vec<Self> {
        self.series.retain(|series| !series.points.is_empty());
        let all = std::mem::take(&mut self.series);
        let points: Vec<_> = all.iter().flat_map(|series| series.points.clone()).collect();
        let parts: Vec<_> = all.chunks(lines_max.max(1)).collect();
        let title = |number: usize| match parts.len() {
            1 => self.title.clone(),
            of => format!("{} ({number}\u{a0}of\u{a0}{of})", self.title),
        };
        let part = |(number, series): (usize, &&[Series])| Self {
            title: title(number),
            series: series.to_vec(),
            beside: points.clone(),
            ..self.clone()
        };
        (1..).zip(&parts).map(part).collect()
    }

    /// The text of a `figure`.
    pub(super) fn figure(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points).chain(&self.beside);
        let x = Axis::new(self.x.1, points().map(|point| point.0));
        let y = Axis::new(self.y.1, points().map(|point| point.1));
        let across = |value: f64| LEFT + x.place(value) * (WIDTH - LEFT - RIGHT);
        let down = |value: f64| HEIGHT - BOTTOM - y.place(value) * (HEIGHT - TOP - BOTTOM);
        let mut svg = String::new();
        let title = escaped(&self.title);
        // Writing into a string cannot fail.
        let _ = write!(
            svg,
            r#"<figure><figcaption>{title}</figcaption><div class="wide"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">"#
        );
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for mark in &x.marks {
            let at = across(*mark);
            let _ = write!(
                svg,
                r#"<path class="grid" d="M{at:.1} {TOP}V{bottom}"/><text x="{at:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                bottom + 16.0,
                short(*mark)
            );
        }
        for mark in &y.marks {
            let at = down(*mark);
            let _ = write!(
                svg,
                r#"<path class="grid" d="M{LEFT} {at:.1}H{right}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 6.0,
                at + 4.0,
                short(*mark)
            );
        }
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{}</text><text transform="translate(14 {:.1}) rotate(-90)" text-anchor="middle">{}</text>"#,
            (LEFT + right) / 2.0,
            HEIGHT - 8.0,
            escaped(self.x.0),
            (TOP + bottom) / 2.0,
            escaped(self.y.0)
        );
        for series in &self.series {
            series.draw(&mut svg, (&across, &down));
        }
        svg.push_str("</svg></div>");
        self.legend(&mut svg);
        svg.push_str("</figure>");
        svg
    }

    fn legend(&self, svg: &mut String) {
        svg.push_str(r#"<ul class="legend">"#);
        for series in &self.series {
            let (classes, name) = (series.style.classes(), escaped(&series.name));
            let _ = write!(
                svg,
                r#"<li><svg class="key" viewBox="0 0 36 8" aria-hidden="true"><path class="line {classes}" d="M0 4H36"/></svg>{name}</li>"#
            );
        }
        svg.push_str("</ul>");
    }
}

impl Series {
    fn draw(&self, svg: &mut String, (across, down): (&dyn Fn(f64) -> f64, &dyn Fn(f64) -> f64)) {
        let classes = self.style.classes();
        let mut line = String::new();
        for (place, (x, y)) in self.points.iter().enumerate() {
            let step = if place == 0 { 'M' } else { 'L' };
            let _ = write!(line, "{step}{:.1} {:.1}", across(*x), down(*y));
        }
        let _ = write!(svg, r#"<path class="line {classes}" d="{line}"/>"#);
        // Few points are shown as such: a line alone would look as if there was more.
        if self.points.len() <= 12 {
            for (x, y) in &self.points {
                let (x, y) = (across(*x), down(*y));
                let _ =
                    write!(svg, r#"<circle class="dot {classes}" cx="{x:.1}" cy="{y:.1}" r="3"/>"#);
            }
        }
    }
}

/// A mark's text: few digits, thousands as k and M.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e6 => (value / 1e6, " M"),
        value if value >= 1e3 => (value / 1e3, " k"),
        value => (value, ""),
    };
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

/// Text for HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_begin_and_end_at_round_numbers() {
        let axis = Axis::new(Scale::Linear, [3.0, 47_000.0].into_iter());
        assert_eq!((axis.from, axis.to), (0.0, 50_000.0));
        assert_eq!(axis.marks, [0.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0]);
        let axis = Axis::new(Scale::Logarithmic, [0.0, 0.3, 40.0].into_iter());
        assert_eq!(axis.marks, [0.1, 1.0, 10.0, 100.0]);
        assert!((axis.place(1.0) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(axis.place(0.0), 0.0);
        // Nothing to show is no reason to fail.
        assert_eq!(Axis::new(Scale::Linear, std::iter::empty()).from, 0.0);
    }

    #[test]
    fn marks_are_short() {
        for (value, text) in
            [(0.0, "0"), (0.25, "0.25"), (100.0, "100"), (1_500.0, "1.5 k"), (2e6, "2 M")]
        {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn a_figure_holds_what_was_handed_in_and_no_markup_of_it() {
        let style = Style { colour: 9, dashes: 2 };
        let series = Series { style, name: "a<b".to_owned(), points: vec![(1.0, 2.0), (2.0, 1.0)] };
        let plot = Plot {
            title: "t".to_owned(),
            x: ("x", Scale::Linear),
            y: ("y", Scale::Linear),
            series: vec![series],
            beside: Vec::new(),
        };
        let figure = plot.figure();
        assert_eq!(figure.matches("class=\"line c1 d2\"").count(), 2, "once in the legend");
        assert!(figure.contains("a&lt;b") && !figure.contains("a<b"));
        assert_eq!(figure.matches("<circle").count(), 2);
        assert!(figure.contains("M340.0 12.0L616.0 134.0"), "{figure}");
    }

    #[test]
    fn many_lines_are_several_plots_to_the_same_scale_and_none_is_no_plot() {
        let style = Style { colour: 0, dashes: 0 };
        let line =
            |value: f64| Series { style, name: value.to_string(), points: vec![(1.0, value)] };
        let nothing = Series { points: Vec::new(), ..line(0.0) };
        let plot = Plot {
            title: "t".to_owned(),
            x: ("x", Scale::Linear),
            y: ("y", Scale::Linear),
            series: vec![nothing.clone(), line(1.0), line(2.0), line(900.0)],
            beside: Vec::new(),
        };
        let parts = plot.clone().split(2);
        let shown =
            |part: &Plot| part.series.iter().map(|line| line.name.clone()).collect::<Vec<_>>();
        assert_eq!(parts.iter().map(shown).collect::<Vec<_>>(), [vec!["1", "2"], vec!["900"]]);
        assert_eq!(parts[0].title, "t (1\u{a0}of\u{a0}2)");
        assert!(parts[0].figure().contains(">1 k<"), "the axis reaches what the other plot shows");
        assert!(Plot { series: vec![nothing], ..plot }.split(2).is_empty());
    }
}
