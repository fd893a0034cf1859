//! flow-redis beside the same script sent by a plain client.

#[path = "../../../crates/flow-redis/tests/behaviour/server.rs"]
#[allow(dead_code, reason = "the bench only starts it")]
mod server;

use core::time::Duration;
use std::process::ExitCode;

use flow_benches::{Bench, timed};
use flow_ratelimit::Rate;
use flow_redis::{DistributedLimiter, RedisBackend};
use flow_rt::Handle;
use fred::interfaces::{ClientLike, LuaInterface};
use fred::prelude::{Builder as FredBuilder, Client, Config};
use server::Server;
use tokio::runtime::{Builder, Runtime};

/// What flow's limiter runs on the server.
const SCRIPT: &str = include_str!("../../../crates/flow-redis/src/bucket.lua");
/// Tokens that a bucket holds; the rate is so many per second, so that everybody is admitted.
const BURST: u32 = 1_000_000;

fn main() -> ExitCode {
    flow_benches::run(
        "redis",
        "`DistributedLimiter` beside fred's EVALSHA of the same script, on a server of its own.",
        &["fred", "tokio"],
        |bench| {
            let server = Server::start();
            let runtime = Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("threads can be started");
            let ours = ours(&server, &runtime);
            let fred = runtime.block_on(Fred::connect(&server));
            for callers in [1, 64] {
                decisions(bench, &runtime, callers, &ours, &fred);
            }
            bench.note(
                "Each caller is a task on tokio with 2 workers and decides again as soon as it \
                 has its answer. Both contenders have one connection: flow's client lives on a \
                 thread of its own, fred's on the callers' runtime. The server shares the \
                 machine with them. What one caller pays above fred is two wake-ups of a sleeping \
                 thread, there and back: a decision is a task on flow's thread, which any runtime \
                 can await; it has a timer besides, as no decision waits for ever. 64 callers \
                 find that thread awake.",
            );
        },
    )
}

fn decisions(
    bench: &mut Bench,
    runtime: &Runtime,
    callers: u64,
    ours: &DistributedLimiter,
    fred: &Fred,
) {
    bench
        .row(format!("decision, {callers} callers"))
        .batch(callers)
        .flow(|n| {
            at_once(runtime, callers, || {
                let limiter = ours.clone();
                async move {
                    for _ in 0..n {
                        limiter.check().await.expect("there are tokens");
                    }
                }
            })
        })
        .peer("fred EVALSHA", |n| {
            at_once(runtime, callers, || {
                let fred = fred.clone();
                async move {
                    for _ in 0..n {
                        assert!(fred.decide().await >= 0, "there are tokens");
                    }
                }
            })
        })
        .measure();
}

/// How long so many tasks take that run side by side.
#[allow(clippy::disallowed_methods)] // the same host for both contenders
fn at_once<F>(runtime: &Runtime, callers: u64, task: impl Fn() -> F) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    timed(|| {
        runtime.block_on(async {
            let tasks: Vec<_> = (0..callers).map(|_| tokio::spawn(task())).collect();
            for task in tasks {
                task.await.expect("a caller failed");
            }
        });
    })
}

fn ours(server: &Server, runtime: &Runtime) -> DistributedLimiter {
    let redis = RedisBackend::builder(server.url())
        .timeout(Duration::from_secs(2))
        .build()
        .expect("a valid address");
    DistributedLimiter::builder(&redis)
        .key("flow")
        .rate(Rate::per_second(BURST.into()))
        .burst(BURST.into())
        .runtime(&Handle::tokio(runtime.handle().clone()).expect("it has timers"))
        .build()
        .expect("a valid limiter")
}

/// A client that sends the script's name and nothing else.
#[derive(Clone)]
struct Fred {
    client: Client,
    sha: String,
}

impl Fred {
    async fn connect(server: &Server) -> Self {
        let config = Config::from_url(&server.url()).expect("a valid address");
        let client = FredBuilder::from_config(config)
            .build()
            .expect("a valid client");
        client.init().await.expect("the server is there");
        let sha = client.script_load(SCRIPT).await.expect("a valid script");
        Self { client, sha }
    }

    /// Capacity, one token and the supply of a microsecond, in units of a token; one is taken.
    async fn decide(&self) -> i64 {
        let args = vec![i64::from(BURST), 1, 1, 1];
        self.client
            .evalsha(self.sha.as_str(), "fred", args)
            .await
            .expect("the server answers")
    }
}
