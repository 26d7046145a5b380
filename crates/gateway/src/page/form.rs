//! The form of a wish: what it offers, what it was given, and the request that it makes.

use giliran_wire::catalogue::{OpeningDescription, Order, Returns, Session};
use giliran_wire::request::{Book, Choice, MAX_APPLICANTS};
use giliran_wire::{Date, Timestamp};
use maud::{Markup, html};

use super::times;
use super::words::Language;
use crate::catalogue::{Opening, Slot};
use crate::problem::Problem;

/// Wishes that the form has room for.
const WISHES: usize = 3;
/// Request ids that pages make: 80 bits, nobody else has the same.
const KEY_BYTES: usize = 10;

/// What somebody has filled in.
#[derive(Debug, Clone, Default)]
pub(super) struct Filled {
    /// The request id, made with the page.
    pub(super) key: String,
    /// Office, or office and session, of each wish; empty: none.
    offices: [String; WISHES],
    /// Day of each wish; empty: any.
    days: [String; WISHES],
    applicants: [String; MAX_APPLICANTS],
    account: String,
    wait: bool,
}

impl Filled {
    /// An empty form with a request id of its own.
    pub(super) fn new() -> Self {
        let key: [u8; KEY_BYTES] = rand::random();
        Self { key: const_hex::encode(key), ..Self::default() }
    }

    /// The same under another request id.
    pub(super) fn anew(self) -> Self {
        Self { key: Self::new().key, ..self }
    }

    /// What a browser has sent.
    pub(super) fn read(body: &[u8]) -> Self {
        let mut filled = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let value = value.trim().to_owned();
            let index = |prefix: &str| name.strip_prefix(prefix)?.parse::<usize>().ok();
            match name.as_ref() {
                "key" => filled.key = value,
                "account" => filled.account = value,
                "wait" => filled.wait = value == "1",
                _ => {
                    let field = index("office")
                        .and_then(|n| filled.offices.get_mut(n))
                        .or(index("day").and_then(|n| filled.days.get_mut(n)));
                    let field = match field {
                        Some(field) => Some(field),
                        None => index("applicant").and_then(|n| filled.applicants.get_mut(n)),
                    };
                    if let Some(field) = field {
                        *field = value;
                    }
                }
            }
        }
        filled
    }

    /// The wishes in order.
    ///
    /// # Errors
    ///
    /// `malformed` where a day is no day: without it, it would be another wish.
    pub(super) fn choices(&self) -> Result<Vec<Choice<'_>>, Problem> {
        let filled = self.offices.iter().zip(&self.days).filter(|(office, _)| !office.is_empty());
        filled
            .map(|(place, day)| {
                let (office, session) = match place.split_once('/') {
                    Some((office, session)) => (office, Some(session.into())),
                    None => (place.as_str(), None),
                };
                let no_day =
                    |_| Problem::malformed("day: a day of the opening is expected, as 2030-01-07");
                let date = (!day.is_empty()).then(|| day.parse().map_err(no_day)).transpose()?;
                Ok(Choice { office: office.into(), date, session })
            })
            .collect()
    }

    /// The request that it makes of this opening. `account`: what a proxy has said.
    ///
    /// # Errors
    ///
    /// As [`Self::choices`].
    pub(super) fn book<'a>(
        &'a self,
        opening: &'a str,
        account: Option<&'a str>,
    ) -> Result<Book<'a>, Problem> {
        let own = (!self.account.is_empty()).then_some(self.account.as_str());
        let people = self.applicants.iter().filter(|applicant| !applicant.is_empty());
        Ok(Book {
            request_id: self.key.as_str().into(),
            applicants: people.map(|applicant| applicant.as_str().into()).collect(),
            choices: self.choices()?.into(),
            opening: Some(opening.into()),
            expires_at: None,
            account: account.or(own).map(Into::into),
            channel: Some("page".into()),
            reference: None,
            wait: self.wait,
        })
    }
}

/// What the form is shown for.
pub(super) struct Form<'a> {
    pub(super) language: Language,
    pub(super) opening: &'a Opening,
    pub(super) offers: &'a OpeningDescription,
    pub(super) filled: &'a Filled,
    /// It was sent, and is to be sent again.
    pub(super) sent: bool,
    /// Whether accounts are asked for here.
    pub(super) asks_account: bool,
    pub(super) now: Timestamp,
}

impl Form<'_> {
    pub(super) fn render(&self) -> Markup {
        let Self { language, opening, offers, filled, .. } = self;
        let early = opening.opens_at > self.now;
        let again = if self.sent { language.ask_again() } else { language.ask() };
        html! {
            form method="post" action={ "/o/" (opening.id) "?lang=" (language.code()) }
                data-wish=(opening.id) data-sent[self.sent]
                data-asking={ (language.asking()) ". " (language.asking_more()) }
                data-trouble={ (language.trouble()) ". " (language.trouble_more()) }
                data-next=(language.next_try()) {
                input type="hidden" name="key" value=(filled.key);
                fieldset {
                    legend { (language.wishes()) }
                    @for n in 0..WISHES { (self.wish(n)) }
                    @if collects(offers) {
                        label {
                            input type="checkbox" name="wait" value="1" checked[filled.wait];
                            (language.wait())
                        }
                        @if let Some(next) = offers.next_release {
                            p.muted { (language.next_release()) ": "
                                (times::moment(*language, &times::zone(&offers.timezone), next)) }
                        }
                    }
                }
                (self.people())
                p.muted { (language.number()) ": " span.code data-key { (filled.key) } }
                p.note role="status" hidden {}
                button data-opens=(opening.opens_at.as_millis()) { (again) }
                @if early { p.muted { (language.not_yet()) } }
            }
        }
    }

    fn wish(&self, n: usize) -> Markup {
        let Self { language, offers, filled, .. } = self;
        html! {
            div.pair {
                label { (language.wish()) " " (n + 1) ": " (language.office())
                    select name={ "office" (n) } required[n == 0] {
                        @if n > 0 || filled.offices[n].is_empty() {
                            option value="" { @if n > 0 { (language.none()) } @else { "–" } }
                        }
                        @for office in &offers.offices {
                            (self.office_options(office, &filled.offices[n]))
                        }
                    }
                }
                label { (language.day())
                    select name={ "day" (n) } {
                        option value="" { (language.any_day()) }
                        @for day in &offers.days {
                            @let over = day.bookable_until <= self.now;
                            @let date = day.date.to_string();
                            option value=(date) selected[date == filled.days[n]] disabled[over] {
                                (times::day(*language, day.date))
                                @if over { " – " (language.too_late()) }
                            }
                        }
                    }
                }
            }
        }
    }

    fn office_options(&self, office: &giliran_wire::catalogue::Office, chosen: &str) -> Markup {
        let language = self.language;
        let plain = |session: &&Session| !session.restricted && !session.explicit;
        let one = office.sessions.len() == 1 && office.sessions.iter().all(|one| plain(&one));
        html! {
            @if one {
                option value=(office.id) selected[office.id == chosen] { (office.name) }
            } @else {
                optgroup label=(office.name) {
                    @if office.sessions.iter().filter(plain).count() > 1 {
                        option value=(office.id) selected[office.id == chosen] {
                            (office.name) ": " (language.any_session())
                        }
                    }
                    @for session in &office.sessions {
                        @let value = format!("{}/{}", office.id, session.id);
                        option value=(value) selected[value == chosen] disabled[session.restricted] {
                            (session_name(office, session))
                            @if session.restricted { " – " (language.entitled()) }
                        }
                    }
                }
            }
        }
    }

    fn people(&self) -> Markup {
        let Self { language, offers, filled, .. } = self;
        let most = usize::from(offers.rules.max_party).clamp(1, MAX_APPLICANTS);
        let more = filled.applicants.iter().skip(1).any(|applicant| !applicant.is_empty());
        html! {
            fieldset {
                legend { (language.people()) }
                label { (language.applicant())
                    input name="applicant0" value=(filled.applicants[0]) required maxlength="64"
                        inputmode="numeric" autocomplete="off";
                }
                @if most > 1 {
                    details open[more] {
                        summary { (language.family()) }
                        p.muted { (language.together()) }
                        @for n in 1..most {
                            label { (language.person()) (n + 1) ": " (language.applicant())
                                input name={ "applicant" (n) } value=(filled.applicants[n])
                                    maxlength="64" inputmode="numeric" autocomplete="off";
                            }
                        }
                    }
                }
                @if self.asks_account && offers.rules.max_per_account.is_some() {
                    label { (language.account())
                        input name="account" value=(filled.account) required maxlength="64"
                            autocomplete="tel";
                    }
                }
            }
        }
    }
}

/// What an office's session is called.
fn session_name(office: &giliran_wire::catalogue::Office, session: &Session) -> String {
    let label = if session.label.is_empty() { &session.id } else { &session.label };
    if session.id == "all" && session.label.is_empty() {
        office.name.clone()
    } else {
        format!("{}: {label}", office.name)
    }
}

/// Whether returned places are drawn among those who wait.
fn collects(offers: &OpeningDescription) -> bool {
    let at = |returns: &Returns| matches!(returns, Returns::At { .. });
    at(&offers.rules.cancelled) || at(&offers.rules.expired)
}

/// One sentence on what the order means for whoever asks.
pub(super) fn order_words(language: Language, order: &Order) -> &'static str {
    match order {
        Order::FirstCome => language.first_come(),
        Order::Rounds { .. } => language.rounds(),
        Order::Draw { .. } => language.draw(),
    }
}

/// Free places by office and day, with why there are none.
pub(super) fn places(
    language: Language,
    opening: &Opening,
    offers: &OpeningDescription,
    told: Timestamp,
    stale: Option<Timestamp>,
) -> Markup {
    let zone = times::zone(&offers.timezone);
    html! {
        h2 #places { (language.free_places()) }
        div.scroll tabindex="0" role="region" aria-labelledby="places"
            data-places={ "/v1/openings/" (opening.id) "/places/stream" }
            data-full=(language.full()) data-halted=(language.halted()) data-late=(language.too_late()) {
            table {
                thead { tr {
                    th scope="col" { (language.office()) }
                    @for day in &offers.days { th scope="col" { (times::day(language, day.date)) } }
                } }
                tbody {
                    @for office in &offers.offices {
                        @for session in &office.sessions {
                            tr {
                                th scope="row" { (session_name(office, session)) }
                                @for day in &offers.days {
                                    (cell(language, opening, (office.id.as_str(), session, day.date)))
                                }
                            }
                        }
                    }
                }
            }
        }
        p.muted {
            @if let Some(since) = stale {
                (language.stale()) " " (times::clock(language, &zone, since))
            } @else {
                (language.as_of()) " " (times::clock(language, &zone, told))
            }
            ". " (language.promises_nothing())
        }
    }
}

fn cell(
    language: Language,
    opening: &Opening,
    (office, session, date): (&str, &Session, Date),
) -> Markup {
    let at =
        |slot: &&Slot| slot.office == office && slot.session == session.id && slot.date == date;
    let Some(slot) = opening.slots.iter().find(at) else {
        return html! { td.none { "–" } };
    };
    let why = if session.restricted {
        Some(language.entitled())
    } else if slot.halted {
        Some(language.halted())
    } else if !slot.bookable {
        Some(language.too_late())
    } else if slot.free <= 0 {
        Some(language.full())
    } else {
        None
    };
    // What nobody may ask for here does not change before their eyes.
    let live = (!session.restricted).then(|| format!("{office}/{}/{date}", session.id));
    html! {
        td.none[why.is_some()] data-slot=[live] {
            @if let Some(why) = why { (why) } @else { (slot.free) }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use giliran_wire::request::Request as _;

    #[test]
    fn what_is_filled_in_is_what_is_asked_for() {
        let body = b"key=a3f1&office0=alpha&day0=2030-01-07&office1=beta%2Fall&day1=&office2=&day2=\
            &applicant0=+2171012345678901+&applicant3=2&applicant9=7&office7=x&wait=1&account=u%401";
        let filled = Filled::read(body);
        let book = filled.book("w", None).unwrap();
        book.validate().unwrap();
        let choices: Vec<_> = book.choices.iter().map(|c| format!("{c:?}")).collect();
        assert_eq!(choices.len(), 2, "{choices:?}");
        assert_eq!(book.choices[0].date.unwrap().to_string(), "2030-01-07");
        assert_eq!(book.choices[1].session.as_deref(), Some("all"));
        let people: Vec<_> = book.applicants.iter().map(|a| a.to_string()).collect();
        assert_eq!(people, ["2171012345678901", "2"]);
        assert_eq!((book.account.as_deref(), book.wait), (Some("u@1"), true));
        let named = filled.book("w", Some("proxy")).unwrap();
        assert_eq!(named.account.as_deref(), Some("proxy"), "what a proxy says counts");
        let no_day = Filled::read(b"office0=alpha&day0=2030-13-07&applicant0=1");
        let refused = no_day.book("w", None).unwrap_err();
        assert_eq!(refused.kind.name(), "malformed", "it is not another wish");
        assert!(Filled::read(b"").book("w", None).unwrap().validate().is_err());
    }

    #[test]
    fn no_two_pages_make_the_same_number() {
        let (one, other) = (Filled::new(), Filled::new());
        assert_ne!(one.key, other.key);
        assert!(one.key.len() == 2 * KEY_BYTES);
    }
}
