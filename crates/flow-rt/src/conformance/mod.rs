//! The public conformance suite: proves that a runtime keeps the contract of [`Runtime`].
//!
//! Each case gets a runtime of its own from the factory it is given. As tests, one per case:
//!
//! ```
//! # use flow_rt::{BoxBlocking, BoxTask, BoxTimer, Instant, Runtime};
//! # struct MyRuntime(async_executor::Executor<'static>);
//! # impl MyRuntime { fn start() -> Self { Self(async_executor::Executor::new()) } }
//! # impl Runtime for MyRuntime {
//! #     fn spawn(&self, task: BoxTask) { self.0.spawn(task).detach() }
//! #     fn spawn_blocking(&self, job: BoxBlocking) { std::thread::spawn(job); }
//! #     fn timer(&self, at: Instant) -> BoxTimer { BoxTimer::from_sleep(at, |_| async {}) }
//! # }
//! # #[cfg(any())]
//! flow_rt::conformance!(MyRuntime::start);
//! # #[cfg(any())]
//! flow_rt::conformance!(two_threads, || MyRuntime::with_threads(2)); // a module name of its own
//! ```
//!
//! or from a plain `main`, with [`run`], which returns a [`Report`]:
//!
//! ```
//! # #[cfg(feature = "smol")] {
//! use flow_rt::{Handle, conformance};
//!
//! let case = conformance::run_case("task_joins_its_own_child", Handle::smol).unwrap();
//! println!("{case}");
//! assert!(case.outcome().is_ok());
//! # }
//! ```
//!
//! The factory returns anything that becomes a [`Subject`]: a runtime by value (dropping its last
//! handle shuts it down), a [`Handle`] to one that cannot be shut down, or a [`Subject`] that says
//! more. What a subject cannot do is reported as not applicable, with the reason, never silently;
//! [`not_applicable`] lists it.
//!
//! # Time
//! Lower bounds only: a slow machine fails no case. A case that stops making progress is ended
//! by a watchdog ([`Subject::time_limit`], 30 s unless set), which names the case and the step.
//! No case asks the machine's clock how much to do: in a simulation each does the same every time.
//!
//! # What a runtime may keep
//! A runtime may let go of timers that were moved or dropped whenever it likes, and sweep them away
//! by the thousand; it must not keep them until their time. The suite moves one timer, which is far
//! off, a million times, drops a hundred thousand that are far off, and fails a runtime that ever
//! keeps more than 65,536 wakers of either. (tokio keeps one, async-io's timers some 500.)

mod blocking;
mod case;
mod clock;
mod lab;
mod report;
mod run;
mod shutdown;
mod subject;
mod tasks;
mod timers;
mod tools;
mod wakes;

pub use case::{Case, cases};
pub use report::{CaseReport, Outcome, Report};
pub use run::{UnknownCase, assert_case, not_applicable, run, run_case};
pub use subject::{DrivenCase, Subject};

#[allow(unused_imports)] // the docs link to them
use crate::{handle::Handle, runtime::Runtime};

/// Makes one `#[test]` per case of the [conformance suite](mod@crate::conformance), in a module.
///
/// `conformance!(factory)` makes the module `conformance`; `conformance!(name, factory)` one
/// with that name. The factory is an expression that is called without arguments, once per case.
/// Paths in it are looked up from the surrounding module.
#[macro_export]
macro_rules! conformance {
    ($make:expr $(,)?) => {
        $crate::conformance!(conformance, $make);
    };
    ($module:ident, $make:expr $(,)?) => {
        mod $module {
            #[allow(unused_imports)] // the factory may be a path
            use super::*;
            $crate::__conformance_cases! { [$crate::__conformance_tests] [$make] }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ([$make:expr] $($kind:ident $group:ident $name:ident: $proves:literal;)+) => {
        $(
            #[test]
            fn $name() {
                $crate::conformance::assert_case(stringify!($name), $make);
            }
        )+
    };
}

/// The one list of cases: how it runs, its file, its name, what it proves.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_cases {
    ([$($then:tt)+] $args:tt) => {
        $($then)+! { $args
            awaits tasks spawn_does_not_run_inline: "spawn returns before the task is polled";
            threads tasks every_spawn_runs_once: "10 000 tasks spawned by 4 threads run once each";
            awaits tasks panic_stays_in_its_task: "a panic comes back by the join and harms no other task";
            awaits tasks abort_ends_a_pending_task: "an abort wakes a pending task and ends it, before and after its first poll";
            awaits tasks future_is_dropped_exactly_once: "a future is dropped once, before its join ends, however it ended";
            awaits tasks task_joins_its_own_child: "a task may wait for its child, and that one for its own";
            awaits tasks tasks_take_turns: "a task that waits lets the one run that it waits for";
            awaits tasks thousand_pending_tasks_wake: "a thousand parked tasks all run again when woken together";
            awaits tasks spawn_from_drop: "spawn works inside a destructor";
            threads tasks spawn_from_a_foreign_thread: "spawn works on a thread the runtime does not know";
            awaits timers timers_are_never_early: "1 000 timers of random length, moved or not, never fire early";
            awaits timers timer_fires_at_once_when_due: "a timer for now, or for the past, fires";
            awaits timers timer_never_fires_at_far_future: "a timer for the end of time stays pending, and can be moved back";
            awaits timers timer_rearms_later: "a pending timer that is moved later fires then and not before";
            awaits timers timer_rearms_later_often: "of hundreds of moves to later and later instants, polled between, the last counts";
            awaits timers timer_rearms_earlier: "a pending timer that is moved earlier fires then";
            awaits timers timer_rearms_after_firing: "a timer that has fired fires again, ten times over";
            awaits timers timer_rearms_unpolled: "of many moves before the first poll the last counts";
            awaits timers timer_stays_fired: "a timer that has fired stays ready until it is armed anew";
            awaits timers timer_survives_many_rearms: "a timer moved a million times fires at the last instant, and no more than 65 536 of its wakers are kept meanwhile";
            awaits timers dropped_timer_wakes_nobody: "a timer that is dropped before its time wakes nobody";
            awaits timers dropped_timers_are_let_go: "of 100 000 timers dropped long before their time no more than 65 536 of the wakers are kept, and none is woken";
            awaits timers last_waker_wins: "a timer wakes the waker of its last poll";
            threads timers timer_moves_between_threads: "a timer may be polled on other threads than its creator's";
            threads timers timer_works_outside_the_runtime: "a timer may be made, awaited and dropped on a plain thread";
            awaits timers equal_deadlines_all_fire: "timers for the very same instant all fire";
            awaits timers timers_fire_in_order: "when a timer has fired, all earlier ones have";
            threads wakes wake_from_a_plain_thread: "a wake from a thread the runtime does not know is not lost";
            awaits wakes wake_from_drop: "a wake from a destructor is not lost";
            awaits wakes wake_inside_poll: "a task that wakes itself inside its poll is polled again, and again";
            awaits wakes ping_pong_between_tasks: "no wake is lost in 100 000 turns of two tasks";
            threads wakes ping_pong_with_a_thread: "no wake is lost in 100 000 turns of a task and a thread";
            awaits wakes wake_after_completion_is_harmless: "wakers of ended tasks may be kept, cloned and woken";
            awaits wakes double_wake_polls_once: "two wakes inside one poll cause one further poll";
            awaits wakes yield_storm_starves_no_task: "tasks that always yield leave room for others";
            busy wakes yield_storm_starves_no_timer: "timers fire while tasks always yield";
            awaits blocking blocking_does_not_run_inline: "spawn_blocking returns before the closure runs";
            threads blocking blocking_does_not_stall_tasks: "tasks run while a closure blocks";
            awaits blocking blocking_panic_comes_back: "a closure's panic comes back by its join, and the next closure runs";
            awaits blocking sixty_four_jobs_progress: "64 closures given at once all run, once each";
            threads blocking blocking_may_use_the_runtime: "a closure may spawn tasks and block on them";
            awaits clock now_never_goes_back: "the time of one task never goes back";
            threads clock now_is_monotonic_across_threads: "the time seen by one thread is never behind what another saw before";
            shutdown shutdown shutdown_when_idle: "a runtime that has done nothing shuts down";
            shutdown shutdown shutdown_ends_live_tasks: "at shutdown every live task is dropped once and its join says Cancelled";
            shutdown shutdown shutdown_ends_armed_timers: "whoever waits for a timer across a shutdown gets an end, no panic";
            shutdown shutdown shutdown_with_queued_jobs: "closures queued at shutdown run or say Cancelled, and none hangs";
            shutdown shutdown wakers_outlive_the_runtime: "wakers kept across a shutdown may be woken and dropped";
            afterwards shutdown handle_after_shutdown_gives_errors: "a handle used after shutdown gives errors, no panic and no hang";
            afterwards shutdown spawn_from_drop_at_shutdown: "destructors that run at shutdown may spawn";
            afterwards shutdown shutdown_races_with_spawn: "tasks spawned while the runtime shuts down end, each of them";
        }
    };
}
