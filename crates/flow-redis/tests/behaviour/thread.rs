//! The driver's thread: named, and gone with its backend; none else of tokio's.

use std::process::Command;

use flow_redis::DistributedLimiter;
use flow_rt::{Handle, block_on};

use crate::support::{Server, eventually};

/// Tests of this file count the threads of their process, so they run in one of their own.
const ALONE: &str = "FLOW_REDIS_TEST_ALONE";

#[test]
#[cfg(target_os = "linux")]
fn a_thread_that_ends_with_the_backend() {
    if std::env::var_os(ALONE).is_some() {
        return block_on(count_threads(&Handle::smol())).unwrap();
    }
    let alone = Command::new(std::env::current_exe().unwrap())
        .args(["thread::a_thread_that_ends_with_the_backend", "--exact"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&alone.stdout);
    assert!(
        alone.status.success() && output.contains("1 passed"),
        "{output}"
    );
}

async fn count_threads(rt: &Handle) {
    let drivers = || {
        threads()
            .iter()
            .filter(|name| *name == "flow-redis")
            .count()
    };
    let server = Server::start();
    let redis = server.connect();
    let builder = DistributedLimiter::builder(&redis).key("api");
    let limiter = builder.rate("1/s").burst(10).build().unwrap();
    limiter.check().await.unwrap();
    // One for the client, one perhaps that resolved the host's name.
    assert!((1..=2).contains(&drivers()), "{:?}", threads());
    assert!(
        threads().iter().all(|name| !name.starts_with("tokio")),
        "{:?}",
        threads()
    );
    drop(redis);
    limiter.check().await.unwrap();
    drop(limiter);
    eventually(rt, "the thread ends", async || drivers() == 0).await;
}

/// The names of this process's threads.
fn threads() -> Vec<String> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    threads
        // A thread may end between the listing and the look.
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect()
}
