//! Wake-ups while nothing is due.

use core::time::Duration;
use std::time::SystemTime;

use flow_benches::Bench;
use flow_sched::Scheduler;
use tokio::runtime::Runtime;

use crate::{MANY, later, scheduler, unnamed};

/// Two schedulers over the same seconds: one whose jobs are due by the runtime's clock, which
/// needs no look in between, and one by the wall clock, which may be set.
pub(crate) fn wakeups(bench: &mut Bench, runtime: &Runtime) {
    let seconds = if bench.is_quick() { 5 } else { 130 };
    let row = |clock: &str| format!("wake-ups in {seconds} s, 1000000 jobs due in an hour{clock}");
    let (row, wall_row) = (row(""), row(", by the wall clock"));
    if !bench.wants(&row) && !bench.wants(&wall_row) {
        return;
    }
    let schedulers = [scheduler(runtime), scheduler(runtime)];
    for i in 0..MANY {
        drop(unnamed(&schedulers[0], later(i)));
    }
    let now = SystemTime::now();
    for i in 0..MANY {
        let job = schedulers[1].unnamed(async |_cx| {});
        let job = job.once_at(now + later(i));
        drop(job.start().expect("it has no name to be taken"));
    }
    // Until the drivers have taken all of them over.
    std::thread::sleep(Duration::from_secs(1));
    let wakeups = |scheduler: &Scheduler| scheduler.stats().wakeups;
    let before = schedulers.each_ref().map(wakeups);
    std::thread::sleep(Duration::from_secs(seconds));
    let looks = [("one a minute", vec![(seconds as f64 / 60.0).ceil()])];
    for (index, row) in [row, wall_row].iter().enumerate() {
        let woken = wakeups(&schedulers[index]) - before[index];
        bench.record(row, "wake-ups", &[woken as f64], &looks);
    }
    for scheduler in schedulers {
        scheduler.close();
    }
}
