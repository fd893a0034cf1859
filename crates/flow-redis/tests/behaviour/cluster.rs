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
    a_node_that_dies_is_left_for_its_replica,
    a_cluster_is_found_through_any_of_the_nodes_named,
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

    /// A backend that is told some nodes' addresses, and finds the others.
    fn connect(&self, named: &[usize], timeout: Duration) -> RedisBackend {
        let ports = named.iter().map(|node| self.nodes[*node].port());
        let named: Vec<_> = ports.map(|port| format!("node=127.0.0.1:{port}")).collect();
        // The first one is in the place of a host, the others behind it.
        let url = named.join("&").replacen("node=", "redis-cluster://", 1);
        RedisBackend::builder(url.replacen('&', "?", 1))
            .timeout(timeout)
            .build()
            .unwrap()
    }

    /// Waits until the replica of the first node has its slots.
    async fn failed_over(&self, rt: &Handle) {
        let replica = &self.nodes[PRIMARIES];
        eventually(rt, "the replica takes over", async || {
            replica.command(&["ROLE"]).starts_with("master")
        })
        .await;
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

/// Every primary has some of them.
const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

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
    let limiter = limiter(&cluster.connect(&[2], PATIENT));
    for key in KEYS {
        assert_eq!(limiter.check(key).await.unwrap().remaining(), 999, "{key}");
        limiter.reset(key).await.unwrap();
        assert_eq!(limiter.peek(key).await.unwrap().remaining(), 1_000, "{key}");
    }
}

async fn a_slot_that_moves_is_followed(rt: TestRuntime) {
    let cluster = Cluster::start(&rt, 0).await;
    let redis = cluster.connect(&[2], PATIENT);
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
    // The only address that was named is the one that is lost.
    let limiter = limiter(&cluster.connect(&[0], Duration::from_millis(250)));
    let (lost, others) = connected(&rt, &cluster, &limiter).await;
    cluster.nodes[0].signal("STOP");
    cluster.failed_over(&rt).await;
    let mut timeouts = 0;
    eventually(&rt, "it is asked", async || {
        // The others answer all the time.
        for key in &others {
            let _ = limiter.peek(key).await;
        }
        let asked = limiter.peek(lost[0]).await;
        timeouts += u32::from(matches!(asked, Err(RedisError::Timeout { .. })));
        asked.is_ok()
    })
    .await;
    // Silence is a second, four of them; without end, as long as answers of others count.
    assert!(timeouts < 40, "{timeouts}");
    all_answer(&rt, &limiter).await;
}

async fn a_node_that_dies_is_left_for_its_replica(rt: TestRuntime) {
    let mut cluster = Cluster::start(&rt, 1).await;
    let limiter = limiter(&cluster.connect(&[0], PATIENT));
    connected(&rt, &cluster, &limiter).await;
    cluster.nodes[0].kill();
    cluster.failed_over(&rt).await;
    all_answer(&rt, &limiter).await;
}

async fn a_cluster_is_found_through_any_of_the_nodes_named(rt: TestRuntime) {
    let mut cluster = Cluster::start(&rt, 1).await;
    cluster.nodes[0].kill();
    cluster.failed_over(&rt).await;
    for named in [[0, 1], [1, 0]] {
        let limiter = limiter(&cluster.connect(&named, PATIENT));
        all_answer(&rt, &limiter).await;
    }
}

/// Waits until every key is answered: the first node's, and the others'.
async fn connected<'a>(
    rt: &Handle,
    cluster: &Cluster,
    limiter: &KeyedDistributedLimiter<str>,
) -> (Vec<&'a str>, Vec<&'a str>) {
    all_answer(rt, limiter).await;
    let (first, others): (Vec<_>, Vec<_>) =
        KEYS.into_iter().partition(|key| cluster.slot(key).1 == 0);
    assert!(!first.is_empty() && !others.is_empty());
    (first, others)
}

async fn all_answer(rt: &Handle, limiter: &KeyedDistributedLimiter<str>) {
    for key in KEYS {
        eventually(rt, "every key is answered", async || {
            limiter.peek(key).await.is_ok()
        })
        .await;
    }
}
