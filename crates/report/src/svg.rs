//! Charts as inline SVG: colours come from the page's style, so that they follow
//! its light and dark; series differ in dash and marker as well as in colour.

use std::fmt::Write as _;

use crate::axis::Scale;
use crate::document::Chart;
use crate::language::Language;
use crate::say;

/// Width of every chart, in its own units: about a phone's, so that text keeps
/// its size there.
pub(crate) const WIDTH: f64 = 340.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
/// Width of a character of 12 units, on average.
const CHARACTER: f64 = 6.3;
/// Marks on a line of many points.
const MARKS: usize = 6;
/// Different looks there are; further series begin again.
pub(crate) const LOOKS: usize = 6;

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

/// Something that happened at one place of an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub x: f64,
    /// When and what, in a line.
    pub name: String,
}

/// Most marks of a chart that are named one by one.
const MOST_MARKS: usize = 8;
/// Marks that are nearer to each other share a letter's place.
const APART: f64 = 12.0;

/// Lines over a common axis.
pub struct Lines<'a> {
    pub language: Language,
    pub title: &'a str,
    /// For those who cannot see it.
    pub about: &'a str,
    pub series: Vec<Series>,
    pub x_name: &'a str,
    pub y_name: &'a str,
    pub x_ticks: Vec<(f64, String)>,
    pub scale: Scale,
    /// In their order.
    pub marks: Vec<Mark>,
}

impl Lines<'_> {
    /// With its title, and in words what it shows. None: there are no lines.
    pub fn chart(&self, caption: &str) -> Option<Chart> {
        chart(self.title, caption, (!self.series.is_empty()).then(|| self.draw()))
    }

    pub fn draw(&self) -> String {
        let names: Vec<(&str, usize)> =
            self.series.iter().map(|series| (series.name.as_str(), series.look)).collect();
        let (legend, top) = legend(&names, true);
        let (bottom, named) = (top + 190.0, self.marks.len().min(MOST_MARKS));
        let beneath = if self.marks.is_empty() { 0.0 } else { 8.0 };
        let more = if self.marks.len() > named { 16.0 } else { 0.0 };
        let height = top + 234.0 + beneath + 16.0 * named as f64 + more;
        let points = || self.series.iter().flat_map(|series| &series.points);
        let xs = || points().map(|(x, _)| *x).chain(self.x_ticks.iter().map(|(x, _)| *x));
        let from = xs().fold(f64::INFINITY, f64::min);
        let to = xs().fold(f64::NEG_INFINITY, f64::max);
        let highest = points().map(|(_, y)| *y).fold(0.0, f64::max);
        let deepest = points().map(|(_, y)| *y).fold(0.0, f64::min);
        let (step, _) = self.scale.steps(highest.max(-deepest));
        let most = self.scale.within((highest / step * 0.999_9).ceil().max(1.0) * step);
        let least = self.scale.within((deepest / step).floor() * step);
        let x = |value: f64| {
            LEFT + (value - from) / (to - from).max(f64::MIN_POSITIVE) * (WIDTH - LEFT - RIGHT)
        };
        let y = |value: f64| {
            let value = value.clamp(least, most);
            bottom - (value - least) / (most - least) * (bottom - top - 26.0)
        };
        let mut svg = begin(height, self.title, self.about);
        svg.push_str(&legend);
        text(&mut svg, 4.0, top + 6.0, "start", self.y_name);
        let mut tick = least;
        while tick <= most + step * 1e-3 {
            line(&mut svg, "g", LEFT, y(tick), WIDTH - RIGHT, y(tick));
            // Sums of steps miss zero by a hair, and would be written as minus zero.
            let round = if tick.abs() < step * 1e-6 { 0.0 } else { tick };
            let written = self.scale.written(round, self.language);
            text(&mut svg, LEFT - 6.0, y(tick) + 4.0, "end", &written);
            tick += step;
        }
        for (value, label) in &self.x_ticks {
            line(&mut svg, "a", x(*value), bottom, x(*value), bottom + 4.0);
            text(&mut svg, x(*value), bottom + 17.0, "middle", label);
        }
        text(&mut svg, WIDTH - RIGHT, bottom + 36.0, "end", self.x_name);
        for (place, series) in self.series.iter().enumerate() {
            drawn(&mut svg, series, (place, self.series.len()), &x, &y);
        }
        self.marked(&mut svg, (top + 14.0, bottom), &x);
        svg.push_str("</svg>");
        svg
    }

    /// A line and a letter for each mark, and beneath what the letters stand for.
    fn marked(&self, svg: &mut String, (top, bottom): (f64, f64), x: &impl Fn(f64) -> f64) {
        let letter = |place: usize| char::from(b'A' + place as u8);
        let mut last: Option<(f64, String)> = None;
        let mut lettered: Vec<(f64, String)> = Vec::new();
        for (place, mark) in self.marks.iter().enumerate().take(MOST_MARKS) {
            let at = x(mark.x).clamp(LEFT, WIDTH - RIGHT);
            line(svg, "k", at, top, at, bottom);
            match &mut last {
                Some((there, letters)) if at - *there < APART => {
                    let first = letters.chars().next().unwrap_or('A');
                    *letters = format!("{first}–{}", letter(place));
                }
                _ => lettered.extend(last.replace((at, letter(place).to_string()))),
            }
        }
        lettered.extend(last);
        for (at, letters) in &lettered {
            let anchor = if *at > WIDTH - RIGHT - 14.0 { "end" } else { "middle" };
            let _ = write!(
                svg,
                "<text class=\"kn\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{letters}</text>",
                top - 2.0
            );
        }
        let mut under = bottom + 58.0;
        for (place, mark) in self.marks.iter().enumerate().take(MOST_MARKS) {
            text(
                svg,
                4.0,
                under,
                "start",
                &format!("{}  {}", letter(place), shortened(&mark.name)),
            );
            under += 16.0;
        }
        if let Some(more) = self.marks.len().checked_sub(MOST_MARKS).filter(|more| *more > 0) {
            let said = say!(
                self.language,
                "and {more} more, in the table below" | "dan {more} lagi, dalam tabel di bawah"
            );
            text(svg, 4.0, under, "start", &said);
        }
    }
}

/// As much of a name as a line under a chart has room for.
fn shortened(name: &str) -> String {
    const MOST: usize = ((WIDTH - 22.0) / CHARACTER) as usize;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    let kept: String = name.chars().take(MOST - 1).collect();
    format!("{}…", kept.trim_end())
}

/// A line, and marks on it: of many points a few, each line's at other places, so that they
/// are told apart without colour, also where one lies on another.
fn drawn(
    svg: &mut String,
    series: &Series,
    (place, all): (usize, usize),
    x: &impl Fn(f64) -> f64,
    y: &impl Fn(f64) -> f64,
) {
    let points: Vec<String> =
        series.points.iter().map(|(px, py)| format!("{:.1},{:.1}", x(*px), y(*py))).collect();
    let look = series.look % LOOKS;
    let _ = write!(svg, "<polyline class=\"l s{look} d{look}\" points=\"{}\"/>", points.join(" "));
    let count = series.points.len();
    let few = (0..MARKS).map(|i| (i * all + place) * count / (MARKS * all));
    let marks: Vec<usize> =
        if series.marked || count <= MARKS { (0..count).collect() } else { few.collect() };
    for (px, py) in marks.into_iter().filter_map(|i| series.points.get(i)) {
        marker(svg, look, x(*px), y(*py));
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
    pub language: Language,
    pub title: &'a str,
    pub about: &'a str,
    pub rows: Vec<Row>,
    /// What the hollow mark is; none: there is none.
    pub reference: Option<&'a str>,
    /// A line across, as at an even hand.
    pub across: Option<f64>,
    pub scale: Scale,
    /// The whole of what there can be, whatever the figures: shares up to 100 %.
    pub is_whole: bool,
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
    pub fn chart(&self, caption: &str) -> Option<Chart> {
        chart(self.title, caption, (!self.rows.is_empty()).then(|| self.draw()))
    }

    /// Where the axis begins and ends, and its ticks.
    fn axis(&self) -> (f64, f64, Vec<f64>) {
        let ends = || self.rows.iter().flat_map(|row| [row.low, row.high, row.mean]);
        let references = self.rows.iter().filter_map(|row| row.reference);
        // Around the line across, else from 0.
        let (from, step, to, first) = match self.across {
            Some(across) => {
                let apart = ends().map(|end| (end - across).abs()).fold(0.0, f64::max);
                let (step, most) = Scale::Signed.steps(apart);
                let from = self.scale.within(across - most);
                let step = step * 2.0;
                (from, step, across + most, across - ((across - from) / step + 1e-9).floor() * step)
            }
            None if self.is_whole && self.scale == Scale::Share => (0.0, 0.25, 1.0, 0.0),
            None => {
                let (step, most) = self.scale.steps(ends().chain(references).fold(0.0, f64::max));
                (0.0, step, most, 0.0)
            }
        };
        let ticks = (0..64).map(|n| first + f64::from(n) * step);
        (from, to, ticks.take_while(|tick| *tick <= to + step * 1e-3).collect())
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
        let (from, most, ticks) = self.axis();
        let (left, right) = (12.0, 20.0);
        let x = |value: f64| {
            left + (value.clamp(from, most) - from) / (most - from) * (WIDTH - left - right)
        };
        let mut svg = begin(bottom + 24.0, self.title, self.about);
        svg.push_str(&legend);
        for tick in ticks {
            line(&mut svg, "g", x(tick), top, x(tick), bottom);
            let written = self.scale.written(tick, self.language);
            text(&mut svg, x(tick), bottom + 16.0, "middle", &written);
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

pub(crate) fn chart(title: &str, about: &str, svg: Option<String>) -> Option<Chart> {
    svg.map(|svg| Chart { title: title.to_owned(), about: about.to_owned(), svg: Some(svg) })
}

/// What it is called and what it shows stand in it for those who cannot see it.
pub(crate) fn begin(height: f64, title: &str, about: &str) -> String {
    let (title, about) = (escaped(title), escaped(about));
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{title}. {about}\">\
         <title>{title}</title><desc>{about}</desc>"
    )
}

pub(crate) fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = escaped(words);
    let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

pub(crate) fn line(svg: &mut String, class: &str, x1: f64, y1: f64, x2: f64, y2: f64) {
    let _ = write!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

/// A circle, square, triangle, diamond, cross or inverted triangle.
pub(crate) fn marker(svg: &mut String, look: usize, x: f64, y: f64) {
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
pub(crate) fn legend(names: &[(&str, usize)], dashes: bool) -> (String, f64) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(scale: Scale, points: Vec<(f64, f64)>) -> Lines<'static> {
        let series = vec![Series { name: "one".into(), points, look: 0, marked: true }];
        let (language, title, about) = (Language::English, "Title", "");
        let (x_ticks, marks) = (vec![], vec![]);
        Lines { language, title, about, series, x_name: "", y_name: "", x_ticks, scale, marks }
    }

    #[test]
    fn what_is_below_zero_stays_on_the_chart() {
        let svg = lines(Scale::Signed, vec![(1.0, -0.03), (2.0, 0.08)]).draw();
        assert!(
            svg.contains(">-0.04<") && svg.contains(">0.08<") && !svg.contains(">-0.00<"),
            "{svg}"
        );
    }

    #[test]
    fn names_cannot_break_out_of_the_page() {
        assert_eq!(escaped("<b a=\"x\">&"), "&lt;b a=&quot;x&quot;&gt;&amp;");
        let rows = Rows {
            language: Language::English,
            title: "</svg><script>",
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
            scale: Scale::Amount,
            is_whole: false,
        };
        let svg = rows.draw();
        assert!(!svg.contains("<script") && !svg.contains("<i>"), "{svg}");
        assert_eq!(svg.matches("</text>").count(), svg.matches("<text").count());
    }

    #[test]
    fn no_axis_has_ticks_of_what_cannot_be() {
        // One booking has no half.
        let one = lines(Scale::Count, vec![(0.0, 0.0), (1.0, 1.0)]).draw();
        assert!(one.contains(">1<") && !one.contains(">0.5<"), "{one}");
        let row = |mean, low, high| Row::new("a", mean, String::new(), 0).within(low, high);
        let axis = |rows, across, scale| {
            let (language, title, about) = (Language::English, "", "");
            let rows = Rows {
                language,
                title,
                about,
                rows,
                reference: None,
                across,
                scale,
                is_whole: false,
            };
            rows.axis()
        };
        // An interval that chance would let go beyond everything.
        let (from, to, ticks) = axis(vec![row(0.944, 0.24, 1.65)], None, Scale::Share);
        assert_eq!((from, to, ticks), (0.0, 1.0, vec![0.0, 0.5, 1.0]));
        // Six times the average on one side; on the other there is no less than none.
        let (from, to, ticks) = axis(vec![row(6.4, 6.0, 7.0)], Some(1.0), Scale::Amount);
        assert_eq!((from, to), (0.0, 7.0));
        assert_eq!(ticks, [1.0, 5.0]);
    }

    #[test]
    fn what_was_done_is_marked_and_named_beneath() {
        let mark = |x, name: &str| Mark { x, name: name.into() };
        let mut chart = lines(Scale::Count, vec![(0.0, 5.0), (10.0, 0.0)]);
        chart.marks =
            vec![mark(1.0, "quota <80>"), mark(1.1, "closed"), mark(9.0, &"x".repeat(99))];
        let svg = chart.draw();
        assert_eq!(svg.matches("class=\"k\"").count(), 3);
        for part in [">A–B<", ">C<", ">A  quota &lt;80&gt;<", ">B  closed<", "xx…<"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        chart.marks = (0..10).map(|n| mark(f64::from(n), "m")).collect();
        assert!(chart.draw().contains("and 2 more, in the table below"));
    }
}
