//! Wake-ups while nothing is due.

use core::time::Duration;

use flow_benches::Bench;
use tokio::runtime::Runtime;

use crate::{MANY, later, scheduler, unnamed};

pub(crate) fn wakeups(bench: &mut Bench, runtime: &Runtime) {
    let seconds = if bench.is_quick() { 5 } else { 130 };
    let row = format!("wake-ups in {seconds} s, 1000000 jobs due in an hour");
    if !bench.wants(&row) {
        return;
    }
    let scheduler = scheduler(runtime);
    for i in 0..MANY {
        drop(unnamed(&scheduler, later(i)));
    }
    // Until the driver has taken all of them over.
    std::thread::sleep(Duration::from_secs(1));
    let before = scheduler.stats().wakeups;
    std::thread::sleep(Duration::from_secs(seconds));
    let wakeups = scheduler.stats().wakeups - before;
    bench.record(&row, "wake-ups", &[wakeups as f64], &[]);
    scheduler.close();
}
