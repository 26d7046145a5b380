//! Databases of their own on the PostgreSQL that tests get.

use tokio_postgres::{Client, NoTls};

/// Names the server, as `postgres://USER@HOST/DATABASE`.
const VARIABLE: &str = "GILIRAN_TEST_POSTGRES";

/// The address of the server.
///
/// # Panics
///
/// Where there is none.
pub fn server() -> String {
    std::env::var(VARIABLE).unwrap_or_else(|_| {
        panic!(
            "{VARIABLE} names no PostgreSQL; `cargo xtask test` and `cargo xtask env …` provide one"
        )
    })
}

/// A session.
///
/// # Panics
///
/// Where the server refuses it.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Makes a database with these options of `CREATE DATABASE`; its address.
///
/// # Panics
///
/// Where the server refuses them.
pub async fn database(options: &str) -> String {
    let server = server();
    let name = format!("giliran_test_{:016x}", rand::random::<u64>());
    let client = connect(&server).await;
    client.batch_execute(&format!("CREATE DATABASE {name} {options}")).await.unwrap();
    let (server, _) = server.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}
