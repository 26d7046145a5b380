//! What the broker tells: its streams through JetStream, its servers at their monitoring
//! ports.

use async_nats::jetstream::Context;
use futures_util::future::join_all;
use giliran_nats::suitability;
use giliran_wire::picture::{Known, Replica, Server, ServerSaid, Storage, Stream};
use giliran_wire::subject::Namespace;
use serde_json::{Value, json};

/// The streams and buckets of a namespace, by name.
pub(crate) async fn streams(context: &Context, namespace: &Namespace) -> Known<Vec<Stream>> {
    match try_streams(context, namespace).await {
        Ok(streams) => Known::Known(streams),
        Err(why) => Known::Unknown(why),
    }
}

async fn try_streams(context: &Context, namespace: &Namespace) -> Result<Vec<Stream>, String> {
    let ledger = namespace.ledger_stream(0);
    let ledger = ledger.trim_end_matches('0');
    let buckets =
        [namespace.availability_bucket(), namespace.openings_bucket(), namespace.lease_bucket()];
    let buckets = buckets.map(|bucket| format!("KV_{bucket}"));
    let is_ours = |name: &str| {
        name == namespace.events_stream()
            || buckets.iter().any(|bucket| bucket == name)
            || name.strip_prefix(ledger).is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        let answer = asked(context, "STREAM.NAMES", &json!({ "offset": offset })).await?;
        let page = answer["streams"].as_array().map_or(&[][..], Vec::as_slice);
        if page.is_empty() {
            break;
        }
        offset += page.len();
        names.extend(
            page.iter().filter_map(Value::as_str).filter(|n| is_ours(n)).map(str::to_owned),
        );
    }
    names.sort_unstable();
    let mut streams = Vec::new();
    for name in names {
        let info = asked(context, &format!("STREAM.INFO.{name}"), &json!({})).await?;
        streams.push(stream(name, &info));
    }
    Ok(streams)
}

async fn asked(context: &Context, subject: &str, ask: &Value) -> Result<Value, String> {
    let answer: Result<Value, _> = context.request(subject.to_owned(), ask).await;
    let answer = answer.map_err(|error| {
        format!("JetStream does not tell ({subject}: {error}): may this login ask it?")
    })?;
    match answer["error"]["description"].as_str() {
        Some(error) => Err(format!("{subject}: {error}")),
        None => Ok(answer),
    }
}

fn stream(name: String, info: &Value) -> Stream {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let replica = |replica: &Value| Replica {
        name: replica["name"].as_str().unwrap_or_default().to_owned(),
        current: replica["current"].as_bool().unwrap_or(false),
        offline: replica["offline"].as_bool().unwrap_or(false),
        lag: number(&replica["lag"]),
    };
    let leader = info["cluster"]["leader"].as_str().filter(|leader| !leader.is_empty());
    let followers = info["cluster"]["replicas"].as_array().into_iter().flatten();
    Stream {
        name,
        messages: number(&info["state"]["messages"]),
        bytes: number(&info["state"]["bytes"]),
        last_seq: number(&info["state"]["last_seq"]),
        replicas: number(&info["config"]["num_replicas"]).max(1),
        leader: leader.map(str::to_owned),
        followers: followers.map(replica).collect(),
    }
}

/// What JetStream stores for this account.
pub(crate) async fn storage(context: &Context) -> Known<Storage> {
    match asked(context, "INFO", &json!({})).await {
        Ok(info) => {
            let limit = info["limits"]["max_storage"].as_i64();
            let limit = limit.and_then(|limit| u64::try_from(limit).ok()).filter(|n| *n > 0);
            Known::Known(Storage { used: info["storage"].as_u64().unwrap_or(0), limit })
        }
        Err(why) => Known::Unknown(why),
    }
}

/// What each server says at its monitoring port.
pub(crate) async fn servers(monitors: &[String]) -> Vec<Server> {
    let asked = monitors.iter().map(|monitor| async {
        let said = match server(monitor).await {
            Ok(said) => Known::Known(said),
            Err(error) => Known::Unknown(error.to_string()),
        };
        Server { monitor: monitor.clone(), said }
    });
    join_all(asked).await
}

async fn server(monitor: &str) -> Result<ServerSaid, Box<dyn std::error::Error + Send + Sync>> {
    let (general, jetstream) = tokio::try_join!(
        suitability::get(monitor, "/varz"),
        suitability::get(monitor, "/jsz?config=true")
    )?;
    Ok(server_said(&serde_json::from_str(&general)?, &serde_json::from_str(&jetstream)?))
}

fn server_said(general: &Value, jetstream: &Value) -> ServerSaid {
    let text = |name: &str| general[name].as_str().unwrap_or_default().to_owned();
    let config = &jetstream["config"];
    let limit = config["max_storage"].as_u64().filter(|limit| *limit > 0);
    let until = general["tls_cert_not_after"].as_str();
    ServerSaid {
        name: text("server_name"),
        version: text("version"),
        sync_always: config["sync_always"].as_bool().unwrap_or(false),
        storage: Storage { used: jetstream["storage"].as_u64().unwrap_or(0), limit },
        certificate_until: until.and_then(|until| until.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_with_those_who_keep_it() {
        let info = json!({
            "config": { "num_replicas": 3 },
            "state": { "messages": 7, "bytes": 900, "last_seq": 12 },
            "cluster": { "leader": "n1", "replicas": [
                { "name": "n2", "current": true, "active": 1 },
                { "name": "n3", "current": false, "offline": true, "active": 1, "lag": 5 },
            ] },
        });
        let found = stream("S".to_owned(), &info);
        assert_eq!((found.replicas, found.leader.as_deref(), found.last_seq), (3, Some("n1"), 12));
        let away = Replica { name: "n3".to_owned(), current: false, offline: true, lag: 5 };
        assert_eq!(found.followers[1], away);
        let alone = stream("S".to_owned(), &json!({ "config": {}, "cluster": { "leader": "" } }));
        assert_eq!((alone.replicas, alone.leader), (1, None));
    }

    #[test]
    fn a_server_says_whether_it_syncs_and_how_full_it_is() {
        let general = json!({ "server_name": "n1", "version": "2.12.2",
                              "tls_cert_not_after": "2027-01-01T00:00:00Z" });
        let jetstream =
            json!({ "storage": 50, "config": { "sync_always": true, "max_storage": 100 } });
        let said = server_said(&general, &jetstream);
        assert!(said.sync_always && said.certificate_until.is_some());
        assert_eq!(said.storage, Storage { used: 50, limit: Some(100) });
        let silent = server_said(&json!({}), &json!({ "config": {} }));
        assert!(!silent.sync_always && silent.certificate_until.is_none());
    }
}
