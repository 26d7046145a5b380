//! A pooler that shares PostgreSQL's sessions between clients, one transaction each,
//! as several do in their transaction mode.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use giliran_persist::{Store, StoreError};
use giliran_testkit::postgres;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

/// A session with the server that no client has at the moment.
struct Idle {
    server: TcpStream,
    /// What the server said when it was made: the login is done, go on.
    greeting: Vec<u8>,
}

/// Sessions, the one used last first.
type Pool = Arc<Mutex<Vec<Idle>>>;

/// What a client says at first, but for questions about encryption, which it is
/// answered with no.
async fn startup(client: &mut TcpStream) -> Vec<u8> {
    loop {
        let length = client.read_u32().await.unwrap();
        let mut message = length.to_be_bytes().to_vec();
        message.resize(length as usize, 0);
        client.read_exact(&mut message[4..]).await.unwrap();
        if length != 8 {
            return message;
        }
        client.write_all(b"N").await.unwrap();
    }
}

/// One message of the server's; true: it is ready for the next question, outside a
/// transaction.
async fn message(server: &mut TcpStream) -> (Vec<u8>, bool) {
    let kind = server.read_u8().await.unwrap();
    let length = server.read_u32().await.unwrap();
    let mut message = vec![kind];
    message.extend(length.to_be_bytes());
    message.resize(1 + length as usize, 0);
    server.read_exact(&mut message[5..]).await.unwrap();
    let ready = kind == b'Z' && message[5] == b'I';
    (message, ready)
}

/// The first client logs in itself; who comes after it is let in without.
async fn log_in(client: &mut TcpStream, address: &str, startup: &[u8]) -> Idle {
    let mut server = TcpStream::connect(address).await.unwrap();
    server.write_all(startup).await.unwrap();
    let mut greeting = Vec::new();
    loop {
        let (said, ready) = message(&mut server).await;
        client.write_all(&said).await.unwrap();
        let accepted = said[0] == b'R' && said[5..] == [0; 4];
        if accepted || !greeting.is_empty() {
            greeting.extend(&said);
        }
        if ready {
            return Idle { server, greeting };
        }
        // Of the questions of a login some are answered.
        if said[0] == b'R' && matches!(said[8], 10 | 11) {
            let mut answer = vec![0; 4096];
            let read = client.read(&mut answer).await.unwrap();
            server.write_all(&answer[..read]).await.unwrap();
        }
    }
}

async fn serve(mut client: TcpStream, pool: Pool, address: String) {
    let startup = startup(&mut client).await;
    let first = pool.lock().await.pop();
    let first = match first {
        Some(idle) => {
            client.write_all(&idle.greeting).await.unwrap();
            idle
        }
        None => log_in(&mut client, &address, &startup).await,
    };
    pool.lock().await.push(first);
    let mut asked = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = client.read(&mut asked).await {
        if asked[0] == b'X' {
            return;
        }
        let mut session = pool.lock().await.pop().expect("one transaction at a time");
        session.server.write_all(&asked[..read]).await.unwrap();
        loop {
            let (said, outside) = message(&mut session.server).await;
            client.write_all(&said).await.unwrap();
            if outside {
                break;
            }
            if said[0] == b'Z' {
                // Within a transaction.
                let Ok(read @ 1..) = client.read(&mut asked).await else { return };
                session.server.write_all(&asked[..read]).await.unwrap();
            }
        }
        pool.lock().await.push(session);
    }
}

/// The lock by which one process alone writes a store would be anybody's.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_of_transactions_is_refused_in_words() {
    let url = postgres::server();
    let (login, rest) = url.rsplit_once('@').unwrap();
    let (host, database) = rest.split_once('/').unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (pool, address) = (Pool::default(), host.to_owned());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, Arc::clone(&pool), address.clone()));
        }
    });
    let pooled = format!("{login}@127.0.0.1:{port}/{database}");
    let refused = Store::open(&pooled.parse().unwrap()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unsuitable(_)), "{refused:?}");
    for word in ["pooler", "session mode"] {
        assert!(refused.to_string().contains(word), "{refused}");
    }
}
