//! Consumers of the buckets for clients that may make none.
//!
//! Whoever may create a consumer can have the server deliver to any subject of the
//! account, the ledger's included: the broker looks at the request's subject, not at
//! the subject in its body. So clients ask here, by the very request that every
//! key-value client sends to list or watch a bucket, brought here by the broker's
//! configuration; what delivers into an inbox of a client is passed on, and nothing
//! else. Every copy of the feed answers, whether or not it publishes.

use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{Client, Message};
use futures_util::StreamExt;
use giliran_nats::Error;
use giliran_nats::service::REPLIES;
use giliran_wire::subject::Namespace;
use serde_json::{Map, Value, json};

/// Where clients' inboxes are, and nothing that Giliran relies on.
const INBOXES: &str = "_INBOX.";
/// Requests that wait for the broker at once; the others wait here.
const AT_ONCE: usize = 16;
/// How long the broker may take for one.
const WITHIN: Duration = Duration::from_secs(5);
/// How long a consumer is kept that nobody listens to, at most.
const MAX_INACTIVE: Duration = Duration::from_secs(300);
/// Pause before the subscription is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// What of a consumer is passed on as it was asked for.
const PASSED_ON: [&str; 8] = [
    "deliver_policy",
    "opt_start_seq",
    "opt_start_time",
    "filter_subject",
    "filter_subjects",
    "headers_only",
    "flow_control",
    "idle_heartbeat",
];

/// A bucket that can be watched.
pub(crate) struct Watch {
    /// Where it is asked for.
    subject: String,
    /// The bucket's stream.
    stream: String,
}

/// What can be watched.
pub(crate) fn of(namespace: &Namespace) -> [Watch; 2] {
    let buckets = [
        ("availability", namespace.availability_bucket()),
        ("openings", namespace.openings_bucket()),
    ];
    buckets.map(|(name, bucket)| Watch {
        subject: namespace.request(&format!("watch.{name}")),
        stream: format!("KV_{bucket}"),
    })
}

/// Answers until it is dropped.
pub(crate) async fn serve(client: Client, watch: Watch) {
    let Watch { subject, stream } = watch;
    let mut context = jetstream::new(client.clone());
    context.set_timeout(WITHIN);
    let subscribe = |subject: String| client.queue_subscribe(subject, "feed".to_owned());
    loop {
        let (bare, named) = (subscribe(subject.clone()), subscribe(format!("{subject}.>")));
        match tokio::try_join!(bare, named) {
            Ok((bare, named)) => {
                let asked = futures_util::stream::select(bare, named);
                asked
                    .for_each_concurrent(AT_ONCE, |message| {
                        answer(&client, &context, &stream, message)
                    })
                    .await;
            }
            Err(error) => tracing::warn!(%error, "nobody can watch {stream} through the feed"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn answer(client: &Client, context: &Context, stream: &str, message: Message) {
    let Some(reply) = message.reply else { return };
    if !REPLIES.iter().any(|prefix| reply.starts_with(prefix)) {
        tracing::warn!(%reply, "a request to watch {stream} whose answer is to go elsewhere");
        return;
    }
    let answer = match consumer(&message.payload, stream, client.new_inbox().as_str()) {
        Ok((name, request)) => match create(context, stream, &name, &request).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(%error, "a consumer of {stream} could not be made");
                rejection(503, "the broker does not answer")
            }
        },
        Err(wrong) => rejection(400, &wrong),
    };
    if let Err(error) = client.publish(reply, answer.to_string().into()).await {
        tracing::warn!(%error, "a watcher of {stream} stays without answer");
    }
}

async fn create(
    context: &Context,
    stream: &str,
    name: &str,
    request: &Value,
) -> Result<Value, Error> {
    let made = context.request(format!("CONSUMER.CREATE.{stream}.{name}"), request).await;
    made.map_err(|error| Error::new(&format!("make a consumer of {stream}"), error))
}

fn rejection(code: u16, what: &str) -> Value {
    json!({
        "type": "io.nats.jetstream.api.v1.consumer_create_response",
        "error": { "code": code, "err_code": 0, "description": what },
    })
}

/// The consumer to make for a request, and its name; or what is wrong with it. Names
/// are this side's, from `random`, so that nobody's consumer can be changed.
fn consumer(payload: &[u8], stream: &str, random: &str) -> Result<(String, Value), String> {
    let asked: Value =
        serde_json::from_slice(payload).map_err(|_| "the request is not JSON".to_owned())?;
    if asked["stream_name"] != stream {
        return Err(format!("stream_name: only {stream} can be watched here"));
    }
    let config = asked["config"].as_object().ok_or("config: it is missing")?;
    for field in ["durable_name", "deliver_group"] {
        if config.get(field).is_some_and(|value| value.as_str() != Some("")) {
            return Err(format!("{field}: not available here"));
        }
    }
    let inbox = config.get("deliver_subject").and_then(Value::as_str).unwrap_or_default();
    let literal = |token: &str| !token.is_empty() && token != "*" && token != ">";
    if !inbox.starts_with(INBOXES) || !inbox.split('.').all(literal) {
        return Err(format!("deliver_subject: not an inbox, which begins with {INBOXES}"));
    }
    if config.get("ack_policy").is_some_and(|policy| policy != "none") {
        return Err("ack_policy: only none".to_owned());
    }
    let name = match config.get("name").and_then(Value::as_str) {
        Some(name) if !name.is_empty() && name.len() <= 64 && name.bytes().all(is_plain) => name,
        Some(_) => return Err("name: letters and digits, at most 64".to_owned()),
        None => random.rsplit('.').next().unwrap_or(random),
    };
    let inactive = config.get("inactive_threshold").and_then(Value::as_u64).unwrap_or(0);
    let longest = u64::try_from(MAX_INACTIVE.as_nanos()).unwrap_or(u64::MAX);
    let mut made: Map<String, Value> = PASSED_ON
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), config.get(*field)?.clone())))
        .collect();
    made.insert("name".into(), json!(name));
    made.insert("deliver_subject".into(), json!(inbox));
    made.insert("ack_policy".into(), json!("none"));
    made.insert("replay_policy".into(), json!("instant"));
    made.insert("max_deliver".into(), json!(1));
    made.insert("mem_storage".into(), json!(true));
    made.insert("num_replicas".into(), json!(1));
    made.insert("inactive_threshold".into(), json!(inactive.min(longest)));
    let request = json!({ "stream_name": stream, "config": made, "action": "create" });
    Ok((name.to_owned(), request))
}

fn is_plain(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'-' || c == b'_'
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const STREAM: &str = "KV_giliran-v1-availability";

    fn ask(change: impl FnOnce(&mut Value)) -> Result<(String, Value), String> {
        let mut request = json!({ "stream_name": STREAM, "config": {
            "deliver_subject": "_INBOX.gateway.abc", "ack_policy": "none",
            "deliver_policy": "last_per_subject", "headers_only": true,
            "inactive_threshold": 3_600_000_000_000_u64,
        }});
        change(&mut request);
        consumer(request.to_string().as_bytes(), STREAM, "_INBOX.x.random")
    }

    #[test]
    fn a_watch_is_passed_on_and_bounded() {
        let (name, made) = ask(|_| {}).unwrap();
        assert_eq!(name, "random");
        assert_eq!(made["config"]["deliver_subject"], "_INBOX.gateway.abc");
        assert_eq!(made["config"]["headers_only"], true);
        assert_eq!(made["config"]["inactive_threshold"], 300_000_000_000_u64);
        assert_eq!(made["action"], "create");
    }

    #[test]
    fn what_would_deliver_elsewhere_is_refused() {
        for to in [
            "giliran.v1.ledger.1",
            "$KV.giliran-v1-lease.engine",
            "$JS.API.STREAM.DELETE.GILIRAN_V1_LEDGER_1",
            "_INBOX_engine.abc",
            "_INBOX",
            "_INBOX.",
            "_INBOX.>",
            "_INBOX.*.a",
            "_INBOX..a",
            "",
        ] {
            let refused = ask(|request| request["config"]["deliver_subject"] = json!(to));
            assert!(refused.unwrap_err().starts_with("deliver_subject"), "{to}");
        }
        assert!(
            ask(|r| drop(r["config"].as_object_mut().unwrap().remove("deliver_subject"))).is_err()
        );
    }

    #[test]
    fn nothing_else_can_be_made() {
        assert!(ask(|request| request["stream_name"] = json!("GILIRAN_V1_LEDGER_1")).is_err());
        assert!(ask(|request| request["config"]["durable_name"] = json!("mine")).is_err());
        assert!(ask(|request| request["config"]["ack_policy"] = json!("all")).is_err());
        assert!(ask(|request| request["config"]["name"] = json!("a.b")).is_err());
        assert!(consumer(b"", STREAM, "x").is_err());
        let (_, made) = ask(|request| request["config"]["rate_limit_bps"] = json!(1)).unwrap();
        assert!(made["config"]["rate_limit_bps"].is_null());
    }
}
