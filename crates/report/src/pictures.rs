//! The charts of a report as files of their own, for other pages.

use crate::page::STYLE;
use crate::svg::escaped;

/// Begins of those lines of the page's style that a chart needs by itself.
const NEEDED: [&str; 6] = [":root", "@media (prefers", "svg ", ".s0", ".f0", ".d1"];

/// Every chart of a report's page: a file's name, after the chart's title, and its
/// content. `made_by`: the command, which the file names.
pub fn pictures(page: &str, made_by: &str) -> Vec<(String, String)> {
    let mut pictures: Vec<(String, String)> = Vec::new();
    for figure in page.split("<figure><h3>").skip(1) {
        let Some((title, rest)) = figure.split_once("</h3>") else { continue };
        // A figure may say in words why there is no chart.
        let chart = rest.strip_prefix("<svg ").and_then(|rest| rest.split_once("</svg>"));
        let Some((chart, _)) = chart else { continue };
        let stem = stem(title);
        let again = |name: &String| pictures.iter().any(|(other, _)| other == name);
        let name =
            (1..).map(|n| if n == 1 { format!("{stem}.svg") } else { format!("{stem}-{n}.svg") });
        let Some(name) = name.take(pictures.len() + 1).find(|name| !again(name)) else { continue };
        pictures.push((name, alone(chart, made_by)));
    }
    pictures
}

/// A chart, from its attributes on, as a file.
fn alone(chart: &str, made_by: &str) -> String {
    let style: String =
        STYLE.lines().filter(|line| NEEDED.iter().any(|begin| line.starts_with(begin))).collect();
    let (attributes, marks) = chart.split_once('>').unwrap_or((chart, ""));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" {attributes}>\
         <desc>Made by: {}</desc>\
         <style>svg{{font-family:system-ui,sans-serif}}{style}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"var(--bg)\"/>{marks}</svg>\n",
        escaped(made_by)
    )
}

/// A title as a file's name.
fn stem(title: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let title = title.replace("&#39;", "").replace("&apos;", "").replace('\'', "");
    let dashed: String = title.chars().map(plain).collect();
    let words: Vec<&str> = dashed.split('-').filter(|word| !word.is_empty()).collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_stands_alone_and_says_what_made_it() {
        let page = "<figure><h3>Places in scalpers' hands</h3>\
            <svg viewBox=\"0 0 380 9\" role=\"img\" aria-label=\"x\"><text>a</text></svg>\
            <figcaption>b</figcaption></figure><figure><h3>Refusals</h3><figcaption>not known\
            </figcaption></figure><figure><h3>Places in scalpers' hands</h3><svg >c</svg></figure>";
        let pictures = pictures(page, "giliran fairness --seeds 1 <&>");
        let names: Vec<&str> = pictures.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["places-in-scalpers-hands.svg", "places-in-scalpers-hands-2.svg"]);
        let (_, first) = &pictures[0];
        for part in [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 380 9\"",
            "<desc>Made by: giliran fairness --seeds 1 &lt;&amp;&gt;</desc>",
            "prefers-color-scheme:dark",
            "svg text{",
            "<text>a</text></svg>\n",
        ] {
            assert!(first.contains(part), "{part}: {first}");
        }
    }
}
