//! What reading, searching and sharing patterns allocates: next to nothing.

use allocation_counter::measure;
use flow_sched::{Cron, CronPattern, Dialect};

use crate::common::at;

#[test]
fn reading_a_pattern_allocates_nothing_but_years() {
    for (text, dialect, allocations) in [
        ("*/5 * * * *", Dialect::Flow, 0),
        ("0,15,30 8-17/2 1,15 1-6 *", Dialect::Flow, 0),
        ("0 30 9 LW JAN-MAR MON#2", Dialect::Flow, 0),
        ("0 0 29 2 +MON", Dialect::Flow, 0),
        ("@daily", Dialect::Flow, 0),
        ("0 0 L-3W * ?", Dialect::Cronos, 0),
        ("0 0 12 1 * ? 2030-2040", Dialect::Quartz, 1),
    ] {
        let mut read = None;
        let counted = measure(|| read = Some(CronPattern::parse_as(text, dialect)));
        assert!(read.is_some_and(|read| read.is_ok()), "{text}");
        assert_eq!(counted.count_total, allocations, "{text}");
    }
}

#[test]
fn searching_allocates_nothing() {
    for text in [
        "*/5 * * * *",
        "0 0 29 2 *",
        "TZ=Europe/Berlin 30 2 * * *",
        "0 0 12 1 * * 2030-2040",
    ] {
        let cron = Cron::new(text).unwrap();
        let from = at(1_774_742_400);
        let counted = measure(|| {
            let next = cron.next_after(from);
            assert!(next.is_some_and(|next| cron.matches(next)));
            assert!(cron.iter_before(from).next() < next);
        });
        assert_eq!(counted.count_total, 0, "{text}");
    }
}

/// A job by cron: goflow published 6 allocations and 656 bytes.
#[cfg(feature = "scheduler")]
#[test]
fn scheduling_by_a_known_pattern_allocates_little() {
    use flow_rt::sim::Sim;
    use flow_sched::Scheduler;

    let job = async |rt: flow_rt::sim::Sim| {
        let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
        let start = |name: &'static str| {
            let job = scheduler.job(name, async |_cx| ());
            job.cron("30 9 * * MON-FRI").start().unwrap()
        };
        // Six, so that no list of jobs grows with the seventh.
        let _known = ["a", "b", "c", "d", "e", "f"].map(start);
        let mut last = None;
        let counted = measure(|| last = Some(start("g")));
        assert!(
            counted.count_total <= 4 && counted.bytes_total <= 656,
            "{counted:?}"
        );
    };
    Sim::new(0).run(job).unwrap();
}
