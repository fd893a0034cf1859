//! A real cluster: every key reaches its node.

use std::path::PathBuf;
use std::time::Duration;

use crate::server::{Server, free_port};
use crate::support::eventually;
use flow_ratelimit::Rate;
use flow_redis::{DistributedLimiter, KeyedDistributedLimiter, RedisBackend};
use flow_rt::{Handle, TestRuntime};

flow_rt::on_every_runtime! {
    hosts only;
    every_key_of_a_cluster_is_answered,
}

/// Three nodes that share the slots, and replicas of the first; gone on drop.
struct Cluster {
    nodes: Vec<Server>,
    dir: PathBuf,
}

impl Cluster {
    async fn start(rt: &Handle, replicas: usize) -> Self {
        let dir =
            std::env::temp_dir().join(format!("flow-redis-{}-{}", std::process::id(), free_port()));
        std::fs::create_dir(&dir).unwrap();
        let nodes: Vec<_> = (0..PRIMARIES + replicas)
            .map(|node| {
                let config = dir.join(format!("{node}.conf"));
                let bus = free_port();
                let options = [
                    "--cluster-enabled".to_owned(),
                    "yes".to_owned(),
                    "--cluster-config-file".to_owned(),
                    config.display().to_string(),
                    "--cluster-port".to_owned(),
                    bus.to_string(),
                    "--cluster-node-timeout".to_owned(),
                    "1000".to_owned(),
                ];
                let mut server = Server::with(options.into());
                server.restart();
                (server, bus)
            })
            .collect();
        let (first, bus) = (nodes[0].0.port().to_string(), nodes[0].1.to_string());
        for (node, (server, _)) in nodes.iter().enumerate() {
            server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(node + 1).to_string()]);
            if node < PRIMARIES {
                let first = (node * SLOTS / PRIMARIES).to_string();
                let last = ((node + 1) * SLOTS / PRIMARIES - 1).to_string();
                server.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            }
            if node > 0 {
                server.command(&["CLUSTER", "MEET", "127.0.0.1", &first, &bus]);
            }
        }
        let nodes: Vec<_> = nodes.into_iter().map(|(server, _)| server).collect();
        let cluster = Self { nodes, dir };
        let first = cluster.id(0);
        for replica in &cluster.nodes[PRIMARIES..] {
            eventually(rt, "the nodes know each other", async || {
                replica.command(&["CLUSTER", "REPLICATE", &first]) == "OK"
            })
            .await;
        }
        for node in &cluster.nodes {
            eventually(rt, "the cluster is complete", async || {
                let info = node.command(&["CLUSTER", "INFO"]);
                let known = format!("cluster_known_nodes:{}\r", PRIMARIES + replicas);
                info.contains("cluster_state:ok\r") && info.contains(&known)
            })
            .await;
        }
        for replica in &cluster.nodes[PRIMARIES..] {
            eventually(rt, "the replica is in step", async || {
                replica
                    .command(&["INFO", "replication"])
                    .contains("master_link_status:up")
            })
            .await;
        }
        cluster
    }

    /// What the nodes call one of them.
    fn id(&self, node: usize) -> String {
        self.nodes[node].command(&["CLUSTER", "MYID"])
    }

    /// A backend that knows the last primary's address, and finds the others.
    fn connect(&self, timeout: Duration) -> RedisBackend {
        let url = self.nodes[PRIMARIES - 1].url();
        RedisBackend::builder(url.replace("redis://", "redis-cluster://"))
            .timeout(timeout)
            .build()
            .unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

const PRIMARIES: usize = 3;

const SLOTS: usize = 16_384;

/// As for the other tests: only a server that hangs reaches it.
const PATIENT: Duration = Duration::from_secs(2);

fn limiter(redis: &RedisBackend) -> KeyedDistributedLimiter<str> {
    DistributedLimiter::builder(redis)
        .keyed("user")
        .rate(Rate::per_hour(1))
        .burst(1_000)
        .build()
        .unwrap()
}

async fn every_key_of_a_cluster_is_answered(rt: TestRuntime) {
    let cluster = Cluster::start(&rt, 0).await;
    let limiter = limiter(&cluster.connect(PATIENT));
    for key in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        assert_eq!(limiter.check(key).await.unwrap().remaining(), 999, "{key}");
        limiter.reset(key).await.unwrap();
        assert_eq!(limiter.peek(key).await.unwrap().remaining(), 1_000, "{key}");
    }
}
