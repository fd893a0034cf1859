//! Delays after runs, together with other triggers.

use flow_rt::TestRuntime;
use flow_sched::{After, EndReason, Every, FixedDelay, JobState, Trigger};

use crate::common::{HOUR, Log, MIN, noting, scheduler, secs, slow};

flow_rt::on_every_runtime! {
    seeds 0..20;
    the_end_of_a_delay_in_a_union_holds,
    of_two_delays_the_longer_one_goes_on,
    a_time_of_the_other_one_comes_before_the_delay_is_over,
}

async fn the_end_of_a_delay_in_a_union_holds(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let ends = |seconds| FixedDelay::new(MIN).not_after(log.wall + secs(seconds));
    let once = After::new(secs(90));
    let either = noting(&scheduler, "either", &log).trigger(ends(270).or(once));
    let either = either.start().unwrap();
    rt.advance(HOUR).await;
    let times = [60_000, 90_000, 150_000, 210_000, 270_000];
    assert_eq!(log.millis(), times);
    assert_eq!(either.state(), JobState::Ended(EndReason::Finished));

    // The other way round, and one in the other.
    let log = Log::new(&rt);
    let ends = |seconds| FixedDelay::new(MIN).not_after(log.wall + secs(seconds));
    let nested = once.or(ends(270)).or(After::new(secs(240)));
    let nested = noting(&scheduler, "nested", &log).trigger(nested);
    let nested = nested.start().unwrap();
    rt.advance(HOUR).await;
    let times = [60_000, 90_000, 150_000, 210_000, 240_000];
    assert_eq!(log.millis(), times);
    assert_eq!(nested.state(), JobState::Ended(EndReason::Finished));
}

async fn of_two_delays_the_longer_one_goes_on(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let short = FixedDelay::new(MIN).not_after(log.wall + secs(150));
    let both = short.or(FixedDelay::new(secs(90)));
    noting(&scheduler, "both", &log)
        .trigger(both)
        .start()
        .unwrap();
    rt.advance(secs(310)).await;
    assert_eq!(log.millis(), [60_000, 120_000, 210_000, 300_000]);
}

async fn a_time_of_the_other_one_comes_before_the_delay_is_over(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let either = FixedDelay::new(20 * MIN).or(Every::new(HOUR));
    let job = slow(&scheduler, "either", &log, 30 * MIN).trigger(either);
    let job = job.start().unwrap();
    rt.advance(215 * MIN).await;
    // At 60, ten minutes after the first run; 120 comes less than the delay after 110, and is
    // skipped; 180 is passed over.
    let minutes: Vec<_> = log.millis().iter().map(|at| at / 60_000).collect();
    assert_eq!(minutes, [20, 60, 110, 160, 210]);
    assert_eq!(job.stats().runs.skipped, 1);
}
