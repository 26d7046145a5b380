//! What a report in two languages is held to: each says everything in its own words, and both
//! tell the same numbers.

use std::collections::BTreeSet;

/// Words that English sentences have, and Indonesian ones do not.
const ENGLISH: [&str; 34] = [
    "the", "of", "and", "is", "are", "was", "were", "with", "by", "from", "that", "not", "no",
    "under", "for", "to", "who", "what", "their", "they", "in", "on", "it", "be", "have", "has",
    "place", "places", "request", "requests", "known", "people", "scalpers", "rejected",
];
/// The other way round.
const INDONESIAN: [&str; 24] = [
    "yang",
    "dan",
    "dari",
    "adalah",
    "tidak",
    "untuk",
    "dengan",
    "pada",
    "oleh",
    "atau",
    "mereka",
    "tempat",
    "permintaan",
    "calo",
    "warga",
    "saat",
    "sudah",
    "belum",
    "angka",
    "diketahui",
    "detik",
    "rombongan",
    "ditolak",
    "dibuka",
];

/// What is wrong with two texts, or pages, that say the same in English and in Indonesian.
/// `names`: texts from elsewhere, which stand as they are in both.
pub fn differences(english: &str, indonesian: &str, names: &[&str]) -> Vec<String> {
    let mut wrong = mixtures(english, indonesian, names);
    let (english, indonesian) = (plain(english, names), plain(indonesian, names));
    let (mut there, mut here) = (numbers(&english, [',', '.']), numbers(&indonesian, ['.', ',']));
    there.sort_unstable();
    here.sort_unstable();
    if there != here {
        let missing = |of: &[String], from: &[String]| {
            let count = |list: &[String], n: &String| list.iter().filter(|m| *m == n).count();
            let more = of.iter().filter(|n| count(of, n) > count(from, n));
            let more: BTreeSet<&String> = more.collect();
            more.into_iter()
                .map(|n| format!("{n} ({} and {} times)", count(of, n), count(from, n)))
                .collect::<Vec<String>>()
                .join(" ")
        };
        wrong.push(format!("only in English: {}", missing(&there, &here)));
        wrong.push(format!("only in Indonesian: {}", missing(&here, &there)));
    }
    wrong
}

/// Words of one language in a text of the other. A terminal's tables may be parted otherwise in
/// each language, and so repeat other names and numbers.
pub fn mixtures(english: &str, indonesian: &str, names: &[&str]) -> Vec<String> {
    let in_english = strange(&plain(english, names), &INDONESIAN);
    let in_indonesian = strange(&plain(indonesian, names), &ENGLISH);
    let wrong =
        in_english.into_iter().map(|said| format!("Indonesian in the English text: {said}"));
    let other = in_indonesian.into_iter();
    wrong.chain(other.map(|said| format!("English in the Indonesian text: {said}"))).collect()
}

/// Each of these words that is in a text, with what stands around it.
fn strange(text: &str, words: &[&str]) -> BTreeSet<String> {
    let said: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
    let is_strange = |at: &usize| words.contains(&&*said[*at].to_lowercase());
    let around = |at: usize| {
        said[at.saturating_sub(3)..(at + 4).min(said.len())].join(" ").trim().to_owned()
    };
    (0..said.len()).filter(is_strange).map(around).collect()
}

/// Without tags, styles and names.
fn plain(page: &str, names: &[&str]) -> String {
    let mut text = String::new();
    for (at, part) in page.split('<').enumerate() {
        let (tag, said) =
            if at == 0 { ("", part) } else { part.split_once('>').unwrap_or(("", part)) };
        if !tag.starts_with("style") {
            text.push(' ');
            text.push_str(said);
        }
    }
    names.iter().fold(text, |text, name| text.replace(name, " "))
}

/// The numbers of a text, written alike: a group's sign taken out, the point a point. What has
/// no three digits behind a group's sign is a time of day, or the end of a sentence.
fn numbers(text: &str, [group, point]: [char; 2]) -> Vec<String> {
    let mut found = Vec::new();
    for run in text.split(|c: char| !c.is_ascii_digit() && c != group && c != point) {
        let run = run.trim_matches([group, point]);
        let (whole, behind) = run.split_once(point).unwrap_or((run, ""));
        let groups: Vec<&str> = whole.split(group).collect();
        if groups[1..].iter().all(|digits| digits.len() == 3) && !behind.contains([group, point]) {
            let point = if behind.is_empty() { "" } else { "." };
            found.push(format!("{}{point}{behind}", groups.concat()));
        } else {
            found.extend(run.split([group, point]).map(str::to_owned));
        }
    }
    found.retain(|number| !number.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told() {
        let same =
            |english: &str, indonesian: &str| differences(english, indonesian, &["At <Sea>"]);
        let (english, indonesian) = (
            "<p class=\"the\">At 14:00:07, 1,234.5 of 12,000 asked, 19.2 %.</p>",
            "<p class=\"the\">Pukul 14.00.07, 19,2 % dari 12.000 meminta 1.234,5.</p>",
        );
        assert_eq!(same(english, indonesian), Vec::<String>::new());
        let wrong = same(english, "<p>Pukul 14.00.07, 19,3 % of 12.000 1.234,5</p>");
        assert_eq!(
            wrong,
            [
                "English in the Indonesian text: 3   of 12 000 1",
                "only in English: 19.2 (1 and 0 times)",
                "only in Indonesian: 19.3 (1 and 0 times)"
            ]
        );
        assert_eq!(same("yang", "yang"), ["Indonesian in the English text: yang"]);
    }
}
