//! A cluster of three NATS servers with a replicated ledger.

use std::time::{Duration, Instant};

use giliran_nats::server::{Server, ServerOptions};
use giliran_testkit::server_options;

use crate::away::{BACK_WITHIN, REPORTED_WITHIN, ask, nobody_works};
use crate::promise::Promise;
use crate::rig::{Rig, config};
use crate::watched::Everybody;
use crate::{WITHIN, long};

const NODES: usize = 3;
/// How long electing leaders may take, on a loaded machine.
const ELECTED_WITHIN: Duration = Duration::from_secs(60);

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Three servers that know each other; started together, as none is healthy alone.
async fn start(folder: &std::path::Path) -> Vec<Server> {
    let ports: Vec<u16> = (0..NODES).map(|_| free_port()).collect();
    let routes: Vec<String> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    let routes = routes.join("\", \"");
    let nodes = ports.iter().enumerate().map(|(n, port)| {
        let more = format!(
            "server_name: \"n{n}\"\ncluster {{ name: \"test\", listen: \"127.0.0.1:{port}\", \
             routes: [\"{routes}\"] }}\n"
        );
        Server::start(ServerOptions {
            sync_always: true,
            more,
            ..server_options(&folder.join(format!("n{n}")))
        })
    });
    futures_util::future::try_join_all(nodes).await.unwrap()
}

/// The name of the node that leads a stream; none: no answer.
async fn leader(rig: &Rig, stream: &str) -> Option<String> {
    let mut context = async_nats::jetstream::new(rig.client.clone());
    context.set_timeout(Duration::from_millis(500));
    let stream = context.get_stream(stream).await.ok()?;
    stream.cached_info().cluster.as_ref()?.leader.clone()
}

/// Resolves once each stream has a leader: each elects its own.
async fn elected(rig: &Rig) {
    let (since, namespace) = (Instant::now(), &rig.namespace);
    let buckets =
        [namespace.lease_bucket(), namespace.availability_bucket(), namespace.openings_bucket()];
    let [lease, places, openings] = buckets.map(|bucket| format!("KV_{bucket}"));
    for stream in [namespace.ledger_stream(1), namespace.events_stream(), lease, places, openings] {
        while leader(rig, &stream).await.is_none() {
            assert!(since.elapsed() < ELECTED_WITHIN, "{stream} has no leader");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        eprintln!("{stream} has a leader after {:?}", since.elapsed());
    }
}

/// The ledger's leader is killed: another one is elected, and all goes on. Then all
/// three nodes are away, as in a power cut, and come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_loses_its_leader_and_then_every_node() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = start(folder.path()).await;
    let urls: Vec<String> = nodes.iter().map(Server::url).collect();
    let rig = Rig::at(&config(100), nodes.remove(0), &urls.join(",")).await;
    let mut nodes = Nodes { first: rig, rest: nodes };
    nodes.first.done(&[
        "init",
        "--key",
        crate::rig::text(&nodes.first.path("applicant.key")),
        "--replicas",
        "3",
    ]);
    let store = nodes.first.sqlite();
    let mut all = Everybody::start(&nodes.first, &store).await;
    assert_eq!(nodes.first.book(&ask(1)).await["outcome"], "granted");

    let ledger = nodes.first.namespace.ledger_stream(1);
    let name = leader(&nodes.first, &ledger).await.unwrap();
    let index: usize = name.trim_start_matches('n').parse().unwrap();
    nodes.kill(index).await;
    let killed = Instant::now();
    elected(&nodes.first).await;
    all.all_work(WITHIN).await;
    eprintln!("without its leader: all work after {:?}", killed.elapsed());
    assert_eq!(nodes.first.book(&ask(2)).await["outcome"], "granted");
    all.all_live();
    nodes.restart(&[index]).await;
    elected(&nodes.first).await;
    all.all_work(WITHIN).await;

    let listener = all.listen();
    let times: &[u64] = if long() { &[25, 60] } else { &[14] };
    for (n, away) in times.iter().enumerate() {
        for index in 1..NODES {
            nodes.kill(index).await;
        }
        let told = Promise::within(REPORTED_WITHIN);
        nodes.kill(0).await;
        tokio::time::sleep(Duration::from_secs(*away)).await;
        nobody_works(&listener, &told);
        nodes.restart(&[0, 1, 2]).await;
        elected(&nodes.first).await;
        let back = Promise::within(BACK_WITHIN);
        all.all_work_in_time(&back).await;
        let after = back.since.elapsed();
        eprintln!("all nodes away for {away} s: all work {after:?} after the election");
        assert_eq!(nodes.first.book(&ask(3 + n as u32)).await["outcome"], "granted");
        all.all_live();
    }
    drop(listener);
    nodes.first.audit(&[&store]).await;
}

/// The rig holds the first node.
struct Nodes {
    first: Rig,
    rest: Vec<Server>,
}

impl Nodes {
    fn node(&mut self, index: usize) -> &mut Server {
        if index == 0 { &mut self.first.server } else { &mut self.rest[index - 1] }
    }

    async fn kill(&mut self, index: usize) {
        self.node(index).kill().await.unwrap();
    }

    /// At once, since none is healthy alone.
    async fn restart(&mut self, indices: &[usize]) {
        let servers = std::iter::once(&mut self.first.server).chain(&mut self.rest);
        let restarts = servers
            .enumerate()
            .filter(|(index, _)| indices.contains(index))
            .map(|(_, server)| server.restart());
        futures_util::future::try_join_all(restarts).await.unwrap();
    }
}
