//! The client of one live case, the relay in front of it, and what holds whatever is asked.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::{Duration, Instant};

use giliran_wire::answer::Reason;
use giliran_wire::subject::Namespace;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::bytes::next_step;
use super::client::{ClientProcess, Ended, contains, difference, expect, failed};
use super::relay::{Attempt, Detour, Relay};
use super::stage::{Ground, Stage};

/// How long a client asks where a case is not about its patience.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How much longer than its patience a client may take to say so.
const GRACE: Duration = Duration::from_secs(15);
/// How long a client waits for an answer at least, before it sends its request again.
const SHORTEST_ATTEMPT: Duration = Duration::from_millis(1_900);
/// Clocks of two processes, and their timers, differ by so much.
const CLOCKS: Duration = Duration::from_millis(30);
/// What answers may go to, unless an engine is told otherwise.
const INBOXES: [&str; 2] = ["_INBOX.", "_R_."];
/// What a repetition may have that the request had not, and the other way round.
const MAY_DIFFER: [&str; 5] = ["expires_at", "account", "ref", "channel", "wait"];

/// How the client reaches the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    Nats,
    /// Through `giliran gateway`.
    Http,
}

/// What a client made of a request.
#[derive(Debug)]
pub(super) enum Told {
    /// The answer.
    Settled(Value),
    /// Its patience ended before anything was settled.
    Unsettled,
    /// It does not send such a request.
    Refused,
}

pub(super) struct Cast {
    pub(super) client: ClientProcess,
    pub(super) relay: Option<Relay>,
    via: Via,
    _gateway: Option<Child>,
}

impl Cast {
    pub(super) async fn of(
        stage: &Stage,
        command: &[OsString],
        via: Via,
        case: &str,
        ground: Ground,
        detours: Vec<Detour>,
    ) -> Result<Self, Ended> {
        let own = own_namespace(case);
        let relay = Relay::start(&stage.client, &ground.namespace(), &own, detours).await?;
        let (gateway, url) = match via {
            Via::Nats => (None, String::new()),
            Via::Http => {
                let (gateway, url) = gateway(&stage.url, &own).await?;
                (Some(gateway), url)
            }
        };
        let environment =
            [("NATS_URL", &*stage.url), ("GILIRAN_PREFIX", own.prefix()), ("GILIRAN_URL", &*url)];
        let mut client = ClientProcess::start(command, &environment)?;
        if let Err(Ended::Failed(why)) = client.ready().await {
            // Whoever does not even start says why to standard error.
            return failed(format!("{why}\n{}", client.story().trim_end()));
        }
        Ok(Self { client, relay: Some(relay), via, _gateway: gateway })
    }

    /// Asks, and holds what the client says against what it was answered.
    pub(super) async fn ask(
        &mut self,
        operation: &str,
        request: &Value,
        patience: Duration,
    ) -> Result<Told, Ended> {
        let before = self.attempts().len();
        let line = json!({
            "do": "ask", "operation": operation, "request": request,
            "patience_ms": patience.as_millis() as u64,
        });
        let told = self.client.tell_within(&line, patience + GRACE).await?;
        let attempts = self.attempts();
        let attempts: Vec<&Attempt> =
            attempts[before..].iter().filter(|a| a.operation == operation).collect();
        if told["refused"].is_string() {
            expect(attempts.is_empty(), || "it was refused, and yet sent".to_owned())?;
            return Ok(Told::Refused);
        }
        // What a gateway cannot read goes no further.
        let unreadable = told["answer"]["reason"] == Reason::Malformed.name();
        if self.is_over_http() && attempts.is_empty() && unreadable {
            return Ok(Told::Settled(told["answer"].clone()));
        }
        all_alike(operation, request, &attempts)?;
        in_time(&attempts)?;
        if told["unsettled"].is_string() {
            return Ok(Told::Unsettled);
        }
        let answer = &told["answer"];
        expect(answer.is_object(), || {
            "one of `answer`, `unsettled`, `refused` and `cannot` is expected".to_owned()
        })?;
        let answered = attempts.iter().filter_map(|a| a.answered.as_ref()).map(|(given, _)| given);
        let given: Vec<&Value> = answered.collect();
        let Some(last) = given.last() else {
            return failed(format!("an answer that nobody gave: {answer}"));
        };
        expect(given.iter().any(|given| contains(answer, given)), || {
            format!("not what was answered: `answer`: {}", difference(answer, last))
        })?;
        if let Some(then) = next_step(operation, answer) {
            expect(told["then"] == json!(then), || {
                format!("`then`: {then:?} is expected, not {}", told["then"])
            })?;
            expect(then != "again", || {
                "it stopped at an answer that settles nothing, before its patience ended; what \
                 says so is `unsettled`"
                    .to_owned()
            })?;
        }
        Ok(Told::Settled(answer.clone()))
    }

    /// Asks for what must be settled; the answer.
    pub(super) async fn settled(
        &mut self,
        operation: &str,
        request: &Value,
    ) -> Result<Value, Ended> {
        match self.ask(operation, request, PATIENCE).await? {
            Told::Settled(answer) => Ok(answer),
            Told::Unsettled => failed("`unsettled`, although the engine has answered"),
            Told::Refused => failed("`refused`, although the request can be read"),
        }
    }

    /// Asks for what is granted; the booking.
    pub(super) async fn booking(
        &mut self,
        operation: &str,
        request: &Value,
    ) -> Result<Value, Ended> {
        let answer = self.settled(operation, request).await?;
        expect(answer["outcome"] == "granted", || {
            format!("{operation}: `granted` is expected, not {answer}")
        })?;
        Ok(answer["booking"].clone())
    }

    /// Asks for what is rejected for good: one attempt, and the reason.
    pub(super) async fn rejected(
        &mut self,
        operation: &str,
        request: &Value,
        reason: Reason,
    ) -> Result<(), Ended> {
        let before = self.attempts().len();
        let answer = self.settled(operation, request).await?;
        expect(answer["reason"] == reason.name(), || {
            format!("{operation}: {:?} is expected, not {answer}", reason.name())
        })?;
        let attempts = self.attempts().len() - before;
        expect(attempts == 1, || format!("{attempts} attempts, although the first was final"))
    }

    /// What was sent so far, without what asks for free places: gateways do so by themselves.
    pub(super) fn attempts(&self) -> Vec<Attempt> {
        self.all_attempts()
            .into_iter()
            .filter(|attempt| attempt.operation != "availability")
            .collect()
    }

    pub(super) fn all_attempts(&self) -> Vec<Attempt> {
        self.relay.as_ref().map(Relay::attempts).unwrap_or_default()
    }

    pub(super) fn is_over_http(&self) -> bool {
        self.via == Via::Http
    }
}

/// The subjects of a case.
pub(super) fn own_namespace(case: &str) -> Namespace {
    Namespace::new(&format!("kit.{}", case.replace('_', "-"))).unwrap_or_default()
}

/// Every attempt is the request that was asked for, and its answer can come.
fn all_alike(operation: &str, request: &Value, attempts: &[&Attempt]) -> Result<(), Ended> {
    expect(!attempts.is_empty(), || "nothing was sent".to_owned())?;
    for (n, attempt) in (1..).zip(attempts) {
        let inbox = INBOXES.iter().any(|prefix| attempt.reply.starts_with(prefix));
        expect(inbox, || {
            format!(
                "attempt {n}: the reply subject {:?} does not begin with _INBOX.",
                attempt.reply
            )
        })?;
        // What cannot be read is what the case asked for, or the answer says so.
        let Ok(sent) = &attempt.request else { continue };
        let strictly = |value: &Value| {
            let mut value = value.clone();
            if let (true, Value::Object(fields)) = (operation == "book", &mut value) {
                fields.retain(|name, _| !MAY_DIFFER.contains(&name.as_str()));
            }
            value
        };
        let (sent, asked) = (strictly(sent), strictly(request));
        expect(contains(&sent, &asked) && contains(&asked, &sent), || {
            format!("attempt {n} is another request: {}", difference(&sent, &asked))
        })?;
    }
    Ok(())
}

/// Nobody asks again before it may, nor once it is settled.
fn in_time(attempts: &[&Attempt]) -> Result<(), Ended> {
    for (n, pair) in (1..).zip(attempts.windows(2)) {
        let [first, next] = pair else { continue };
        match &first.answered {
            Some((answer, at)) if *at <= next.at => again_in_time(n, answer, *at, next.at)?,
            // Nothing had come, whatever came later.
            _ => {
                let waited = next.at - first.at;
                expect(waited >= SHORTEST_ATTEMPT, || {
                    format!(
                        "attempt {n} was given up after {} ms; an answer may take 2 s",
                        waited.as_millis()
                    )
                })?;
            }
        }
    }
    Ok(())
}

fn again_in_time(n: usize, answer: &Value, at: Instant, next: Instant) -> Result<(), Ended> {
    expect(next_step("book", answer) == Some("again"), || {
        format!("attempt {n} was settled, and yet there is another one")
    })?;
    let Some(ms) = answer["retry_after_ms"].as_u64() else { return Ok(()) };
    let (wanted, waited) = (Duration::from_millis(ms), next - at);
    expect(waited + CLOCKS >= wanted, || {
        let waited = waited.as_millis();
        format!("asked again after {waited} ms; `retry_after_ms` of attempt {n} is {ms}")
    })
}

/// A gateway of this case's own, and its address.
async fn gateway(nats: &str, own: &Namespace) -> Result<(Child, String), Ended> {
    let wrong = |why: String| Ended::Failed(format!("giliran gateway: {why}"));
    let program = std::env::current_exe().map_err(|e| wrong(e.to_string()))?;
    let mut child = Command::new(program)
        .args(["gateway", "--listen", "127.0.0.1:0", "--nats", nats])
        .args(["--subject-prefix", own.prefix()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| wrong(e.to_string()))?;
    let Some(said) = child.stderr.take() else { return failed("no standard error") };
    let mut lines = BufReader::new(said).lines();
    let address = loop {
        let line = lines.next_line().await.map_err(|e| wrong(e.to_string()))?;
        let line = line.ok_or_else(|| wrong("it has ended".to_owned()))?;
        let said = line.split_once("http://").and_then(|(_, rest)| rest.split_once("/readyz"));
        if let Some((address, _)) = said {
            break address.to_owned();
        }
    };
    // What it says is read to the end, or it would wait.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let since = Instant::now();
    while !is_ready(&address).await {
        if since.elapsed() > GRACE {
            return failed("giliran gateway: not ready");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok((child, format!("http://{address}")))
}

async fn is_ready(address: &str) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await.ok()?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.ok()?;
        Some(head.ends_with(b"200"))
    };
    asked.await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(at: Instant, request: Value, answered: Option<(Value, Instant)>) -> Attempt {
        Attempt {
            operation: "book".to_owned(),
            at,
            binary: false,
            request: Ok(request),
            reply: "_INBOX.a".to_owned(),
            answered,
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn another_id_at_the_second_attempt_is_found() {
        let now = Instant::now();
        let request = json!({ "request_id": "a", "applicants": ["1"], "choices": [], "ref": "r" });
        let mut other = request.clone();
        other["ref"] = json!("s");
        let first = attempt(now, request.clone(), None);
        let repeated = attempt(now, other.clone(), None);
        assert!(all_alike("book", &request, &[&first, &repeated]).is_ok(), "`ref` may differ");
        other["request_id"] = json!("b");
        let another = attempt(now, other, None);
        assert!(all_alike("book", &request, &[&first, &another]).is_err());
        let nowhere = Attempt { reply: "giliran.v1.book".to_owned(), ..first };
        assert!(all_alike("book", &request, &[&nowhere]).is_err());
        assert!(all_alike("book", &request, &[]).is_err());
    }

    #[test]
    fn whoever_asks_too_soon_or_in_vain_is_found() {
        let now = Instant::now();
        let busy = json!({
            "request_id": "a", "outcome": "rejected", "reason": "busy", "retry_after_ms": 400,
        });
        let mut over = busy.clone();
        over["reason"] = json!("sold_out");
        let answered_at = |answered: Option<(&Value, u64)>, after| {
            let answered = answered.map(|(answer, at)| (answer.clone(), now + ms(at)));
            let first = attempt(now, json!({}), answered);
            in_time(&[&first, &attempt(now + after, json!({}), None)]).is_ok()
        };
        let next_after =
            |answer: Option<&Value>, after| answered_at(answer.map(|answer| (answer, 10)), after);
        assert!(next_after(Some(&busy), ms(410)));
        assert!(!next_after(Some(&busy), ms(300)), "too soon");
        assert!(!next_after(Some(&over), ms(5_000)), "settled");
        assert!(next_after(None, ms(2_000)));
        assert!(!next_after(None, ms(1_000)), "given up too soon");
        assert!(answered_at(Some((&over, 2_050)), ms(2_000)), "the answer came too late");
        for answer in [&busy, &over] {
            assert!(!next_after(Some(answer), ms(5)), "both at once");
        }
    }
}
