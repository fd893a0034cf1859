//! Runtimes that are broken on purpose, each caught by the case that names what is broken.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_rt::conformance::{self, Outcome};

use crate::faulty::{Fault, Faulty, subject, subject_of};

/// Runs one case on a broken runtime: it must fail, and for the reason given.
fn caught(fault: Fault, case: &str, reason: &str, limit: Duration) {
    let started: Arc<Mutex<Option<Arc<Faulty>>>> = Arc::default();
    let make = {
        let started = started.clone();
        move || {
            let runtime = Arc::new(Faulty::start(fault));
            *started.lock().unwrap() = Some(runtime.clone());
            subject_of(&runtime).time_limit(limit)
        }
    };
    let report = conformance::run_case(case, make).unwrap();
    let Outcome::Failed(why) = report.outcome() else {
        panic!("{fault:?} went unnoticed: {report}");
    };
    assert!(
        why.contains(reason),
        "{fault:?} was caught for another reason: {report}"
    );
    // A case that hangs leaves its runtime running: it must not burn the other tests' time.
    let runtime = started.lock().unwrap().take();
    if let Some(runtime) = runtime {
        runtime.halt();
    }
}

macro_rules! broken {
    ($($name:ident: $fault:ident by $case:ident ($reason:literal);)+) => {
        $(
            #[test]
            fn $name() {
                caught(Fault::$fault, stringify!($case), $reason, Duration::from_secs(30));
            }
        )+
    };
}

/// Faults that show as a hang: found by the watchdog, which names the step.
macro_rules! hangs {
    ($($name:ident: $fault:ident by $case:ident ($step:literal);)+) => {
        $(
            #[test]
            fn $name() {
                caught(Fault::$fault, stringify!($case), $step, Duration::from_secs(2));
            }
        )+
    };
}

/// Whoever sweeps away late what was moved is not broken.
#[test]
fn moved_timers_that_stay_for_a_while_are_let_pass() {
    let make = || subject(Fault::TimersThatAreMovedStayForAWhile);
    let report = conformance::run_case("timer_survives_many_rearms", make).unwrap();
    assert_eq!(*report.outcome(), Outcome::Passed);
}

broken! {
    inline_spawn: SpawnPollsInline by spawn_does_not_run_inline ("polled inside the call of spawn");
    spawn_bound_to_threads: SpawnPanicsOnForeignThreads by spawn_from_a_foreign_thread ("panicked on a plain thread");
    lost_task: EveryHundredthTaskIsDropped by every_spawn_runs_once ("gave no result");
    task_queued_twice: DoubleWakeQueuesTwice by double_wake_polls_once ("and never after, was polled");
    late_wake_panics: WakeAfterEndPanics by wake_after_completion_is_harmless ("woken after its end");
    early_timer: TimersFireEarly by timers_are_never_early ("early");
    rearm_later_ignored: TimersIgnoreMovesToLater by timer_rearms_later ("early");
    left_timer_fires: TimersThatAreLeftFireThere by timer_rearms_later_often ("early");
    timer_forgets: TimersForgetThatTheyFired by timer_stays_fired ("was pending when polled again");
    dropped_timer_fires: TimersSurviveTheirDrop by dropped_timer_wakes_nobody ("woke its waker");
    moved_timer_stays: TimersThatAreMovedStay by timer_survives_many_rearms ("its runtime keeps");
    moved_timer_stays_for_long: TimersThatAreMovedStayForLong by timer_survives_many_rearms ("its runtime keeps");
    dropped_timer_stays: TimersThatAreDroppedStay by dropped_timers_are_let_go ("their runtime keeps");
    timers_out_of_order: EverySecondTimerIsLate by timers_fire_in_order ("was pending");
    timer_overflows: TimersOverflow by timer_never_fires_at_far_future ("at once");
    timer_bound_to_threads: TimersNeedAWorkerThread by timer_works_outside_the_runtime ("panicked");
    inline_blocking: BlockingRunsInline by blocking_does_not_run_inline ("inside the call");
    blocking_jobs_dropped: BlockingIsLimitedToEight by sixty_four_jobs_progress ("each of 64");
    clock_goes_back: ClockGoesBack by now_never_goes_back ("back to");
    clocks_differ: ClocksOfThreadsDiffer by now_is_monotonic_across_threads ("behind what another");
    spawn_after_shutdown_panics: SpawnAfterShutdownPanics by handle_after_shutdown_gives_errors ("spawned after shutdown");
}

hangs! {
    lost_wake: EveryThousandthWakeIsLost by ping_pong_between_tasks ("wake each other in turn");
    lost_wake_inside_poll: WakeInsidePollIsLost by wake_inside_poll ("wakes itself inside");
    lost_wake_from_a_thread: WakeFromForeignThreadIsLost by wake_from_a_plain_thread ("woken by a plain thread");
    stale_waker: TimersKeepTheFirstWaker by last_waker_wins ("waker of a timer's last poll");
    timer_fires_once: TimersFireOnce by timer_rearms_after_firing ("armed again after it fired");
    rearm_earlier_ignored: TimersIgnoreMovesToEarlier by timer_rearms_earlier ("from an hour to 2 ms");
    one_timer_per_instant: TimersShareAnInstant by equal_deadlines_all_fire ("200 timers for one instant");
    timers_of_the_past_wait: TimersOfThePastWait by timer_fires_at_once_when_due ("now or the past");
    tasks_starve: YieldingTasksKeepTheirWorker by yield_storm_starves_no_task ("beside tasks that always yield");
    timers_starve: TimersFireOnlyWhenIdle by yield_storm_starves_no_timer ("beside tasks that always yield");
    blocking_stalls_tasks: BlockingRunsOnTheWorkers by blocking_does_not_stall_tasks ("while closures block");
    shutdown_hangs: ShutdownForgetsTheWorkers by shutdown_when_idle ("the shutdown to return");
    tasks_leak_at_shutdown: ShutdownLeaksTasks by shutdown_ends_live_tasks ("live at shutdown");
    timers_leak_at_shutdown: ShutdownLeaksTimers by shutdown_ends_armed_timers ("across the shutdown");
    jobs_leak_at_shutdown: ShutdownLeaksJobs by shutdown_with_queued_jobs ("queued at shutdown");
    spawn_after_shutdown_queues: SpawnAfterShutdownQueues by handle_after_shutdown_gives_errors ("spawned after shutdown");
}
