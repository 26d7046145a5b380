//! A line between two processes that can go dead.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What is done to what comes from the server; it stays as long as it was.
type Rewrite = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Takes connections, and passes on what comes, or lets it lie.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    dead: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// To a server on this machine.
    pub(crate) async fn to(server: u16) -> Self {
        Self::rewriting(server, |_| {}).await
    }

    /// The same; what the server says is changed on the way.
    pub(crate) async fn rewriting(
        server: u16,
        rewrite: impl Fn(&mut [u8]) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (dead, is_dead) = watch::channel(false);
        let rewrite: Rewrite = Arc::new(rewrite);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // The server may be away.
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                let ((from, to), (back, out)) = (client.into_split(), server.into_split());
                tokio::spawn(pass(from, out, is_dead.clone(), Arc::new(|_| {})));
                tokio::spawn(pass(back, to, is_dead.clone(), Arc::clone(&rewrite)));
            }
        });
        Self { port, dead, task }
    }

    /// True: from now on nothing gets through, and nobody is told.
    pub(crate) fn go_dead(&self, dead: bool) {
        self.dead.send_replace(dead);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut dead: watch::Receiver<bool>,
    rewrite: Rewrite,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        rewrite(&mut buffer[..read]);
        if dead.wait_for(|dead| !dead).await.is_err()
            || to.write_all(&buffer[..read]).await.is_err()
        {
            return;
        }
    }
    let _ = dead.wait_for(|dead| !dead).await;
}
