//! What a registry shows of a pool.

use flow_metrics::Registry;
use flow_rt::sim;
use flow_sched::{TaskError, WorkerPool};

use crate::common::{LONG, ms};

#[test]
fn a_registry_shows_a_pool_and_does_not_keep_it() {
    sim::check(0..3, |rt| async move {
        let registry = Registry::new();
        let builder = WorkerPool::builder().name("io").slots(2).queue(1);
        let pool = builder.build().unwrap();
        registry.register(pool.collector()).unwrap().forget();
        pool.run(async |_| ()).await.unwrap();
        let sleeper = rt.clone();
        let slow = pool.submit(async move |_| sleeper.sleep(LONG).await);
        let slow = slow.timeout(ms(5)).await.unwrap().await;
        assert!(matches!(slow, Err(TaskError::TimedOut { .. })));
        pool.try_submit(async |_| std::future::pending::<()>().await)
            .unwrap()
            .detach();
        assert!(pool.try_submit(async |_| ()).is_err());
        rt.run_until_idle().await;

        let shown = registry.collect();
        let name = ("pool", "io");
        let counter = |metric: &str| shown.counter(metric, &[name]);
        let ended =
            |outcome| shown.counter("flow_sched_pool_ended_total", &[name, ("outcome", outcome)]);
        let gauge = |metric: &str| shown.gauge(metric, &[name]);
        assert_eq!(counter("flow_sched_pool_submitted_total"), Some(3));
        assert_eq!(counter("flow_sched_pool_rejected_total"), Some(1));
        assert_eq!((ended("completed"), ended("timed_out")), (Some(1), Some(1)));
        assert_eq!((ended("panicked"), ended("cancelled")), (Some(0), Some(0)));
        assert_eq!(gauge("flow_sched_pool_queued_tasks"), Some(0.0));
        assert_eq!(gauge("flow_sched_pool_running_tasks"), Some(1.0));
        assert_eq!(gauge("flow_sched_pool_waiting_submitters"), Some(0.0));
        assert_eq!(gauge("flow_sched_pool_capacity_tasks"), Some(1.0));
        assert!(gauge("flow_sched_pool_slots").is_some_and(|slots| slots >= 1.0));
        assert_eq!(
            shown.counter("flow_metrics_rejected_samples_total", &[]),
            Some(0)
        );

        pool.shutdown(ms(0)).await;
        drop(pool);
        rt.run_until_idle().await;
        assert_eq!(
            registry.collect().gauge("flow_sched_pool_slots", &[name]),
            None
        );
    });
}

/// Case MT 225 of the behaviour catalogue.
#[test]
fn waits_and_runs_are_timed_apart() {
    sim::check(0..3, |rt| async move {
        let registry = Registry::new();
        let builder = WorkerPool::builder().name("io").slots(1).queue(8);
        let pool = builder.build().unwrap();
        // One that ran before anybody asked is not among them.
        pool.run(async |_| ()).await.unwrap();
        registry.register(pool.collector()).unwrap().forget();
        for _ in 0..3 {
            let sleeper = rt.clone();
            pool.submit(async move |_| sleeper.sleep(ms(5)).await)
                .detach()
                .await
                .unwrap();
        }
        pool.shutdown(LONG).await;
        let shown = registry.collect();
        let times = |metric: &str| shown.histogram(metric, &[("pool", "io")]).unwrap().clone();
        let runs = times("flow_sched_pool_run_seconds");
        assert_eq!(runs.count(), 3);
        assert!((runs.sum() - 0.015).abs() < 1e-9, "{}", runs.sum());
        // The first waited for nobody, the second for 5 ms, the third for 10.
        let waits = times("flow_sched_pool_queue_wait_seconds");
        assert_eq!(waits.count(), 3);
        assert!((waits.sum() - 0.015).abs() < 1e-9, "{}", waits.sum());
    });
}

#[test]
fn what_never_started_has_not_waited() {
    sim::check(0..3, |rt| async move {
        let registry = Registry::new();
        let builder = WorkerPool::builder().name("io").slots(1).queue(8);
        let pool = builder.build().unwrap();
        registry.register(pool.collector()).unwrap().forget();
        let sleeper = rt.clone();
        let first = pool.submit(async move |_| sleeper.sleep(ms(5)).await);
        first.detach().await.unwrap();
        let aborted = pool.try_submit(async |_| ()).unwrap();
        rt.run_until_idle().await;
        aborted.abort();
        pool.shutdown(LONG).await;
        let times = pool.times();
        assert_eq!((times.waits.count(), times.runs.count()), (1, 1));
        let shown = registry.collect();
        for metric in ["queue_wait", "run"] {
            let metric = format!("flow_sched_pool_{metric}_seconds");
            let times = shown.histogram(&metric, &[("pool", "io")]).unwrap();
            assert_eq!(times.count(), 1, "{metric}");
        }
    });
}
