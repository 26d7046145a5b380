//! How all of Giliran stands: everything known, and hardly anything.

use giliran_wire::Position;
use giliran_wire::picture::{
    Check, Judged, Known, Opening, Openings, Picture, Places, Process, Rates, Replica, Server,
    ServerSaid, Slot, Storage, Stream, Took, Verdict,
};

use super::{at, day, descriptions, engine};

fn openings() -> Openings {
    let (_, offers) = descriptions().swap_remove(0);
    let places = Places { quota: 80, taken: 30, free: 45, withheld: 5, reserved: 2 };
    let slot = Slot {
        office: "batam-harbourbay".into(),
        date: day("2026-11-30"),
        session: "all".into(),
        places,
        halted: false,
        bookable: true,
    };
    let opening = Opening {
        offers,
        places,
        offices: [("batam-harbourbay".to_owned(), places)].into(),
        days: [(day("2026-11-30"), places)].into(),
        slots: vec![slot],
    };
    let as_of = Position { epoch: 3, seq: 1_841 };
    Openings { now: at("2026-11-27T07:00:05.123Z"), as_of, openings: vec![opening] }
}

fn stream() -> Stream {
    let follower = Replica { name: "n2".into(), current: false, offline: true, lag: 7 };
    Stream {
        name: "GILIRAN_V1_LEDGER_1".into(),
        messages: 1_811,
        bytes: 3_120_554,
        last_seq: 1_841,
        replicas: 2,
        leader: Some("n1".into()),
        followers: vec![follower],
    }
}

/// What operators are shown, by the name of its fixture.
pub(crate) fn judged() -> Vec<(&'static str, Judged)> {
    let (identity, standing) = engine();
    let (id, version) = (identity.id, identity.version);
    let process = Process { id, version, started: Some(identity.started), standing };
    let said = ServerSaid {
        name: "n1".into(),
        version: "2.12.2".into(),
        sync_always: true,
        storage: Storage { used: 3_120_554, limit: Some(100_000_000_000) },
        certificate_until: Some(at("2027-06-01T00:00:00.000Z")),
    };
    let away = Known::Unknown("ask the monitoring port: connection refused".into());
    let check = |name: &str, verdict, found: &str, remedy: Option<&str>| Check {
        name: name.into(),
        verdict,
        found: found.into(),
        remedy: remedy.map(Into::into),
    };
    let full = Judged {
        opening: None,
        go: false,
        checks: vec![
            check("engine", Verdict::Go, "engine a is active, epoch 3", None),
            check(
                "replicas",
                Verdict::NoGo,
                "GILIRAN_V1_LEDGER_1: n2 is away",
                Some("bring it back"),
            ),
        ],
        picture: Picture {
            taken_at: at("2026-11-27T07:00:05.130Z"),
            prefix: "giliran.v1".into(),
            processes: Known::Known(vec![process]),
            openings: Known::Known(openings()),
            streams: Known::Known(vec![stream()]),
            storage: Known::Known(Storage { used: 3_120_554, limit: None }),
            servers: vec![
                Server { monitor: "http://n1:8222".into(), said: Known::Known(said) },
                Server { monitor: "http://n2:8222".into(), said: away },
            ],
            rates: Some(Rates {
                over_ms: 1_003,
                per_second: [("granted".to_owned(), 120.5)].into(),
                grants: Some(Took { p50_us: 4_096, p99_us: 8_192 }),
            }),
        },
    };
    let unknown = || "no answer within 2 s".to_owned();
    let blind = Judged {
        opening: Some("2026-W49".into()),
        go: false,
        checks: vec![
            check("engine", Verdict::Unknown, "no answer within 2 s", Some("another login")),
            check("sync", Verdict::Waived, "no server was asked", None),
        ],
        picture: Picture {
            taken_at: at("2026-11-27T06:50:00.000Z"),
            prefix: "giliran.v1".into(),
            processes: Known::Unknown(unknown()),
            openings: Known::Unknown(unknown()),
            streams: Known::Unknown(unknown()),
            storage: Known::Unknown(unknown()),
            servers: Vec::new(),
            rates: None,
        },
    };
    vec![("status", full), ("preflight_blind", blind)]
}
