//! A PostgreSQL that speaks TLS alone, with certificates made here: whom each
//! `sslmode` believes.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{Permissions, set_permissions, write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use giliran_persist::{Store, StoreUrl};
use giliran_testkit::postgres;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// Who runs the server where the test runs as root, which PostgreSQL refuses.
const NOBODY: u32 = 65_534;

struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority's certificate in a file, and what signs with it.
fn authority(file: &Path) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    write(file, params.self_signed(&key).unwrap().pem()).unwrap();
    Issuer::new(params, key)
}

/// A certificate of this name and its key in files, `<stem>.pem` and `<stem>.key`.
fn certificate(stem: &Path, name: &str, issuer: &Issuer<'_, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    write(stem.with_extension("pem"), params.signed_by(&key, issuer).unwrap().pem()).unwrap();
    let file = stem.with_extension("key");
    write(&file, key.serialize_pem()).unwrap();
    set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
}

/// Where the server that the tests get has its programs.
async fn programs() -> PathBuf {
    let client = postgres::connect(&postgres::server()).await;
    let asked = "SELECT setting FROM pg_config WHERE name = 'BINDIR'";
    let folder = PathBuf::from(client.query_one(asked, &[]).await.unwrap().get::<_, String>(0));
    assert!(
        folder.join("initdb").is_file(),
        "the PostgreSQL of the tests has to be on this machine"
    );
    folder
}

/// A program that runs as somebody whom PostgreSQL accepts.
fn program(path: &Path, folder: &Path) -> Command {
    let mut command = Command::new(path);
    command.current_dir(folder).stdin(Stdio::null());
    if std::fs::metadata(folder).unwrap().uid() == NOBODY {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// A server for `localhost`, of the authority in `ca.pem`, that takes no connection
/// without TLS; for the database `template1` the client needs a certificate of that
/// authority as well.
async fn start(folder: &Path) -> Server {
    let issuer = authority(&folder.join("ca.pem"));
    authority(&folder.join("stranger.pem"));
    certificate(&folder.join("server"), "localhost", &issuer);
    certificate(&folder.join("client"), "certified", &issuer);
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if is_root {
        for file in ["", "ca.pem", "server.pem", "server.key"] {
            chown(folder.join(file), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    let programs = programs().await;
    let data = folder.join("data");
    let mut initdb = program(&programs.join("initdb"), folder);
    initdb.args(["--no-sync", "--locale=C", "--encoding=UTF8", "--auth=trust", "--username=plain"]);
    let made = initdb.arg("--pgdata").arg(&data).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let access = "hostssl template1 all 127.0.0.1/32 trust clientcert=verify-ca\n\
                  hostssl all all 127.0.0.1/32 trust\nlocal all all trust\n";
    write(data.join("pg_hba.conf"), access).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = program(&programs.join("postgres"), folder);
    server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-k", "", "-c", "fsync=off"]);
    server.args(["-c", "listen_addresses=127.0.0.1", "-c", "ssl=on"]);
    for (setting, file) in
        [("ssl_ca_file", "ca.pem"), ("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key")]
    {
        server.arg("-c").arg(format!("{setting}={}", folder.join(file).display()));
    }
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let server = Server { child: server.stderr(log).spawn().unwrap(), port };
    let since = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let log = std::fs::read_to_string(folder.join("log")).unwrap();
        assert!(since.elapsed() < Duration::from_secs(20), "{log}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server
}

#[tokio::test]
async fn each_sslmode_believes_whom_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ca, stranger) = (file("ca.pem"), file("stranger.pem"));
    let own = format!("sslcert={}&sslkey={}", file("client.pem"), file("client.key"));
    let open = async |database: &str, host: &str, parameters: String| {
        let port = server.port;
        let url = format!("postgres://plain@{host}:{port}/{database}?{parameters}");
        let url: StoreUrl = url.parse().unwrap();
        Store::open_to_read(&url).await.map(drop).map_err(|error| error.to_string())
    };
    let since = Instant::now();
    while let Err(why) = open("postgres", "localhost", "sslmode=require".to_owned()).await {
        assert!(why.contains("starting up") && since.elapsed() < Duration::from_secs(20), "{why}");
    }
    let of = |mode: &str, authority: &str| format!("sslmode={mode}&sslrootcert={authority}");
    let with_own = format!("{}&{own}", of("verify-full", &ca));
    for (database, host, parameters) in [
        ("postgres", "localhost", String::new()),
        ("postgres", "127.0.0.1", "sslmode=prefer".to_owned()),
        ("postgres", "127.0.0.1", "sslmode=require".to_owned()),
        ("postgres", "127.0.0.1", of("verify-ca", &ca)),
        ("postgres", "localhost", of("verify-full", &ca)),
        ("template1", "localhost", with_own.clone()),
    ] {
        let opened = open(database, host, parameters.clone()).await;
        assert_eq!(opened, Ok(()), "{database} at {host}?{parameters}");
    }
    for (database, host, parameters, why) in [
        ("postgres", "localhost", "sslmode=disable".to_owned(), "no encryption"),
        ("postgres", "127.0.0.1", of("verify-full", &ca), "not valid for name"),
        ("postgres", "localhost", of("verify-full", &stranger), "invalid peer certificate"),
        ("postgres", "localhost", of("verify-ca", &stranger), "invalid peer certificate"),
        ("postgres", "localhost", of("require", &stranger), "invalid peer certificate"),
        ("template1", "localhost", of("verify-full", &ca), "certificate"),
        ("postgres", "localhost", of("verify-ca", &format!("{ca}x")), "is the path right?"),
    ] {
        let refused = open(database, host, parameters.clone()).await.unwrap_err();
        assert!(refused.contains(why), "{database} at {host}?{parameters}: {refused}");
    }
    let unknown = open("postgres", "localhost", "sslmode=verify-full".to_owned()).await;
    assert!(unknown.is_err(), "no authority of this machine has signed it");
    set_permissions(folder.path().join("client.key"), Permissions::from_mode(0o644)).unwrap();
    let refused = open("template1", "localhost", with_own).await.unwrap_err();
    assert!(refused.contains("chmod 0600"), "{refused}");
}
