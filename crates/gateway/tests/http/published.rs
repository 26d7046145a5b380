//! What the operator's folder has, and what of it is served.

use std::sync::Arc;
use std::time::Duration;

use giliran_wire::answer::Phase;
use serde_json::{Value, json};

use crate::page::described;
use crate::rig::{Reply, Rig, grant_all, send, settings};

const STATEMENT: &str = include_str!("../../../../docs/examples/statement/example.statement");
const EXTRACT: &str = include_str!("../../../../docs/examples/verify/draw.json");

/// Asks until the answer is as it should become.
async fn until(rig: &Rig, path: &str, fits: impl Fn(&Reply) -> bool) -> Reply {
    for _ in 0..200 {
        let reply = rig.get(path).await;
        if fits(&reply) {
            return reply;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path}: {:?}", rig.get(path).await)
}

/// Parts of a file that is served so as a whole.
async fn parts_are_served(rig: &Rig, path: &str, file: &Reply) {
    let ranged = async |headers: &[(&str, &str)]| {
        let reply = send(rig.address, "GET", path, headers, b"").await;
        let range = reply.headers.get("content-range").cloned().unwrap_or_default();
        (reply.status, range, reply.body)
    };
    let (long, tag) = (STATEMENT.len(), file.headers["etag"].as_str());
    assert_eq!(file.headers["accept-ranges"], "bytes");
    let rest = (206, format!("bytes 70-{}/{long}", long - 1), STATEMENT[70..].to_owned());
    assert_eq!(ranged(&[("range", "bytes=70-")]).await, rest);
    assert_eq!(ranged(&[("range", "bytes=70-"), ("if-range", tag)]).await, rest);
    let head = (206, format!("bytes 0-9/{long}"), STATEMENT[..10].to_owned());
    assert_eq!(ranged(&[("range", "bytes=0-9")]).await, head);
    let whole = (200, String::new(), STATEMENT.to_owned());
    assert_eq!(ranged(&[("range", "bytes=70-"), ("if-range", "\"other\"")]).await, whole);
    assert_eq!(ranged(&[("range", "bytes=0-1,4-5")]).await, whole);
    let known = [("range", "bytes=70-"), ("if-none-match", tag)];
    assert_eq!(ranged(&known).await.0, 304);
    let beyond = format!("bytes={long}-");
    let beyond = send(rig.address, "GET", path, &[("range", beyond.as_str())], b"").await;
    assert_eq!((beyond.status, beyond.problem().as_str()), (416, "no_such_range"));
    assert_eq!(beyond.headers["content-range"], format!("bytes */{long}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_and_a_draw_are_served_as_they_were_published() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("w.statement", STATEMENT);
    write("w.draw.json", EXTRACT);
    write("other.statement", STATEMENT);
    write("token.key", "5a5a");
    let mut settings = settings();
    settings.published = Some(folder.path().to_owned());
    let draw = json!({ "kind": "draw", "drawn": false });
    let rig = Rig::with(settings, Some(Arc::new(grant_all)), described(&draw)).await.told().await;

    let says = rig.get("/v1/statements/w").await;
    let body = says.json();
    let seal = &STATEMENT.lines().last().unwrap()[..64];
    assert_eq!((says.status, body["seal"].as_str()), (200, Some(seal)), "{body}");
    assert_eq!((&body["opening"], &body["oversold"]), (&"w".into(), &0.into()));
    let path = body["file"].as_str().unwrap();
    let file = rig.get(path).await;
    assert_eq!((file.status, file.body.as_str()), (200, STATEMENT));
    assert_eq!(file.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(file.headers["content-disposition"], "attachment; filename=\"w.statement\"");
    for (path, tag) in [("/v1/statements/w", &says), (path, &file)] {
        let known = [("if-none-match", tag.headers["etag"].as_str())];
        assert_eq!(send(rig.address, "GET", path, &known, b"").await.status, 304, "{path}");
    }
    parts_are_served(&rig, path, &file).await;
    for (path, status, problem) in [
        ("/v1/statements/x", 404, "not_published"),
        ("/v1/statements/x/file", 404, "not_published"),
        ("/v1/draws/x/extract", 404, "not_published"),
        ("/v1/statements/other", 500, "not_usable"),
        ("/v1/statements/other/file", 500, "not_usable"),
        ("/v1/statements/..%2Ftoken", 400, "malformed"),
        ("/v1/statements/token.key/file", 400, "malformed"),
        ("/v1/draws/..%2Fw/extract", 400, "malformed"),
        ("/v1/statements/w/token.key", 404, "no_such_address"),
    ] {
        let reply = rig.get(path).await;
        assert_eq!((reply.status, reply.problem().as_str()), (status, problem), "{path}");
    }

    // The engine knows of a draw that is not over; then of this one; then of none any more.
    until(&rig, "/v1/draws/w", |reply| reply.status == 200).await;
    assert_eq!(rig.get("/v1/draws/w/extract").await.problem(), "not_published");
    let extract: Value = serde_json::from_str(EXTRACT).unwrap();
    let over = json!({
        "kind": "draw", "drawn": true, "commitment": extract["commitment"],
        "root": extract["root"], "seed": extract["seed"],
        "entries": extract["ballots"].as_array().unwrap().len(),
    });
    let mut closed = described(&over);
    closed.openings[0].state = Phase::Closed;
    closed.catalogue.as_mut().unwrap()[0].state = Phase::Closed;
    *rig.shown.lock().unwrap() = closed;
    let draw = until(&rig, "/v1/draws/w", |reply| reply.body.contains("\"over\"")).await.json();
    assert_eq!(draw["extract"], "/v1/draws/w/extract");
    assert_eq!(rig.get("/v1/draws/w/extract").await.body, EXTRACT);
    rig.shown.lock().unwrap().openings.clear();
    until(&rig, "/v1/openings/w", |reply| reply.status == 404).await;
    let gone = rig.get("/v1/draws/w").await.json();
    for name in ["stage", "root", "commitment", "seed", "entries", "extract"] {
        assert_eq!(gone[name], draw[name], "{name}");
    }
    assert_eq!(rig.get("/v1/draws/w/extract").await.body, EXTRACT);
}
