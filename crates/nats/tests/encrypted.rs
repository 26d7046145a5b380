//! A server that asks for TLS, client certificates or NKeys, made here: who gets in,
//! and what is said to those who do not.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use giliran_nats::connection::{self, Login};
use giliran_nats::server::{Server, ServerOptions};
use giliran_testkit::server_options;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

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
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    write(stem.with_extension("pem"), params.signed_by(&key, issuer).unwrap().pem()).unwrap();
    secret(&stem.with_extension("key"), &key.serialize_pem());
}

fn secret(file: &Path, text: &str) {
    write(file, text).unwrap();
    set_permissions(file, Permissions::from_mode(0o600)).unwrap();
}

async fn start(folder: &Path, more: String) -> Server {
    let options = ServerOptions { more, ..server_options(&folder.join("nats")) };
    Server::start(options).await.unwrap()
}

#[tokio::test]
async fn certificates_of_both_sides_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let issuer = authority(&file("ca.pem"));
    authority(&file("stranger.pem"));
    certificate(&file("server"), "localhost", &issuer);
    certificate(&file("client"), "gateway", &issuer);
    let more = format!(
        "tls {{\n cert_file: {:?}\n key_file: {:?}\n ca_file: {:?}\n verify: true\n}}\n",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    );
    let server = start(folder.path(), more).await;
    let url = server.url().replace("127.0.0.1", "localhost");
    let own = Some((file("client.pem"), file("client.key")));
    let fine = Login { ca: Some(file("ca.pem")), certificate: own, ..Login::default() };
    let client = connection::connect(&url, "test", &fine).await.unwrap();
    client.flush().await.unwrap();
    for login in [
        Login { ca: Some(file("stranger.pem")), ..fine.clone() },
        Login { ca: None, ..fine.clone() },
        Login { certificate: None, ..fine.clone() },
        Login::default(),
    ] {
        assert!(connection::connect(&url, "test", &login).await.is_err(), "{login:?}");
    }
    let elsewhere = connection::connect(&server.url(), "test", &fine).await;
    assert!(elsewhere.is_err(), "the certificate is not of 127.0.0.1");
    let missing = Login { ca: Some(file("none.pem")), ..fine.clone() };
    let said = connection::connect(&url, "test", &missing).await.unwrap_err().to_string();
    assert!(said.contains("none.pem") && said.contains("is the path right?"), "{said}");
    set_permissions(file("client.key"), Permissions::from_mode(0o644)).unwrap();
    let said = connection::connect(&url, "test", &fine).await.unwrap_err().to_string();
    assert!(said.contains("chmod 0600"), "{said}");
}

#[tokio::test]
async fn an_nkey_opens_what_no_password_does() {
    let folder = tempfile::tempdir().unwrap();
    let key = nkeys::KeyPair::new_user();
    let file = folder.path().join("engine.nk");
    secret(&file, &format!("# the engine's\n{}\n", key.seed().unwrap()));
    let more = format!("authorization {{ users: [ {{ nkey: {} }} ] }}\n", key.public_key());
    let server = start(folder.path(), more).await;
    let login = Login { nkey: Some(file.clone()), ..Login::default() };
    let client = connection::connect(&server.url(), "test", &login).await.unwrap();
    client.flush().await.unwrap();
    assert!(connection::connect(&server.url(), "test", &Login::default()).await.is_err());
    secret(&file, &nkeys::KeyPair::new_user().seed().unwrap());
    assert!(connection::connect(&server.url(), "test", &login).await.is_err(), "another's seed");
}

#[tokio::test]
async fn tls_that_is_required_is_not_done_without() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), String::new()).await;
    let login = Login { tls: true, ..Login::default() };
    assert!(connection::connect(&server.url(), "test", &login).await.is_err());
    assert!(connection::connect(&server.url(), "test", &Login::default()).await.is_ok());
}
