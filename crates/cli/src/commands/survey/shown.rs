//! A picture for people: a screen, a line, a list.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use giliran_survey::judge::length;
use giliran_wire::Timestamp;
use giliran_wire::answer::Phase;
use giliran_wire::picture::{Check, Judged, Known, Opening, Picture, Places, Process, Verdict};
use giliran_wire::service::Standing;

/// Whether whoever reads standard output sees colours.
pub(crate) fn in_colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// A verdict in a word of one width.
fn word(verdict: Verdict, colour: bool) -> String {
    let (word, code) = match verdict {
        Verdict::Go => ("go    ", 32),
        Verdict::NoGo => ("NO GO ", 31),
        Verdict::Unknown => ("?     ", 33),
        Verdict::Waived => ("waived", 36),
    };
    if colour { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() }
}

/// What comes from a process goes to a terminal: without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn row(out: &mut String, check: &Check, colour: bool) {
    let Check { name, verdict, found, remedy } = check;
    let _ = writeln!(out, "{}  {name:<14}  {}", word(*verdict, colour), plain(found));
    if let Some(remedy) = remedy {
        let _ = writeln!(out, "{:8}{:<14}  → {remedy}", "", "");
    }
}

/// Every check, and what they come to.
pub(crate) fn list(judged: &Judged, colour: bool) -> String {
    let mut out = String::new();
    for check in &judged.checks {
        row(&mut out, check, colour);
    }
    let count = |verdict| judged.checks.iter().filter(|check| check.verdict == verdict).count();
    let (red, unknown) = (count(Verdict::NoGo), count(Verdict::Unknown));
    let id = judged.opening.as_deref().unwrap_or_default();
    let verdict = if judged.go { Verdict::Go } else { Verdict::NoGo };
    let waived = match count(Verdict::Waived) {
        0 => String::new(),
        n => format!(", {n} on your word"),
    };
    let _ = match judged.go {
        true => writeln!(out, "{}  opening {id}{waived}", word(verdict, colour)),
        false => writeln!(
            out,
            "{}  opening {id}: {red} red, {unknown} could not be looked at{waived}",
            word(verdict, colour)
        ),
    };
    out
}

/// Everything on one screen.
pub(crate) fn screen(judged: &Judged, colour: bool) -> String {
    let picture = &judged.picture;
    let mut out = String::new();
    let _ = writeln!(out, "{} at {}", picture.prefix, picture.taken_at);
    match &picture.openings {
        Known::Known(openings) => {
            for opening in &openings.openings {
                let _ = writeln!(out);
                one_opening(&mut out, opening, openings.now);
            }
            if openings.openings.is_empty() {
                let _ = writeln!(out, "\nno opening is in the engine's memory");
            }
        }
        Known::Unknown(why) => {
            let _ = writeln!(out, "\nopenings: not known: {}", plain(why));
        }
    }
    if let Some(rates) = &picture.rates {
        let words: Vec<String> =
            rates.per_second.iter().map(|(name, rate)| format!("{name} {rate}")).collect();
        let words = if words.is_empty() { "none".to_owned() } else { words.join(", ") };
        let _ = writeln!(out, "\nanswers a second: {}", plain(&words));
        if let Some(took) = &rates.grants {
            let (half, most) = (took.p50_us as f64 / 1e3, took.p99_us as f64 / 1e3);
            let _ = writeln!(out, "grants: half within {half:.1} ms, 99 % within {most:.1} ms");
        }
    }
    processes(&mut out, picture);
    broker(&mut out, picture);
    let _ = writeln!(out);
    let off: Vec<&Check> =
        judged.checks.iter().filter(|check| check.verdict != Verdict::Go).collect();
    for check in &off {
        row(&mut out, check, colour);
    }
    let green = judged.checks.len() - off.len();
    let _ = writeln!(out, "{green} of {} checks are green", judged.checks.len());
    out
}

/// Begin or end of an opening, counted from now.
fn countdown(opening: &Opening, now: Timestamp) -> String {
    let offers = &opening.offers;
    match offers.state {
        Phase::Scheduled => {
            format!(
                "opens in {}, at {}",
                length(offers.opens_at.millis_since(now)),
                offers.opens_at
            )
        }
        Phase::Open => {
            let left = length(offers.closes_at.millis_since(now));
            format!("open for {left}, until {}", offers.closes_at)
        }
        Phase::Closed => format!("closed since {}", offers.closes_at),
    }
}

fn one_opening(out: &mut String, opening: &Opening, now: Timestamp) {
    let _ = writeln!(out, "opening {}  {}", opening.offers.id, countdown(opening, now));
    let _ = writeln!(
        out,
        "  {:<24} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "", "free", "taken", "withheld", "reserved", "quota"
    );
    let mut line = |name: &str, places: &Places| {
        let Places { quota, taken, free, withheld, reserved } = places;
        let _ = writeln!(
            out,
            "  {name:<24} {free:>8} {taken:>8} {withheld:>8} {reserved:>8} {quota:>8}"
        );
    };
    line("all", &opening.places);
    opening.offices.iter().for_each(|(office, places)| line(office, places));
    opening.days.iter().for_each(|(day, places)| line(&day.to_string(), places));
    let halted = opening.slots.iter().filter(|slot| slot.halted).count();
    if halted > 0 {
        let _ = writeln!(out, "  {halted} of {} slots are halted", opening.slots.len());
    }
}

fn processes(out: &mut String, picture: &Picture) {
    let processes = match &picture.processes {
        Known::Known(processes) => processes,
        Known::Unknown(why) => {
            let _ = writeln!(out, "\nprocesses: not known: {}", plain(why));
            return;
        }
    };
    let _ = writeln!(
        out,
        "\n{:<24} {:<18} {:>5} {:>10} {:>8} {:>8} {:>9} {:>8}  release",
        "process", "state", "epoch", "sequence", "behind", "for", "clock", "backlog"
    );
    for process in processes {
        let Process { version, standing, .. } = process;
        let Standing { role, instance, state, epoch, seq, lag_blocks, lag_ms, .. } = standing;
        let known = |n: &Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
        let offset = standing.clock_offset_ms.map_or("-".to_owned(), |ms| format!("{ms:+} ms"));
        let name = instance.as_ref().map_or(role.clone(), |name| format!("{role} {name}"));
        let _ = writeln!(
            out,
            "{:<24} {:<18} {:>5} {:>10} {:>8} {:>8} {:>9} {:>8}  {}",
            plain(&name),
            plain(state),
            known(epoch),
            known(seq),
            known(lag_blocks),
            lag_ms.map_or("-".to_owned(), length),
            offset,
            known(&standing.backlog),
            plain(version)
        );
    }
}

fn broker(out: &mut String, picture: &Picture) {
    match &picture.streams {
        Known::Known(streams) => {
            let _ = writeln!(
                out,
                "\n{:<32} {:>10} {:>12} {:>8}  leader",
                "stream", "messages", "bytes", "replicas"
            );
            for stream in streams {
                let current = stream.followers.iter().filter(|one| one.current).count() + 1;
                let _ = writeln!(
                    out,
                    "{:<32} {:>10} {:>12} {:>8}  {}",
                    stream.name,
                    stream.messages,
                    stream.bytes,
                    format!("{current}/{}", stream.replicas),
                    stream.leader.as_deref().unwrap_or("-")
                );
            }
        }
        Known::Unknown(why) => {
            let _ = writeln!(out, "\nstreams: not known: {}", plain(why));
        }
    }
    for server in &picture.servers {
        let said = match &server.said {
            Known::Known(said) => {
                let sync = if said.sync_always { "syncs" } else { "does not sync" };
                let limit = said.storage.limit.map_or("no bound".to_owned(), |n| n.to_string());
                let used = said.storage.used;
                format!("{} {}: {sync}, {used} bytes of {limit}", said.name, said.version)
            }
            Known::Unknown(why) => format!("{}: {why}", server.monitor),
        };
        let _ = writeln!(out, "server {}", plain(&said));
    }
}

/// The same in a line, for where no terminal is.
pub(crate) fn line(judged: &Judged) -> String {
    let picture = &judged.picture;
    let openings = picture.openings.found().into_iter().flat_map(|found| &found.openings);
    let places = openings.map(|one| format!("{} free {}", one.offers.id, one.places.free));
    let rates = picture.rates.iter().flat_map(|rates| &rates.per_second);
    let rates = rates.map(|(name, rate)| format!("{name} {rate}/s"));
    let off = judged.checks.iter().filter(|check| check.verdict == Verdict::NoGo);
    let off = off.map(|check| format!("NO GO {}", check.name));
    let words: Vec<String> = places.chain(rates).chain(off).collect();
    plain(&format!("{}  {}", picture.taken_at, words.join(", ")))
}
