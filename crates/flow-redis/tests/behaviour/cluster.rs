//! A real cluster: every key reaches its node.

use std::path::PathBuf;
use std::time::Duration;

use crate::server::{Server, free_port};
use crate::support::eventually;
use flow_ratelimit::Rate;
use flow_redis::{DistributedLimiter, KeyedDistributedLimiter, RedisBackend, RedisError};
use flow_rt::{Handle, TestRuntime};

flow_rt::on_every_runtime! {
    hosts only;
    every_key_of_a_cluster_is_answered,
    a_slot_that_moves_is_followed,
    a_node_that_hangs_is_left_for_its_replica,
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
                Server::first_up(|| {
                    let options = [
                        // A replica keeps there what it was sent.
                        ("--dir", dir.display().to_string()),
                        ("--cluster-enabled", "yes".to_owned()),
                        ("--cluster-config-file", format!("{node}.conf")),
                        ("--cluster-port", free_port().to_string()),
                        ("--cluster-node-timeout", "1000".to_owned()),
                        // Or all nodes would refuse while one is missing, and give it away so.
                        ("--cluster-require-full-coverage", "no".to_owned()),
                    ];
                    let options = options.map(|(name, value)| [name.to_owned(), value]);
                    Server::with(options.concat())
                })
            })
            .collect();
        let first = nodes[0].port().to_string();
        let bus = nodes[0].command(&["CONFIG", "GET", "cluster-port"]);
        let bus = bus
            .lines()
            .last()
            .expect("its name and its value")
            .to_owned();
        for (node, server) in nodes.iter().enumerate() {
            server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(node + 1).to_string()]);
            if node < PRIMARIES {
                let first = (node * SLOTS / PRIMARIES).to_string();
                let last = ((node + 1) * SLOTS / PRIMARIES - 1).to_string();
                server.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            }
        }
        let cluster = Self { nodes, dir };
        let mut tries = 0;
        eventually(rt, "the nodes know each other", async || {
            // On a busy machine, greetings are given up after a second.
            if tries % 150 == 0 {
                for node in &cluster.nodes[1..] {
                    node.command(&["CLUSTER", "MEET", "127.0.0.1", &first, &bus]);
                }
            }
            tries += 1;
            cluster.nodes.iter().all(|node| {
                let known = node.command(&["CLUSTER", "NODES"]);
                known.lines().count() == cluster.nodes.len() && !known.contains("handshake")
            })
        })
        .await;
        let first = cluster.id(0);
        for replica in &cluster.nodes[PRIMARIES..] {
            eventually(rt, "it is a replica", async || {
                replica.command(&["CLUSTER", "REPLICATE", &first]) == "OK"
            })
            .await;
        }
        for node in &cluster.nodes {
            eventually(rt, "the cluster is complete", async || {
                let info = node.command(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok\r") && info.contains("cluster_slots_ok:16384\r")
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

    /// The slot of a key's bucket, and the primary that had it at first.
    fn slot(&self, key: &str) -> (String, usize) {
        let key = format!("flow:user:{{{key}}}");
        let slot = self.nodes[0].command(&["CLUSTER", "KEYSLOT", &key]);
        let owner = |node: &usize| slot.parse::<usize>().unwrap() < (node + 1) * SLOTS / PRIMARIES;
        let owner = (0..PRIMARIES).find(owner).unwrap();
        (slot, owner)
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

async fn a_slot_that_moves_is_followed(rt: TestRuntime) {
    let cluster = Cluster::start(&rt, 0).await;
    let redis = cluster.connect(PATIENT);
    let limiter = limiter(&redis);
    limiter.check("a").await.unwrap();
    limiter.reset("a").await.unwrap();
    let (slot, from) = cluster.slot("a");
    let to = (from + 1) % PRIMARIES;
    let set_slot = |node: usize, state: &str, other: usize| {
        let id = cluster.id(other);
        let done = cluster.nodes[node].command(&["CLUSTER", "SETSLOT", &slot, state, &id]);
        assert_eq!(done, "OK", "{node} {state} {other}");
    };
    set_slot(to, "IMPORTING", from);
    set_slot(from, "MIGRATING", to);
    // Its bucket is full, and so at neither end.
    let asked = limiter.peek("a").await;
    assert_eq!(asked.unwrap_err(), RedisError::Redirected);
    for key in ["b", "c", "d", "e"] {
        assert_eq!(limiter.check(key).await.unwrap().remaining(), 999, "{key}");
    }
    for node in [to, from, (to + 1) % PRIMARIES] {
        set_slot(node, "NODE", to);
    }
    assert_eq!(limiter.check("a").await.unwrap().remaining(), 999);
    assert_eq!(limiter.stats().failures, 0);
}

async fn a_node_that_hangs_is_left_for_its_replica(rt: TestRuntime) {
    let cluster = Cluster::start(&rt, 1).await;
    let limiter = limiter(&cluster.connect(Duration::from_millis(250)));
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let (hung, others): (Vec<_>, Vec<_>) =
        keys.into_iter().partition(|key| cluster.slot(key).1 == 0);
    assert!(!hung.is_empty() && !others.is_empty());
    for key in keys {
        eventually(&rt, "connected", async || limiter.peek(key).await.is_ok()).await;
    }
    cluster.nodes[0].signal("STOP");
    let replica = &cluster.nodes[PRIMARIES];
    eventually(&rt, "the replica takes over", async || {
        replica.command(&["ROLE"]).starts_with("master")
    })
    .await;
    let mut timeouts = 0;
    eventually(&rt, "it is asked", async || {
        // The others answer all the time.
        for key in &others {
            let _ = limiter.peek(key).await;
        }
        let asked = limiter.peek(hung[0]).await;
        timeouts += u32::from(matches!(asked, Err(RedisError::Timeout { .. })));
        asked.is_ok()
    })
    .await;
    // Silence is a second, four of them; without end, as long as answers of others count.
    assert!(timeouts < 40, "{timeouts}");
}
