//! The charts of a report as files of their own, for other pages.

use crate::document::{Chart, Document, Part};
use crate::page::STYLE;
use crate::svg::escaped;

/// Begins of those lines of the page's style that a chart needs by itself.
const NEEDED: [&str; 6] = [":root", "@media (prefers", "svg ", ".s0", ".f0", ".d1"];

/// Every chart of a page: a file's name, after the chart's title, and its content.
pub(crate) fn pictures(page: &Document, made_by: &str) -> Vec<(String, String)> {
    let mut pictures: Vec<(String, String)> = Vec::new();
    let charts = page.parts.iter().flat_map(|part| match part {
        Part::Charts(charts) => charts.as_slice(),
        Part::Head(head) => head.picture.as_slice(),
        _ => &[],
    });
    for Chart { title, svg, .. } in charts {
        // It may say in words why there is no chart.
        let Some(svg) = svg else { continue };
        let stem = stem(title);
        let again = |name: &String| pictures.iter().any(|(other, _)| other == name);
        let name =
            (1..).map(|n| if n == 1 { format!("{stem}.svg") } else { format!("{stem}-{n}.svg") });
        let Some(name) = name.take(pictures.len() + 1).find(|name| !again(name)) else { continue };
        pictures.push((name, alone(svg, made_by)));
    }
    pictures
}

/// A chart as a file.
fn alone(chart: &str, made_by: &str) -> String {
    let style: String =
        STYLE.lines().filter(|line| NEEDED.iter().any(|begin| line.starts_with(begin))).collect();
    let (begin, marks) = chart.split_once('>').unwrap_or((chart, ""));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\"{}>\
         <metadata>Made by: {}</metadata>\
         <style>svg{{font-family:system-ui,sans-serif}}{style}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"var(--bg)\"/>{marks}\n",
        begin.trim_start_matches("<svg"),
        escaped(made_by)
    )
}

/// A title as a file's name.
fn stem(title: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let title = title.replace('\'', "");
    let dashed: String = title.chars().map(plain).collect();
    let words: Vec<&str> = dashed.split('-').filter(|word| !word.is_empty()).collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_stands_alone_and_says_what_made_it() {
        let chart = |title: &str, svg: Option<&str>| {
            Some(Chart { title: title.into(), about: "b".into(), svg: svg.map(str::to_owned) })
        };
        let drawn = "<svg viewBox=\"0 0 380 9\" role=\"img\" aria-label=\"x\">\
            <text>a</text></svg>";
        let mut page = Document::default();
        page.charts([chart("Places in scalpers' hands", Some(drawn)), chart("Rejections", None)]);
        page.charts([chart("Places in scalpers' hands", Some("<svg >c</svg>"))]);
        let pictures = pictures(&page, "giliran fairness --seeds 1 <&>");
        let names: Vec<&str> = pictures.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["places-in-scalpers-hands.svg", "places-in-scalpers-hands-2.svg"]);
        let (_, first) = &pictures[0];
        for part in [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 380 9\"",
            "<metadata>Made by: giliran fairness --seeds 1 &lt;&amp;&gt;</metadata>",
            "prefers-color-scheme:dark",
            "svg text{",
            "<text>a</text></svg>\n",
        ] {
            assert!(first.contains(part), "{part}: {first}");
        }
    }
}
