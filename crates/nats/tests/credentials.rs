//! A server whose accounts and users stand in JWTs, made here: a credentials file logs
//! in, and what is said of one that does not.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use giliran_nats::connection::{self, Login};
use giliran_nats::server::{Server, ServerOptions};
use giliran_testkit::server_options;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// Base64 for URLs, without padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let group = |bytes: &[u8]| {
        let of = |place: usize| u32::from(bytes.get(place).copied().unwrap_or(0));
        let all = of(0) << 16 | of(1) << 8 | of(2);
        let digits = [18, 12, 6, 0].map(|shift| DIGITS[(all >> shift & 63) as usize] as char);
        digits.into_iter().take(bytes.len() + 1).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

/// What `issuer` says of `subject`, signed.
fn token(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: &Value) -> String {
    let (iss, sub) = (issuer.public_key(), subject.public_key());
    let head = base64(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let claims =
        json!({ "jti": name, "iat": 1, "iss": iss, "sub": sub, "name": name, "nats": nats });
    let said = format!("{head}.{}", base64(claims.to_string().as_bytes()));
    let signature = base64(&issuer.sign(said.as_bytes()).unwrap());
    format!("{said}.{signature}")
}

fn account(operator: &KeyPair, account: &KeyPair, name: &str) -> String {
    let limits = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
        "wildcards": true, "conn": -1, "leaf": -1 });
    token(operator, account, name, &json!({ "type": "account", "version": 2, "limits": limits }))
}

/// A credentials file of `user`, as `issuer` lets it in.
fn credentials(file: &Path, issuer: &KeyPair, user: &KeyPair) {
    let claims = json!({ "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1,
        "data": -1, "payload": -1 });
    let (token, seed) = (token(issuer, user, "engine", &claims), user.seed().unwrap());
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    write(file, text).unwrap();
    set_permissions(file, Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn a_credentials_file_logs_in_and_a_strangers_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let operator = KeyPair::new_operator();
    let (own, system) = (KeyPair::new_account(), KeyPair::new_account());
    let more = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}\n",
        token(&operator, &operator, "O", &json!({ "type": "operator", "version": 2 })),
        system.public_key(),
        own.public_key(),
        account(&operator, &own, "GILIRAN"),
        system.public_key(),
        account(&operator, &system, "SYS"),
    );
    let options = ServerOptions { more, ..server_options(&folder.path().join("nats")) };
    let server = Server::start(options).await.unwrap();
    let connect = async |login: &Login| connection::connect(&server.url(), "test", login).await;
    let file = folder.path().join("engine.creds");
    let login = Login { credentials: Some(file.clone()), ..Login::default() };
    credentials(&file, &own, &KeyPair::new_user());
    connect(&login).await.unwrap().flush().await.unwrap();
    assert!(connect(&Login::default()).await.is_err(), "nobody");
    credentials(&file, &KeyPair::new_account(), &KeyPair::new_user());
    assert!(connect(&login).await.is_err(), "of an account that the server does not know");
    write(&file, "no credentials").unwrap();
    let said = connect(&login).await.unwrap_err().to_string();
    assert!(said.contains("NATS credentials") && said.contains("engine.creds"), "{said}");
    set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let said = connect(&login).await.unwrap_err().to_string();
    assert!(said.contains("chmod 0600"), "{said}");
}
