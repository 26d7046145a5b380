//! Charts as inline SVG: colours come from the page's style, so that they follow
//! its light and dark; series differ in dash and marker as well as in colour.

use std::fmt::Write as _;

use crate::document::Chart;

/// Width of every chart, in its own units: about a phone's, so that text keeps
/// its size there.
const WIDTH: f64 = 340.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
/// Width of a character of 12 units, on average.
const CHARACTER: f64 = 6.3;
/// Marks on a line of many points.
const MARKS: usize = 6;
/// Different looks there are; further series begin again.
const LOOKS: usize = 6;

/// Text as HTML and SVG take it; a number stays with its percent sign.
pub fn escaped(text: &str) -> String {
    let text = text.replace(" %", "\u{202f}%");
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Points that belong together.
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    pub look: usize,
    /// Marks each point, not only a few.
    pub marked: bool,
}

/// How an axis is written.
pub type Format = fn(f64) -> String;

/// Lines over a common axis.
pub struct Lines<'a> {
    /// For those who cannot see it.
    pub about: &'a str,
    pub series: Vec<Series>,
    pub x_name: &'a str,
    pub y_name: &'a str,
    pub x_ticks: Vec<(f64, String)>,
    pub y_format: Format,
}

impl Lines<'_> {
    /// With its title, and in words what it shows. None: there are no lines.
    pub fn chart(&self, title: &str, about: &str) -> Option<Chart> {
        chart(title, about, (!self.series.is_empty()).then(|| self.draw()))
    }

    pub fn draw(&self) -> String {
        let names: Vec<(&str, usize)> =
            self.series.iter().map(|series| (series.name.as_str(), series.look)).collect();
        let (legend, top) = legend(&names, true);
        let (height, bottom) = (top + 234.0, top + 190.0);
        let points = || self.series.iter().flat_map(|series| &series.points);
        let xs = || points().map(|(x, _)| *x).chain(self.x_ticks.iter().map(|(x, _)| *x));
        let from = xs().fold(f64::INFINITY, f64::min);
        let to = xs().fold(f64::NEG_INFINITY, f64::max);
        let highest = points().map(|(_, y)| *y).fold(0.0, f64::max);
        let deepest = points().map(|(_, y)| *y).fold(0.0, f64::min);
        let (step, _) = steps(highest.max(-deepest));
        let most = (highest / step).ceil().max(1.0) * step;
        let least = (deepest / step).floor() * step;
        let x = |value: f64| {
            LEFT + (value - from) / (to - from).max(f64::MIN_POSITIVE) * (WIDTH - LEFT - RIGHT)
        };
        let y = |value: f64| bottom - (value - least) / (most - least) * (bottom - top - 26.0);
        let mut svg = begin(height, self.about);
        svg.push_str(&legend);
        text(&mut svg, 4.0, top + 6.0, "start", self.y_name);
        let mut tick = least;
        while tick <= most + step * 1e-3 {
            line(&mut svg, "g", LEFT, y(tick), WIDTH - RIGHT, y(tick));
            // Sums of steps miss zero by a hair, and would be written as minus zero.
            let round = if tick.abs() < step * 1e-6 { 0.0 } else { tick };
            text(&mut svg, LEFT - 6.0, y(tick) + 4.0, "end", &(self.y_format)(round));
            tick += step;
        }
        for (value, label) in &self.x_ticks {
            line(&mut svg, "a", x(*value), bottom, x(*value), bottom + 4.0);
            text(&mut svg, x(*value), bottom + 17.0, "middle", label);
        }
        text(&mut svg, WIDTH - RIGHT, bottom + 36.0, "end", self.x_name);
        for (place, series) in self.series.iter().enumerate() {
            let path: Vec<String> = series
                .points
                .iter()
                .map(|(px, py)| format!("{:.1},{:.1}", x(*px), y(*py)))
                .collect();
            let look = series.look % LOOKS;
            let _ = write!(
                svg,
                "<polyline class=\"l s{look} d{look}\" points=\"{}\"/>",
                path.join(" ")
            );
            // Of many points a few, each line's at other places: told apart without
            // colour, also where one lies on another.
            let (count, all) = (series.points.len(), self.series.len());
            let few = (0..MARKS).map(|i| (i * all + place) * count / (MARKS * all));
            let marks: Vec<usize> =
                if series.marked || count <= MARKS { (0..count).collect() } else { few.collect() };
            for (px, py) in marks.into_iter().filter_map(|i| series.points.get(i)) {
                marker(&mut svg, look, x(*px), y(*py));
            }
        }
        svg.push_str("</svg>");
        svg
    }
}

/// A figure with its interval.
pub struct Row {
    pub name: String,
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    /// As it is written.
    pub shown: String,
    pub look: usize,
    /// What it is compared with.
    pub reference: Option<f64>,
}

/// Figures under each other, with their intervals on one axis.
pub struct Rows<'a> {
    pub about: &'a str,
    pub rows: Vec<Row>,
    /// What the hollow mark is; none: there is none.
    pub reference: Option<&'a str>,
    /// A line across, as at an even hand.
    pub across: Option<f64>,
    pub format: Format,
}

impl Row {
    /// A figure without an interval.
    pub fn new(name: impl Into<String>, mean: f64, shown: String, look: usize) -> Self {
        Self { name: name.into(), mean, low: mean, high: mean, shown, look, reference: None }
    }

    #[must_use]
    pub fn within(self, low: f64, high: f64) -> Self {
        Self { low, high, ..self }
    }
}

impl Rows<'_> {
    /// With its title, and in words what it shows. None: there are no rows.
    pub fn chart(&self, title: &str, about: &str) -> Option<Chart> {
        chart(title, about, (!self.rows.is_empty()).then(|| self.draw()))
    }

    pub fn draw(&self) -> String {
        const ROW: f64 = 38.0;
        let mut top = 8.0;
        let mut legend = String::new();
        if let Some(reference) = self.reference {
            let _ = write!(legend, "<path class=\"r\" d=\"M10 4v14\"/>");
            text(&mut legend, 20.0, 15.0, "start", reference);
            top += 22.0;
        }
        let bottom = top + ROW * self.rows.len() as f64;
        let ends = || self.rows.iter().flat_map(|row| [row.low, row.high, row.mean]);
        let references = self.rows.iter().filter_map(|row| row.reference);
        // Around the line across, else from 0.
        let (from, step, most) = match self.across {
            Some(across) => {
                let apart = ends().map(|end| (end - across).abs()).fold(0.0, f64::max);
                let (step, most) = steps(apart);
                (across - most, step * 2.0, across + most)
            }
            None => {
                let (step, most) = steps(ends().chain(references).fold(0.0, f64::max));
                (0.0, step, most)
            }
        };
        let (left, right) = (12.0, 20.0);
        let x = |value: f64| {
            left + (value.clamp(from, most) - from) / (most - from) * (WIDTH - left - right)
        };
        let mut svg = begin(bottom + 24.0, self.about);
        svg.push_str(&legend);
        let mut tick = from;
        while tick <= most + step * 1e-3 {
            line(&mut svg, "g", x(tick), top, x(tick), bottom);
            text(&mut svg, x(tick), bottom + 16.0, "middle", &(self.format)(tick));
            tick += step;
        }
        if let Some(across) = self.across {
            line(&mut svg, "even", x(across), top, x(across), bottom);
        }
        for (i, row) in self.rows.iter().enumerate() {
            let base = top + ROW * i as f64;
            let (label, middle) = (base + 13.0, base + 26.0);
            text(&mut svg, left, label, "start", &row.name);
            let _ = write!(
                svg,
                "<text class=\"v\" x=\"{:.1}\" y=\"{label:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - right,
                escaped(&row.shown)
            );
            let look = row.look % LOOKS;
            if self.across.is_none() {
                line(&mut svg, &format!("b s{look}"), x(from), middle, x(row.mean), middle);
            }
            line(&mut svg, "w", x(row.low), middle, x(row.high), middle);
            marker(&mut svg, look, x(row.mean), middle);
            if let Some(reference) = row.reference {
                let at = x(reference);
                let _ = write!(svg, "<path class=\"r\" d=\"M{at:.1} {:.1}v14\"/>", middle - 7.0);
            }
        }
        svg.push_str("</svg>");
        svg
    }
}

fn chart(title: &str, about: &str, svg: Option<String>) -> Option<Chart> {
    svg.map(|svg| Chart { title: title.to_owned(), about: about.to_owned(), svg: Some(svg) })
}

fn begin(height: f64, about: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}\">",
        escaped(about)
    )
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = escaped(words);
    let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

fn line(svg: &mut String, class: &str, x1: f64, y1: f64, x2: f64, y2: f64) {
    let _ = write!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

/// A circle, square, triangle, diamond, cross or inverted triangle.
fn marker(svg: &mut String, look: usize, x: f64, y: f64) {
    let shape = match look {
        0 => "m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",
        1 => "m-4 -4h8v8h-8z",
        2 => "m0 -5.5l5 9h-10z",
        3 => "m0 -5.5l5 5.5l-5 5.5l-5 -5.5z",
        4 => "m-1.5 -5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z",
        _ => "m0 5.5l5 -9h-10z",
    };
    let _ = write!(svg, "<path class=\"m f{look}\" d=\"M{x:.1} {y:.1}{shape}\"/>");
}

/// Names with their looks, and the height they take.
fn legend(names: &[(&str, usize)], dashes: bool) -> (String, f64) {
    let mut svg = String::new();
    let (mut x, mut y) = (4.0, 12.0);
    for (name, look) in names {
        let width = 38.0 + name.chars().count() as f64 * CHARACTER + 12.0;
        if x > 4.0 && x + width > WIDTH {
            x = 4.0;
            y += 18.0;
        }
        let look = look % LOOKS;
        if dashes {
            line(&mut svg, &format!("l s{look} d{look}"), x, y - 4.0, x + 30.0, y - 4.0);
        }
        marker(&mut svg, look, x + 15.0, y - 4.0);
        text(&mut svg, x + 36.0, y, "start", name);
        x += width;
    }
    (svg, y + 14.0)
}

/// Distance of ticks and end of an axis from 0 that holds `highest`: 1, 2 or 5
/// times a power of ten, four to eight ticks.
fn steps(highest: f64) -> (f64, f64) {
    if highest.is_nan() || highest <= 0.0 {
        return (0.5, 1.0);
    }
    let raw = highest / 4.0;
    let power = 10.0_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power);
    let step = step.into_iter().find(|step| *step >= raw * 0.999).unwrap_or(power * 10.0);
    (step, (highest / step * 0.999_9).ceil().max(1.0) * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_figures_beyond_the_highest() {
        for (highest, step, end) in [
            (1.0, 0.5, 1.0),
            (0.192, 0.05, 0.2),
            (7.0, 2.0, 8.0),
            (2_600.0, 1_000.0, 3_000.0),
            (0.0, 0.5, 1.0),
        ] {
            let (got_step, got_end) = steps(highest);
            assert!((got_step - step).abs() < 1e-9 * step, "{highest}: step {got_step}");
            assert!((got_end - end).abs() < 1e-9 * end, "{highest}: end {got_end}");
        }
    }

    #[test]
    fn what_is_below_zero_stays_on_the_chart() {
        let points = vec![(1.0, -0.03), (2.0, 0.08)];
        let series = vec![Series { name: "one".into(), points, look: 0, marked: true }];
        let lines = Lines {
            about: "",
            series,
            x_name: "",
            y_name: "",
            x_ticks: vec![],
            y_format: |y| format!("{y:.2}"),
        };
        let svg = lines.draw();
        assert!(
            svg.contains(">-0.04<") && svg.contains(">0.08<") && !svg.contains(">-0.00<"),
            "{svg}"
        );
    }

    #[test]
    fn names_cannot_break_out_of_the_page() {
        assert_eq!(escaped("<b a=\"x\">&"), "&lt;b a=&quot;x&quot;&gt;&amp;");
        let rows = Rows {
            about: "\"><script>",
            rows: vec![Row {
                name: "<script>".into(),
                mean: 1.0,
                low: 0.0,
                high: 2.0,
                shown: "</text>".into(),
                look: 7,
                reference: Some(1.5),
            }],
            reference: Some("<i>"),
            across: None,
            format: |x| x.to_string(),
        };
        let svg = rows.draw();
        assert!(!svg.contains("<script") && !svg.contains("<i>"), "{svg}");
        assert_eq!(svg.matches("</text>").count(), svg.matches("<text").count());
    }
}
