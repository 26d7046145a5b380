//! `[[office]]` and its sessions.

use giliran_wire::request::is_id;
use giliran_wire::{Date, is_printable};
use jiff::civil::Weekday;
use toml::de::DeValue;

use crate::problems::{self, Report, Section};

/// An office and what it offers a day.
#[derive(Debug, Clone)]
pub struct Office {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) sessions: Vec<Session>,
}

impl Office {
    /// Places of its largest slot.
    pub(crate) fn largest(&self) -> Option<u16> {
        self.sessions.iter().filter_map(|session| session.quota.largest()).max()
    }
}

/// A part of an office's day.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) quota: Quota,
    pub(crate) restricted: bool,
    pub(crate) explicit: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Quota {
    /// The same every day.
    Daily(u16),
    /// By weekday; none on those not named.
    ByWeekday(Vec<(Weekday, u16)>),
}

impl Quota {
    fn largest(&self) -> Option<u16> {
        match self {
            Self::Daily(places) => Some(*places),
            Self::ByWeekday(days) => days.iter().map(|(_, places)| *places).max(),
        }
    }

    pub(crate) fn on(&self, day: Weekday) -> Option<u16> {
        match self {
            Self::Daily(places) => Some(*places),
            Self::ByWeekday(days) => {
                days.iter().find(|(weekday, _)| *weekday == day).map(|(_, places)| *places)
            }
        }
    }
}

/// Whether any office has places on that day.
pub(crate) fn has_places(offices: &[Office], date: Date) -> bool {
    let on = |session: &Session| session.quota.on(date.civil().weekday()).is_some();
    offices.iter().any(|office| office.sessions.iter().any(on))
}

/// The longest name or label, in bytes.
const MAX_WORDS_BYTES: usize = 200;
/// Places of a slot.
const QUOTA: std::ops::RangeInclusive<i64> = 1..=65_535;

pub(crate) fn read(root: &mut Section<'_>, report: &mut Report<'_>) -> Vec<Office> {
    let sections = root.sections("office", report);
    if root.has_none("office") {
        let span = root.span_of("office").unwrap_or(0..0);
        report.add(&span, "office", "there is none: at least one [[office]] is needed".into());
    }
    let mut offices: Vec<Office> = Vec::new();
    for mut section in sections {
        let id = id(&mut section, report);
        let name = words(&mut section, "name", report);
        let sessions = sessions(&mut section, report);
        if let Some((id, span)) = id {
            if offices.iter().any(|office| office.id == id) {
                report.add(&span, &section.path("id"), format!("a second office `{id}`"));
            }
            let name = name.unwrap_or_else(|| id.clone());
            offices.push(Office { id, name, sessions });
        }
        section.finish(report);
    }
    offices
}

fn id(
    section: &mut Section<'_>,
    report: &mut Report<'_>,
) -> Option<(String, std::ops::Range<usize>)> {
    let (id, span) = section.needed_text("id", report)?;
    if !is_id(id) {
        let message = format!("`{id}` is not an id; expected 1 to 40 of a-z, 0-9 and -");
        report.add(&span, &section.path("id"), message);
        return None;
    }
    Some((id.to_owned(), span))
}

/// A text for people, which goes into ledger and stores.
fn words(
    section: &mut Section<'_>,
    field: &'static str,
    report: &mut Report<'_>,
) -> Option<String> {
    let (text, span) = section.text(field, report)?;
    if text.len() > MAX_WORDS_BYTES {
        let message = format!("{} bytes given, at most {MAX_WORDS_BYTES}", text.len());
        report.add(&span, &section.path(field), message);
    }
    if !is_printable(text) {
        report.add(&span, &section.path(field), "control characters are not allowed".into());
    }
    Some(text.to_owned())
}

/// Either the office has sessions, or a quota and so the one session `all`.
fn sessions(office: &mut Section<'_>, report: &mut Report<'_>) -> Vec<Session> {
    let of_office = quota(office, report);
    let mut sessions: Vec<Session> = Vec::new();
    let sections = office.sections("session", report);
    match (office.has("quota"), !sections.is_empty()) {
        (true, true) => report.add(
            office.span(),
            &office.path("quota"),
            "an office has either a quota or sessions with quotas, not both".into(),
        ),
        (false, false) => report.add(
            office.span(),
            &office.path("quota"),
            "missing: an office needs a quota, or sessions with quotas".into(),
        ),
        _ => {}
    }
    if let (Some(quota), true) = (of_office, sections.is_empty()) {
        return vec![Session {
            id: "all".into(),
            label: "all day".into(),
            quota,
            restricted: false,
            explicit: false,
        }];
    }
    for mut section in sections {
        let id = id(&mut section, report);
        let label = words(&mut section, "label", report);
        let quota = quota(&mut section, report);
        if !section.has("quota") {
            report.add(section.span(), &section.path("quota"), "missing".into());
        }
        let restricted = section.flag("restricted", report);
        let explicit = section.flag("explicit", report);
        if let Some((id, span)) = id {
            if sessions.iter().any(|session| session.id == id) {
                report.add(&span, &section.path("id"), format!("a second session `{id}`"));
            }
            if let Some(quota) = quota {
                let label = label.unwrap_or_else(|| id.clone());
                sessions.push(Session { id, label, quota, restricted, explicit });
            }
        }
        section.finish(report);
    }
    sessions
}

fn quota(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Quota> {
    let path = section.path("quota");
    let value = section.value("quota")?;
    let DeValue::Table(days) = value.get_ref() else {
        return problems::number(value, &path, QUOTA, report).map(|n| Quota::Daily(n as u16));
    };
    let mut quotas = Vec::new();
    for (day, places) in days {
        let name = day.get_ref().as_ref();
        let path = format!("{path}.{name}");
        match weekday(name) {
            None => report.add(
                &day.span(),
                &path,
                "no weekday: Mon, Tue, Wed, Thu, Fri, Sat, Sun".into(),
            ),
            Some(weekday) => {
                if let Some(places) = problems::number(places, &path, QUOTA, report) {
                    quotas.push((weekday, places as u16));
                }
            }
        }
    }
    if days.is_empty() {
        report.add(&value.span(), &path, "no day has places".into());
    }
    Some(Quota::ByWeekday(quotas))
}

pub(crate) fn weekday(name: &str) -> Option<Weekday> {
    Some(match name {
        "Mon" => Weekday::Monday,
        "Tue" => Weekday::Tuesday,
        "Wed" => Weekday::Wednesday,
        "Thu" => Weekday::Thursday,
        "Fri" => Weekday::Friday,
        "Sat" => Weekday::Saturday,
        "Sun" => Weekday::Sunday,
        _ => return None,
    })
}
