//! What is said where a connection does not come about, or is of no use.

#![allow(clippy::unwrap_used, reason = "tests")]

use giliran_nats::connection::{self, Login, Named};
use giliran_nats::server::{Server, ServerOptions};
use giliran_nats::{ErrorKind, ledger, suitability};
use giliran_testkit::server_options;
use giliran_wire::subject::Namespace;

const USERS: &str = "accounts { A { jetstream: enabled, users: [ { user: gateway, password: secret, \
    permissions { publish: { allow: [\"$JS.API.INFO\"] }, subscribe: { allow: [\"_INBOX_gateway.>\"] } } } ] } }";

fn login(prefix: Option<&str>) -> Login {
    let (user, password) = (Some("gateway".to_owned()), Some("secret".to_owned()));
    Login { user, password, inbox_prefix: prefix.map(str::to_owned), ..Login::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_its_inbox_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let options = ServerOptions { more: USERS.to_owned(), ..server_options(folder.path()) };
    let server = Server::start(options).await.unwrap();
    let client = connection::connect(&server.url(), "test", &login(None)).await.unwrap();
    let refused = suitability::check(&client, None).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotPermitted);
    assert!(refused.to_string().contains("--nats-inbox-prefix"), "{refused}");
    let refused = ledger::open(&client, &Namespace::default()).await.unwrap_err();
    assert!(refused.to_string().contains("--nats-inbox-prefix"), "{refused}");
    let client =
        connection::connect(&server.url(), "test", &login(Some("_INBOX_gateway"))).await.unwrap();
    suitability::check(&client, None).await.unwrap();

    let nobody = connection::connect(&server.url(), "test", &Login::default()).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::NotPermitted);
    assert!(nobody.to_string().contains("--nats-user"), "{nobody}");

    // Another login of a process is told its own options.
    let named = Named { login: "--other-user", inbox_prefix: "--other-prefix" };
    let other = Login { password: Some("wrong".to_owned()), named, ..login(None) };
    let refused = connection::connect(&server.url(), "test", &other).await.unwrap_err();
    assert!(refused.to_string().ends_with("missing: --other-user"), "{refused}");
    let other = Login { named, ..login(Some("_INBOX_other")) };
    let client = connection::connect(&server.url(), "test", &other).await.unwrap();
    let refused = suitability::check(&client, None).await.unwrap_err();
    assert!(refused.to_string().ends_with("with --other-prefix"), "{refused}");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_told_with_the_way_to_another() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let url = format!("nats://127.0.0.1:{port}");
    let away = connection::connect(&url, "test", &Login::default()).await.unwrap_err();
    assert_eq!(away.kind(), ErrorKind::Unavailable);
    for words in [url.as_str(), "refused", "--nats or GILIRAN_NATS"] {
        assert!(away.to_string().contains(words), "{away}");
    }
}
