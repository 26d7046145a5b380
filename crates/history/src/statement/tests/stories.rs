//! Stories of openings: what may have happened, what is oversold, and what cannot be.

use giliran_verify::statement::{SOLD_OUT, check, hashed};
use giliran_wire::Timestamp;

use super::super::*;
use super::{judged, written};
use crate::tests::OPENS;

/// What a story of an opening comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    /// It may have happened, with so many places oversold.
    Oversold(u64),
    /// It cannot have happened: from this block on, the first is 1.
    Not(usize),
}
use Verdict::{Not, Oversold};

/// Blocks, and in them changes of two slots of 3 and 2 places: what, slot, places or
/// `to` or second, withheld or count. What an engine may write is not oversold.
const STORIES: &[(&str, Verdict)] = &[
    ("opened | granted 0 3 | closed", Oversold(0)),
    ("opened | granted 0 4 | closed", Oversold(1)),
    ("opened | granted 0 4 | quota 0 9", Oversold(1)),
    ("opened; granted 0 1; granted 1 2; closed", Oversold(0)),
    ("opened | granted 0 1 | closed | opened | granted 0 2 | closed", Oversold(0)),
    // Drawn, and given to those who wait, once it has closed.
    ("opened | closed | granted 0 3", Oversold(0)),
    ("granted 0 1 | opened", Not(1)),
    ("closed", Not(1)),
    ("opened | opened", Not(2)),
    ("opened | closed | closed", Not(3)),
    // Reserved, halted.
    ("opened | reserved 0 3 | granted 0 3", Oversold(3)),
    ("opened | reserved 0 2 | granted 0 2", Oversold(1)),
    ("opened | reserved 0 2 | granted 0 1", Oversold(0)),
    ("opened | granted 0 3 | reserved 0 3", Oversold(0)),
    ("opened | halted 0 1 | granted 0 2", Oversold(2)),
    ("opened | granted 0 1 | halted 0 1 | halted 0 0 | granted 0 2", Oversold(0)),
    ("opened | granted 0 1 | halted 1 1 | moved_in 1 1; moved_out 0 1 0", Oversold(1)),
    // A quota that was lowered is a debt.
    ("opened | granted 0 3 | quota 0 1", Oversold(0)),
    ("opened | granted 0 2 | quota 0 1 | granted 0 1", Oversold(1)),
    ("opened | granted 0 2 | quota 0 1 | granted 0 1 | granted 0 1", Oversold(2)),
    ("opened | quota 0 0 | granted 0 3", Oversold(3)),
    ("opened | quota 0 65535 | granted 0 65535", Oversold(0)),
    ("opened | quota 0 70000", Not(2)),
    ("opened | reserved 0 70000", Not(2)),
    // Withheld places are released to those who get them.
    ("opened | granted 0 3 | cancelled 0 3 3 | granted 0 3", Oversold(3)),
    ("opened | granted 0 3 | cancelled 0 3 3 | released 0 1 | granted 0 3", Oversold(2)),
    ("opened | granted 0 3 | cancelled 0 3 3 | released 0 3; granted 0 3", Oversold(0)),
    ("opened | granted 0 3 | cancelled 0 3 3 | released 0 4", Not(4)),
    // They pay a debt first; what is left is drawn, in the block that releases it.
    (
        "opened | granted 0 3 | cancelled 0 3 3 | quota 0 2 | released 0 1; granted 0 1; \
         released 0 1; granted 0 1 | released 0 1",
        Oversold(0),
    ),
    (
        "opened | granted 0 3 | cancelled 0 3 3 | quota 0 2 | released 0 1; granted 0 1; \
         released 0 1; granted 0 1; released 0 1; granted 0 1",
        Oversold(1),
    ),
    (
        "opened | granted 0 3 | cancelled 0 3 3 | quota 0 2 | released 0 1 | granted 0 1",
        Oversold(1),
    ),
    (
        "opened | granted 0 3 | cancelled 0 3 3 | quota 0 3 | reserved 0 2 | released 0 1; \
         granted 0 1; released 0 1; granted 0 1",
        Oversold(1),
    ),
    // A booking moves whole, in one block.
    ("opened | granted 0 1 | moved_in 1 1; moved_out 0 1 0", Oversold(0)),
    ("opened | granted 0 1; granted 1 2 | moved_in 1 1; moved_out 0 1 1", Oversold(1)),
    ("opened | granted 0 2 | moved_in 1 1; moved_out 0 2 0; moved_in 1 1", Oversold(0)),
    ("moved_in 0 1; moved_out 0 1 0 | opened", Not(1)),
    ("opened | granted 0 2 | moved_out 0 1 0", Not(3)),
    ("opened | granted 0 2 | moved_in 1 1", Not(3)),
    ("opened | granted 0 2 | moved_in 1 1 | moved_out 0 1 0", Not(3)),
    ("opened | granted 0 2 | moved_in 1 1; moved_out 0 2 0", Not(3)),
    // A lapsed booking is revived, in its slot and once.
    ("opened | granted 0 1 | expired 0 1 0 | revived 0 1", Oversold(0)),
    ("opened | granted 0 3 | expired 0 2 2 | released 0 2; revived 0 2", Oversold(0)),
    ("opened | granted 0 1 | expired 0 1 0 | granted 0 3 | revived 0 1", Oversold(1)),
    ("opened | revived 0 2", Not(2)),
    ("opened | granted 0 1 | expired 0 1 0 | revived 1 1", Not(4)),
    ("opened | granted 0 2 | expired 0 1 0 | revived 0 2", Not(4)),
    ("opened | granted 0 1 | cancelled 0 1 0 | revived 0 1", Not(4)),
    ("opened | granted 0 1 | expired 0 1 0 | revived 0 1 | revived 0 1", Not(5)),
    // More than there can be.
    ("opened | granted 0 1 | cancelled 0 2 0", Not(3)),
    ("opened | granted 0 1 | cancelled 0 1 2", Not(3)),
    ("opened | granted 2 1", Not(2)),
    ("refused 0 9 18446744073709551615 | opened", Oversold(0)),
    ("refused 0 9 9223372036854775808 | refused 0 9 9223372036854775808", Not(2)),
    ("refused 0 9 9223372036854775808; refused 1 9 9223372036854775808", Not(1)),
];

/// A story's statement, with the sums that a forger would give it.
fn told(story: &str) -> String {
    let mut lines = Lines::default();
    let text = written();
    for line in &super::lines(&text)[..3] {
        lines.last = hashed(&lines.last, line);
        lines.text.push_str(&format!("{} {line}\n", lines.last));
    }
    let mut account = Account::new(2);
    let quotas = [3, 2].map(|quota| {
        account.slot(quota);
        i64::from(quota)
    });
    let mut free = [quotas[0], quotas[1], 0];
    let (mut quotas, mut reserved) = ([quotas[0], quotas[1], 0], [0; 3]);
    let (mut seq, block) = (3, "ab".repeat(32));
    let mut time = Timestamp::from_millis(OPENS);
    for changes in story.split('|') {
        (seq, time) = (seq + 1, Timestamp::from_millis(OPENS + 1_000 * (seq as i64 - 3)));
        let mut said = Vec::new();
        for change in changes.split(';') {
            let words: Vec<&str> = change.split_whitespace().collect();
            let number = |i: usize| words.get(i).map(|word| word.parse::<u64>().unwrap());
            let mut line = ChangeLine { did: words[0].to_owned(), ..ChangeLine::default() };
            line.slot = number(1).map(|slot| slot as u32);
            let slot = line.slot.unwrap_or(0) as usize;
            let n = number(2).unwrap_or(0) as i64;
            match words[0] {
                "opened" | "closed" => {}
                "refused" => {
                    line.reason = Some(SOLD_OUT.to_owned());
                    line.second = Some(OPENS / 1_000 + n);
                    line.count = number(3);
                }
                "quota" | "reserved" | "halted" => {
                    line.to = Some(n as u32);
                    (line.operator, line.why) = (Some("siti".into()), Some("counter".into()));
                    match words[0] {
                        "quota" => free[slot] += n - std::mem::replace(&mut quotas[slot], n),
                        "reserved" => free[slot] -= n - std::mem::replace(&mut reserved[slot], n),
                        _ => {}
                    }
                }
                did => {
                    line.places = Some(n as u32);
                    line.withheld = number(3).map(|n| n as u32);
                    let back = n - number(3).unwrap_or(0) as i64;
                    free[slot] += match did {
                        "granted" | "revived" | "moved_in" => -n,
                        _ => back,
                    };
                }
            }
            if !["opened", "closed", "refused"].contains(&words[0]) {
                line.free = Some(free[slot]);
            }
            if let Ok(change) = line.to_change() {
                let _ = account.apply((seq, time.as_millis()), &change);
            }
            said.push(line);
        }
        let _ = account.end_block();
        lines.add(&BlockLine { seq, time, block: block.clone(), changes: said });
    }
    let end = End { state: account.state().to_owned(), seq, time, block };
    lines.add(&account.closing(end));
    lines.text
}

#[test]
fn what_no_engine_does_is_refused_or_oversold_for_both_checkers() {
    let all: Vec<(String, String, bool)> = STORIES
        .iter()
        .map(|(story, verdict)| ((*story).to_owned(), told(story), matches!(verdict, Oversold(_))))
        .collect();
    let mut wrong = judged(&all);
    for ((story, verdict), (_, text, _)) in STORIES.iter().zip(&all) {
        let found = match check(text) {
            Ok(checked) => Oversold(checked.oversold),
            // The head and two slots come first.
            Err(wrong) => Not(wrong.line - 3),
        };
        if found != *verdict {
            wrong.push(format!("{story}: {found:?}, not {verdict:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}
