//! What the collector shows, feature `metrics`.

use flow_metrics::Registry;
use flow_redis::{DistributedLimiter, FailurePolicy};
use flow_rt::block_on;

use crate::support::Server;

#[test]
fn case_221_denied_and_granted_are_all_checks() {
    block_on(async {
        let mut server = Server::start();
        let builder = DistributedLimiter::builder(&server.connect())
            .key("k")
            .name("api");
        let limiter = builder
            .rate("1/h")
            .burst(2)
            .on_failure(FailurePolicy::Open)
            .build()
            .unwrap();
        let registry = Registry::new();
        registry.register(limiter.collector()).unwrap().forget();
        for _ in 0..5 {
            let _ = limiter.check().await;
        }
        server.kill();
        limiter.check().await.unwrap();
        let now = registry.collect();
        let decisions = |decision, source| {
            let labels = [
                ("limiter", "api"),
                ("decision", decision),
                ("source", source),
            ];
            now.counter("flow_redis_decisions_total", &labels).unwrap()
        };
        assert_eq!(decisions("granted", "remote"), 2);
        assert_eq!(decisions("denied", "remote"), 3);
        assert_eq!(decisions("granted", "fallback"), 1);
        assert_eq!(decisions("denied", "fallback"), 0);
        assert_eq!(
            now.counter("flow_redis_failures_total", &[("limiter", "api")]),
            Some(1)
        );
        assert_eq!(
            now.counter("flow_metrics_rejected_samples_total", &[]),
            Some(0)
        );
    })
    .unwrap();
}
