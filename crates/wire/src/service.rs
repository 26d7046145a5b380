//! What each process says of itself to whoever asks all of them: the discovery of NATS
//! micro services (`$SRV`), so that standard tools understand it. JSON alone.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What is asked. Each of them is answered with the same facts about the process; the
/// words around them are those that standard tools expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Who is there? Each process names itself.
    Ping,
    /// What is it? With a description in words.
    Info,
    /// How is it doing?
    Stats,
}

impl Verb {
    /// Every verb, in the order of the type.
    pub const ALL: [Self; 3] = [Self::Ping, Self::Info, Self::Stats];

    /// The word in subjects.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ping => "PING",
            Self::Info => "INFO",
            Self::Stats => "STATS",
        }
    }

    /// The type of its answers.
    const fn answer(self) -> &'static str {
        match self {
            Self::Ping => "io.nats.micro.v1.ping_response",
            Self::Info => "io.nats.micro.v1.info_response",
            Self::Stats => "io.nats.micro.v1.stats_response",
        }
    }

    /// What a subject asks for: `$SRV.<verb>`, alone or followed by a service's name and
    /// its id.
    pub fn of_subject(subject: &str) -> Option<Self> {
        let word = subject.strip_prefix("$SRV.")?.split('.').next()?;
        Self::ALL.into_iter().find(|verb| verb.word() == word)
    }

    /// The subject that asks everybody.
    pub fn subject(self) -> String {
        format!("$SRV.{}", self.word())
    }
}

/// Which part of Giliran a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name among services: `giliran-engine`.
    pub name: String,
    /// Of this start of this process, random: letters, digits, `-` and `_`.
    pub id: String,
    /// The version of Giliran that it was built from.
    pub version: String,
    /// When the process started, by its own clock.
    pub started: Timestamp,
}

impl Identity {
    /// The subjects on which it is asked, each verb for a `*`: everybody, all of this
    /// name, this one.
    pub fn subjects(&self) -> [String; 3] {
        let Self { name, id, .. } = self;
        ["$SRV.*".to_owned(), format!("$SRV.*.{name}"), format!("$SRV.*.{name}.{id}")]
    }

    /// The answer to a verb.
    pub fn answer(&self, verb: Verb, standing: &Standing) -> Answer {
        let info = verb == Verb::Info;
        Answer {
            kind: verb.answer().to_owned(),
            name: self.name.clone(),
            id: self.id.clone(),
            version: self.version.clone(),
            metadata: standing.metadata(),
            description: info.then(|| format!("Giliran's {}", standing.role)),
            started: (verb == Verb::Stats).then_some(self.started),
            endpoints: (verb != Verb::Ping).then(Vec::new),
        }
    }
}

/// An answer to a verb, in the form of NATS micro services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Which verb is answered.
    #[serde(rename = "type")]
    pub kind: String,
    /// See [`Identity::name`].
    pub name: String,
    /// See [`Identity::id`].
    pub id: String,
    /// See [`Identity::version`].
    pub version: String,
    /// A [`Standing`], as texts.
    pub metadata: BTreeMap<String, String>,
    /// What it is, in words; to `INFO`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// See [`Identity::started`]; to `STATS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// Empty: requests are not served as endpoints of a micro service; to `INFO` and
    /// `STATS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<serde_json::Value>>,
}

/// What the names of counted answers begin with, among an answer's texts.
const ANSWERS: &str = "answers.";

/// The counts among an answer's texts; what is no number is not known.
fn answers(said: &BTreeMap<String, String>) -> BTreeMap<String, u64> {
    let counted = said.iter().filter_map(|(name, count)| {
        Some((name.strip_prefix(ANSWERS)?.to_owned(), count.parse().ok()?))
    });
    counted.collect()
}

/// `1024:5 2048:90`; none: nothing was counted.
fn within_text(grants_within: &[[u64; 2]]) -> Option<String> {
    let pairs = grants_within.iter().map(|[us, count]| format!("{us}:{count}"));
    Some(pairs.collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty())
}

/// The same read; what is no pair of numbers is not known.
fn within(text: &str) -> Vec<[u64; 2]> {
    let pairs = text.split(' ').filter_map(|pair| {
        let (us, count) = pair.split_once(':')?;
        Some([us.parse().ok()?, count.parse().ok()?])
    });
    pairs.collect()
}

/// How a process stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Which part of Giliran it is: `engine`, `persist`, `feed` or `gateway`.
    pub role: String,
    /// Whose ledger it serves: the prefix of subjects.
    pub prefix: String,
    /// The name it has in ledger and lease, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// A word of the closed list that `/readyz` has as well.
    pub state: String,
    /// What there is to say about it, with the way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What an operator should mend, though it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnings: Option<String>,
    /// Whether it does its work.
    pub ready: bool,
    /// Epoch of the last valid block it has read or written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Ledger sequence up to which its work is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The ledger's last sequence, as last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u64>,
    /// Blocks it is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_blocks: Option<u64>,
    /// How long the first of them has waited, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// How far its machine's clock is ahead of the broker's, ms; below 0: behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_offset_ms: Option<i64>,
    /// The revision it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Fingerprint of its applicant key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Digest of its configuration file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Messages that wait to be decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<u64>,
    /// Grants and requests that wait for a block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u64>,
    /// What an engine has answered since it started, by the name of the outcome:
    /// `granted`, `rejected.sold_out`; those that never came are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<String, u64>,
    /// How long grants took that an engine has answered since it started, from the socket
    /// to the answer: so many µs or less, and how many; ascending, each with those before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants_within: Vec<[u64; 2]>,
}

impl Standing {
    /// As texts, by name. What is not known is left out.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let Self {
            role,
            prefix,
            instance,
            state,
            detail,
            warnings,
            ready,
            epoch,
            seq,
            tail,
            lag_blocks,
            lag_ms,
            clock_offset_ms,
            commit,
            key,
            config,
            queue,
            backlog,
            answers,
            grants_within,
        } = self;
        fn text(value: Option<&impl fmt::Display>) -> Option<String> {
            value.map(ToString::to_string)
        }
        let fields = [
            ("role", text(Some(role))),
            ("prefix", text(Some(prefix))),
            ("instance", text(instance.as_ref())),
            ("state", text(Some(state))),
            ("detail", text(detail.as_ref())),
            ("warnings", text(warnings.as_ref())),
            ("ready", text(Some(ready))),
            ("epoch", text(epoch.as_ref())),
            ("seq", text(seq.as_ref())),
            ("tail", text(tail.as_ref())),
            ("lag_blocks", text(lag_blocks.as_ref())),
            ("lag_ms", text(lag_ms.as_ref())),
            ("clock_offset_ms", text(clock_offset_ms.as_ref())),
            ("commit", text(commit.as_ref())),
            ("key", text(key.as_ref())),
            ("config", text(config.as_ref())),
            ("queue", text(queue.as_ref())),
            ("backlog", text(backlog.as_ref())),
            ("grants_within_us", within_text(grants_within)),
        ];
        let known = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let counted =
            |(name, count): (&String, &u64)| (format!("{ANSWERS}{name}"), count.to_string());
        known.chain(answers.iter().map(counted)).collect()
    }

    /// What an answer says; what it does not say, or not so that it can be read, is not
    /// known. None: it is not of Giliran.
    pub fn of(answer: &Answer) -> Option<Self> {
        let said = &answer.metadata;
        let text = |name: &str| said.get(name).cloned();
        fn number<T: FromStr>(said: Option<&String>) -> Option<T> {
            said?.parse().ok()
        }
        let number_of = |name: &str| number::<u64>(said.get(name));
        answer.name.starts_with("giliran-").then_some(())?;
        Some(Self {
            role: text("role")?,
            prefix: text("prefix")?,
            instance: text("instance"),
            state: text("state")?,
            detail: text("detail"),
            warnings: text("warnings"),
            ready: said.get("ready").is_some_and(|ready| ready == "true"),
            epoch: number_of("epoch"),
            seq: number_of("seq"),
            tail: number_of("tail"),
            lag_blocks: number_of("lag_blocks"),
            lag_ms: number_of("lag_ms"),
            clock_offset_ms: number(said.get("clock_offset_ms")),
            commit: text("commit"),
            key: text("key"),
            config: text("config"),
            queue: number_of("queue"),
            backlog: number_of("backlog"),
            answers: answers(said),
            grants_within: said.get("grants_within_us").map_or_else(Vec::new, |text| within(text)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_asks_for_a_verb() {
        for verb in Verb::ALL {
            let subject = verb.subject();
            assert_eq!(Verb::of_subject(&subject), Some(verb));
            assert_eq!(Verb::of_subject(&format!("{subject}.giliran-feed.1")), Some(verb));
        }
        for none in ["$SRV.SCHEMA", "$SRV", "$SRV.", "$SRV.PINGS", "PING", "x.$SRV.PING"] {
            assert_eq!(Verb::of_subject(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_said_is_what_is_read() {
        let identity = Identity {
            name: "giliran-feed".into(),
            id: "a1".into(),
            version: "0.1.0".into(),
            started: Timestamp::EARLIEST,
        };
        let some = |text: &str| Some(text.to_owned());
        let full = Standing {
            role: "feed".into(),
            prefix: "giliran.v1".into(),
            instance: some("a"),
            state: "following".into(),
            detail: some("d"),
            warnings: some("w"),
            ready: true,
            epoch: Some(1),
            seq: Some(2),
            tail: Some(3),
            lag_blocks: Some(4),
            lag_ms: Some(5),
            clock_offset_ms: Some(-6),
            commit: some("c"),
            key: some("k"),
            config: some("f"),
            queue: Some(7),
            backlog: Some(8),
            answers: [("granted".into(), 9), ("rejected.sold_out".into(), 10)].into(),
            grants_within: vec![[1_024, 5], [2_048, 9]],
        };
        let least = Standing { role: "feed".into(), ..Standing::default() };
        for standing in [full, least] {
            for verb in Verb::ALL {
                let json = serde_json::to_string(&identity.answer(verb, &standing)).expect("JSON");
                let read: Answer = serde_json::from_str(&json).expect("an answer");
                assert_eq!(Standing::of(&read), Some(standing.clone()), "{json}");
            }
        }
        let other = Identity { name: "other".into(), ..identity };
        assert_eq!(Standing::of(&other.answer(Verb::Ping, &Standing::default())), None);
    }
}
