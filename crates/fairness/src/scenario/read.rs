//! Reading a scenario: every problem at once, with its place.

use std::ops::Range;

use giliran_config::problems::{self, Problems, Report};
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::fields::{self, BY_ANOTHER};
use super::shipped::SHIPPED;
use super::{Scenario, check};

/// Reads a scenario; `file` is what problems call it.
///
/// # Errors
///
/// Every problem found: each with its field, and what would be right.
pub fn parse(text: &str, file: &str) -> Result<Scenario, Problems> {
    let read = |table: &DeTable<'_>, report: &mut Report<'_>| Sections { table, report }.scenario();
    problems::parse(text, file, read).map(|(scenario, _)| scenario)
}

/// The shipped scenario of this name.
pub fn shipped(name: &str) -> Option<Scenario> {
    let (name, text) = SHIPPED.iter().find(|(shipped, _)| *shipped == name)?;
    // A test reads every one of them.
    parse(text, name).ok()
}

const KNOWN: [&str; 8] =
    ["name", "about", "opening", "offices", "people", "cohorts", "attackers", "aftermath"];

struct Sections<'a, 'r> {
    table: &'a DeTable<'a>,
    report: &'a mut Report<'r>,
}

impl<'a> Sections<'a, '_> {
    fn scenario(&mut self) -> Option<Scenario> {
        for (key, _) in self.table {
            if !KNOWN.contains(&key.get_ref().as_ref()) {
                let message = format!("is not a section; expected one of {}", KNOWN.join(", "));
                self.add(&key.span(), key.get_ref(), message);
            }
        }
        let name = self.text("name");
        let about = self.text("about");
        let opening = self.one("opening");
        let offices = self.one("offices");
        let people = self.one("people");
        let cohorts = self.list("cohorts", true);
        let attackers = self.list("attackers", false);
        let aftermath = self.one("aftermath");
        let complete = name.is_some()
            && about.is_some()
            && opening.is_some()
            && offices.is_some()
            && people.is_some()
            && cohorts.is_some()
            && attackers.is_some()
            && aftermath.is_some();
        // What cannot be read is stood in for, so that what can be read is judged.
        let stand_in = if complete { None } else { shipped(SHIPPED[0].0) };
        let wrong: Vec<String> = self.report.problems().iter().map(|p| p.field.clone()).collect();
        let scenario = Scenario {
            name: name.unwrap_or_default(),
            about: about.unwrap_or_default(),
            opening: opening.or_else(|| stand_in.as_ref().map(|s| s.opening.clone()))?,
            offices: offices.or_else(|| stand_in.as_ref().map(|s| s.offices.clone()))?,
            people: people.or_else(|| stand_in.as_ref().map(|s| s.people.clone()))?,
            cohorts: cohorts.or_else(|| stand_in.as_ref().map(|s| s.cohorts.clone()))?,
            attackers: attackers.unwrap_or_default(),
            aftermath: aftermath.or_else(|| stand_in.as_ref().map(|s| s.aftermath.clone()))?,
        };
        for (field, message) in check::problems(&scenario) {
            if !is_told(&wrong, &field) {
                let span = self.locate(&field);
                self.add(&span, &field, message);
            }
        }
        complete.then_some(scenario)
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let value = self.there(key)?;
        let text = value.get_ref().as_str().map(str::to_owned);
        if text.is_none() {
            let message = format!("{} is not a text in quotes", self.shown(&value.span()));
            self.add(&value.span(), key, message);
        }
        text
    }

    fn one<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = self.there(key)?;
        self.section(key, value, key)
    }

    fn there(&mut self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        let value = self.table.get(key);
        if value.is_none() {
            self.add(&(0..0), key, "is missing".to_owned());
        }
        value
    }

    fn list<T: DeserializeOwned>(&mut self, key: &str, needed: bool) -> Option<Vec<T>> {
        let Some(value) = self.table.get(key) else {
            if needed {
                self.add(&(0..0), key, format!("is missing: [[{key}]], once for each"));
                return None;
            }
            return Some(Vec::new());
        };
        let DeValue::Array(array) = value.get_ref() else {
            let message = format!("is to be a list: [[{key}]], once for each");
            self.add(&value.span(), key, message);
            return None;
        };
        let items = array.iter().enumerate();
        let items: Vec<Option<T>> =
            items.map(|(i, item)| self.section(key, item, &format!("{key}[{i}]"))).collect();
        items.into_iter().collect()
    }

    /// A section, field by field: what stands in a field that cannot, or is not
    /// there, is told and stood in for.
    fn section<T: DeserializeOwned>(
        &mut self,
        section: &str,
        value: &Spanned<DeValue<'_>>,
        field: &str,
    ) -> Option<T> {
        let DeValue::Table(table) = value.get_ref() else {
            let message = format!("{} is not a section with fields", self.shown(&value.span()));
            self.add(&value.span(), field, message);
            return None;
        };
        let mut whole = DeTable::new();
        for known in fields::of(section) {
            put(&mut whole, known.name, stand_in(known.stand_in)?);
        }
        let mut read = DeTable::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let place = format!("{field}.{name}");
            let Some(known) = fields::of(section).find(|known| known.name == name) else {
                let names: Vec<&str> = fields::of(section).map(|known| known.name).collect();
                let message = format!("is not a field; expected one of {}", names.join(", "));
                self.add(&key.span(), &place, message);
                continue;
            };
            let mut alone = whole.clone();
            put(&mut alone, name, value.clone());
            if form::<T>(alone).is_some() {
                put(&mut read, name, value.clone());
            } else {
                let message = format!("{} is not {}", self.shown(&value.span()), known.right);
                self.add(&value.span(), &place, message);
                put(&mut read, name, stand_in(known.stand_in)?);
            }
        }
        for known in fields::of(section).filter(|known| !table.contains_key(known.name)) {
            let mut without = whole.clone();
            without.remove(known.name);
            if form::<T>(without).is_none() {
                let message = format!("is missing: {}", known.right);
                self.add(&value.span(), &format!("{field}.{}", known.name), message);
                put(&mut read, known.name, stand_in(known.stand_in)?);
            }
        }
        form(read)
    }

    /// What stands there, cut where it is long.
    fn shown(&self, span: &Range<usize>) -> String {
        const MOST: usize = 40;
        let text = self.report.text().get(span.clone()).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        let cut: String = line.chars().take(MOST).collect();
        if cut.len() < text.len() { format!("{cut} …") } else { cut }
    }

    fn add(&mut self, span: &Range<usize>, field: &str, message: String) {
        self.report.add(span, field, message);
    }

    /// Where a field stands, or the section it is missing from.
    fn locate(&self, field: &str) -> Range<usize> {
        let mut span = 0..0;
        let mut table = Some(self.table);
        for part in field.split('.') {
            let (key, index) = match part.split_once('[') {
                Some((key, rest)) => (key, rest.trim_end_matches(']').parse::<usize>().ok()),
                None => (part, None),
            };
            let Some(value) = table.and_then(|table| table.get(key)) else { break };
            let value = match (value.get_ref(), index) {
                (DeValue::Array(array), Some(i)) => array.get(i).unwrap_or(value),
                _ => value,
            };
            span = value.span();
            table = match value.get_ref() {
                DeValue::Table(table) => Some(table),
                _ => None,
            };
        }
        span
    }
}

fn put<'a>(table: &mut DeTable<'a>, name: &str, value: Spanned<DeValue<'a>>) {
    table.insert(Spanned::new(0..0, name.to_owned().into()), value);
}

fn stand_in(text: &'static str) -> Option<Spanned<DeValue<'static>>> {
    let parsed = DeValue::parse(text).ok();
    debug_assert!(parsed.is_some(), "{text}");
    parsed
}

/// A table as a section, if every field has the right form.
fn form<T: DeserializeOwned>(table: DeTable<'_>) -> Option<T> {
    let value = Spanned::new(0..0, DeValue::Table(table));
    T::deserialize(ValueDeserializer::from(value)).ok()
}

/// Whether it is told that this is wrong, or another one by which it is judged.
fn is_told(wrong: &[String], field: &str) -> bool {
    let has = |field: &str| wrong.iter().any(|wrong| wrong == field);
    let by = BY_ANOTHER.iter().any(|(judged, by)| *judged == field && has(by));
    let whose = field.split('.').next().unwrap_or_default();
    // What an attacker may have is a matter of its kind.
    let kind = whose.starts_with("attackers[") && has(&format!("{whose}.kind"));
    has(field) || has(&section(field)) || has(whose) || by || kind
}

/// The section a field stands in.
fn section(field: &str) -> String {
    field.split(['.', '[']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn problems_of(text: &str) -> Vec<String> {
        let problems = parse(text, "x.toml").unwrap_err().to_string();
        problems.lines().map(str::to_owned).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_with_its_place() {
        let text = SHIPPED[0].1;
        let wrong = text
            .replace("decay_s", "decay_sec")
            .replace("window_s = 900", "window_s = 0")
            .replace("count = 4", "count = \"four\"")
            .replace("[aftermath]", "[afterwards]");
        let problems = problems_of(&wrong);
        let has = |what: &str| {
            assert!(problems.iter().any(|p| p.contains(what)), "{what}: {problems:#?}");
        };
        has("people.decay_sec: is not a field; expected one of parties, ");
        has("people.decay_s: is missing: a number above 0");
        has("opening.window_s: 0 is not above 0");
        has("offices.count: \"four\" is not a whole number from 1 to 10000");
        has("afterwards: is not a section; expected one of ");
        has("aftermath: is missing");
        assert_eq!(problems.len(), 6, "{problems:#?}");
        let line = wrong.lines().position(|l| l.contains("count = \"four\"")).unwrap() + 1;
        has(&format!("x.toml:{line}:"));
    }

    #[test]
    fn an_insider_has_means_and_is_the_only_one() {
        let text = SHIPPED.iter().find(|(name, _)| *name == "insiders").unwrap().1;
        let wrong = text
            .replace("enters = 20", "enters = 201")
            .replace("tries = 1000", "tries = 0")
            .replace(
                "[aftermath]",
                "[[attackers]]\nname = \"second\"\nkind = \"insider\"\nbudget = 5\n\
                 [[attackers]]\nname = \"bots\"\nkind = \"poller\"\nidentities = 5\n\
                 tries = 5\n[aftermath]",
            );
        let problems = problems_of(&wrong);
        for what in [
            "attackers[0].enters: is to be from 1",
            "attackers[0].tries: is to be from 1",
            "attackers[1].budget: an insider",
            "attackers[1].kind: a second insider",
            "attackers[2].tries: only an insider",
        ] {
            assert!(problems.iter().any(|p| p.contains(what)), "{what}: {problems:#?}");
        }
        assert_eq!(problems.len(), 5, "{problems:#?}");
    }

    #[test]
    fn replayers_and_forgers_say_how_much_they_send() {
        let text = SHIPPED.iter().find(|(name, _)| *name == "forgers").unwrap().1;
        let wrong = text
            .replace("valid_ids = 0.1", "valid_ids = 10")
            .replace("requests = 3000\n\n[aftermath]", "identities = 3\n\n[aftermath]");
        let problems = problems_of(&wrong);
        for what in [
            "attackers[0].valid_ids: 10 is not a share",
            "attackers[1].requests: how many does it send?",
            "attackers[1].identities: a replayer sends others' requests",
        ] {
            assert!(problems.iter().any(|p| p.contains(what)), "{what}: {problems:#?}");
        }
        assert_eq!(problems.len(), 3, "{problems:#?}");
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_would_be_right() {
        let text = SHIPPED[0].1;
        let quota = text.lines().find(|line| line.starts_with("quota")).unwrap();
        let parties = text.lines().find(|line| line.starts_with("parties")).unwrap();
        let decay = text.lines().find(|line| line.starts_with("decay_s")).unwrap();
        let wrong = text
            .replace(quota, "quota = [0]")
            .replace(parties, "parties = 0")
            .replace(decay, "decay_s = -3");
        let problems = problems_of(&wrong);
        assert_eq!(problems.len(), 3, "{problems:#?}");
        let line = |what: &str| wrong.lines().position(|l| l == what).unwrap() + 1;
        for (at, what) in [
            ("quota = [0]", "offices.quota: an office without places"),
            ("parties = 0", "people.parties: nobody asks"),
            ("decay_s = -3", "people.decay_s: -3 is not above 0"),
        ] {
            let place = format!("x.toml:{}:", line(at));
            assert!(
                problems.iter().any(|p| p.starts_with(&place) && p.contains(what)),
                "{place} {what}: {problems:#?}"
            );
        }
    }

    #[test]
    fn a_field_of_the_wrong_form_hides_none_of_its_section() {
        let text = SHIPPED[0].1;
        let line = |field: &str| {
            let begins = format!("{field} =");
            text.lines().find(|line| line.starts_with(&begins)).unwrap()
        };
        let wrong = text
            .replace(line("parties"), "parties = -5")
            .replace(line("decay_s"), "decay_s = inf")
            .replace(line("retries"), "retries = 1.7")
            .replace(line("most_tries"), "most_tries = 256")
            .replace(line("days"), "days = \"all\"")
            .replace(line("quota"), "quota = [70000, 3]")
            .replace(line("kind"), "kind = \"ninja\"\nenters = 3")
            .replace("share = 0.4", "share = \"half\"\nlost = 2")
            .replace("name = \"calm\"", "name = 3");
        let problems = problems_of(&wrong);
        for (at, what) in [
            ("name = 3", "name: 3 is not a text in quotes"),
            ("parties = -5", "people.parties: -5 is not a whole number from 1 to 8000000"),
            ("decay_s = inf", "people.decay_s: inf is not above 0"),
            ("retries = 1.7", "people.retries: 1.7 is not a share; expected 0 to 1"),
            ("most_tries = 256", "people.most_tries: 256 is not a whole number from 1 to 255"),
            ("days = \"all\"", "offices.days: \"all\" is not a whole number from 1 to 7"),
            (
                "quota = [70000, 3]",
                "offices.quota: [70000, 3] is not a list of whole numbers from 1",
            ),
            ("kind = \"ninja\"", "attackers[0].kind: \"ninja\" is not one of \"sprinter\", "),
            ("share = \"half\"", "cohorts[1].share: \"half\" is not a number from 0 on"),
            ("lost = 2", "cohorts[1].lost: 2 is not a share"),
        ] {
            let line = wrong.lines().position(|line| line == at).unwrap() + 1;
            let place = format!("x.toml:{line}:");
            assert!(
                problems.iter().any(|p| p.starts_with(&place) && p.contains(what)),
                "{place} {what}: {problems:#?}"
            );
        }
        assert_eq!(problems.len(), 10, "{problems:#?}");
    }

    #[test]
    fn the_fields_that_are_known_are_those_that_are_read() {
        fn read<T: DeserializeOwned>(section: &str) {
            let mut other = DeTable::new();
            put(&mut other, "no such", stand_in("1").unwrap());
            let value = Spanned::new(0..0, DeValue::Table(other));
            let error = T::deserialize(ValueDeserializer::from(value)).err().unwrap();
            let told = error.message().to_owned();
            let names: Vec<&str> = told.split('`').skip(3).step_by(2).collect();
            let known: Vec<&str> = fields::of(section).map(|field| field.name).collect();
            assert_eq!(names, known, "{section}: {told}");
            let mut whole = DeTable::new();
            for known in fields::of(section) {
                put(&mut whole, known.name, stand_in(known.stand_in).unwrap());
            }
            assert!(form::<T>(whole).is_some(), "{section}: what stands in can be read");
        }
        read::<super::super::Opening>("opening");
        read::<super::super::Offices>("offices");
        read::<super::super::People>("people");
        read::<super::super::Cohort>("cohorts");
        read::<super::super::Attacker>("attackers");
        read::<super::super::Aftermath>("aftermath");
    }

    #[test]
    fn what_is_no_toml_is_said_to_be_none() {
        let problems = problems_of("[people\nparties = 3\n");
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(problems[0].starts_with("x.toml:1:"), "{problems:#?}");
    }
}
