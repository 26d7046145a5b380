//! Bars made of parts, under each other on one axis.

use std::fmt::Write as _;

use crate::axis::Scale;
use crate::document::Chart;
use crate::language::Language;
use crate::svg::{LOOKS, WIDTH, begin, chart, escaped, legend, line, marker, text};

/// Height of a bar, in the chart's units.
const HEIGHT: f64 = 13.0;
/// A part that is narrower has no room for its mark.
const MARKED_FROM: f64 = 13.0;

/// A whole and its parts, in the order of the chart's names.
pub struct Bar {
    pub name: String,
    /// Not negative; 0: there is no such part.
    pub parts: Vec<f64>,
    /// The whole, as it is written.
    pub shown: String,
}

/// Bars on one axis from 0; parts differ in mark as well as in colour.
pub struct Stacks<'a> {
    pub language: Language,
    pub title: &'a str,
    /// For those who cannot see it.
    pub about: &'a str,
    /// What the parts are, up to six.
    pub names: &'a [&'a str],
    pub bars: Vec<Bar>,
    pub scale: Scale,
}

impl Stacks<'_> {
    /// With its title, and in words what it shows. None: there are no bars.
    pub fn chart(&self, caption: &str) -> Option<Chart> {
        chart(self.title, caption, (!self.bars.is_empty()).then(|| self.draw()))
    }

    pub fn draw(&self) -> String {
        const BAR: f64 = 38.0;
        let names: Vec<(&str, usize)> =
            self.names.iter().enumerate().map(|(look, name)| (*name, look)).collect();
        let (legend, top) = legend(&names, false);
        let bottom = top + BAR * self.bars.len() as f64;
        let longest = self.bars.iter().map(|bar| bar.parts.iter().sum()).fold(0.0, f64::max);
        let (step, most) = self.scale.steps(longest);
        let (left, right) = (12.0, 20.0);
        let x = |value: f64| left + value / most * (WIDTH - left - right);
        let mut svg = begin(bottom + 24.0, self.title, self.about);
        svg.push_str(&legend);
        let ticks = (0..64).map(|n| f64::from(n) * step);
        for tick in ticks.take_while(|tick| *tick <= most + step * 1e-3) {
            line(&mut svg, "g", x(tick), top, x(tick), bottom);
            let written = self.scale.written(tick, self.language);
            text(&mut svg, x(tick), bottom + 16.0, "middle", &written);
        }
        for (i, bar) in self.bars.iter().enumerate() {
            let base = top + BAR * i as f64;
            text(&mut svg, left, base + 13.0, "start", &bar.name);
            let _ = write!(
                svg,
                "<text class=\"v\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - right,
                base + 13.0,
                escaped(&bar.shown)
            );
            parts(&mut svg, bar, base + 19.0, &x);
        }
        svg.push_str("</svg>");
        svg
    }
}

/// The parts, each behind the one before it.
fn parts(svg: &mut String, bar: &Bar, top: f64, x: &impl Fn(f64) -> f64) {
    let mut from = 0.0;
    for (place, part) in bar.parts.iter().enumerate().filter(|(_, part)| **part > 0.0) {
        let (look, begin, end) = (place % LOOKS, x(from), x(from + part));
        let _ = write!(
            svg,
            "<rect class=\"m f{look}\" x=\"{begin:.1}\" y=\"{top:.1}\" width=\"{:.1}\" \
             height=\"{HEIGHT}\"/>",
            end - begin
        );
        if end - begin >= MARKED_FROM {
            marker(svg, look, f64::midpoint(begin, end), top + HEIGHT / 2.0);
        }
        from += part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(parts: Vec<f64>) -> String {
        let (language, names) = (Language::English, &["a", "<b>", "c"][..]);
        let bars = vec![Bar { name: "one".into(), parts, shown: "10 µs".into() }];
        Stacks { language, title: "", about: "", names, bars, scale: Scale::Amount }.draw()
    }

    #[test]
    fn parts_follow_each_other_and_none_is_drawn_for_nothing() {
        let svg = drawn(vec![4.0, 0.0, 6.0]);
        for part in [
            "<rect class=\"m f0\" x=\"12.0\" y=\"45.0\" width=\"123.2\"",
            "<rect class=\"m f2\" x=\"135.2\" y=\"45.0\" width=\"184.8\"",
            ">10 µs</text>",
            "&lt;b&gt;",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert_eq!(svg.matches("<rect").count(), 2);
    }

    #[test]
    fn a_narrow_part_has_no_mark() {
        let marks = |parts| drawn(parts).matches("<path").count();
        // Three of them stand in the legend.
        assert_eq!((marks(vec![5.0, 5.0]), marks(vec![9.9, 0.1])), (5, 4));
    }
}
