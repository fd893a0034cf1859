//! Clocks against CLOCK_MONOTONIC and the runtimes' own time, and what a look at them costs.
#![cfg(all(feature = "tokio", feature = "smol", feature = "sim", not(loom)))]

use std::error::Error;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use flow_rt::sim::Sim;
use flow_rt::{
    Clock, CoarseClock, CoarseClockError, DefaultClock, Handle, HandleError, Instant,
    MonotonicClock, block_on,
};
use tokio::runtime::{Builder, Runtime as Tokio};

const MS: Duration = Duration::from_millis(1);
/// How far the default clock may be from CLOCK_MONOTONIC.
const DRIFT: Duration = Duration::from_nanos(500);

fn tokio() -> (Tokio, Handle) {
    let tokio = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    (tokio, handle)
}

/// A reading lies between two of CLOCK_MONOTONIC, however long a thread is kept from running.
#[test]
fn the_default_clock_keeps_to_clock_monotonic() {
    let read = || {
        let clock = DefaultClock::new();
        let start = Instant::now_monotonic();
        let mut before = start;
        while before - start < 500 * MS {
            let now = clock.now();
            let after = MonotonicClock::new().now();
            assert!(
                before - DRIFT <= now && now <= after + DRIFT,
                "{now:?} is not between {before:?} and {after:?} ({clock:?})"
            );
            before = after;
        }
    };
    thread::scope(|scope| {
        scope.spawn(read);
        scope.spawn(read);
    });
}

#[test]
fn the_default_clock_never_goes_back_on_a_thread() {
    static CLOCK: DefaultClock = DefaultClock::machine();
    let read = || {
        let clock = DefaultClock::new();
        let mut last = Instant::ORIGIN;
        for _ in 0..1_000_000 {
            // All of the machine's clocks of a thread are one.
            let (one, other) = (clock.now(), CLOCK.now());
            assert!(last <= one && one <= other, "{last:?}, {one:?}, {other:?}");
            last = other;
        }
    };
    thread::scope(|scope| {
        scope.spawn(read);
        scope.spawn(read);
    });
}

#[test]
fn the_default_clock_differs_between_threads_by_a_microsecond_at_most() {
    let (to, at_other) = mpsc::channel::<Instant>();
    let (back, at_first) = mpsc::channel();
    let later = |now: Instant, than: Instant| assert!(now + 2 * DRIFT >= than, "{now:?}, {than:?}");
    let other = thread::spawn(move || {
        while let Ok(sent) = at_other.recv() {
            let now = DefaultClock::machine().now();
            later(now, sent);
            back.send(now).unwrap();
        }
    });
    for _ in 0..20_000 {
        to.send(DefaultClock::machine().now()).unwrap();
        let sent = at_first.recv().unwrap();
        later(DefaultClock::machine().now(), sent);
    }
    drop(to);
    other.join().unwrap();
}

#[test]
fn a_coarse_clock_is_behind_its_runtime_and_moves_with_it() {
    let (_tokio, tokio) = tokio();
    for runtime in [
        tokio.clone(),
        Handle::smol(),
        #[cfg(feature = "fine-timer")]
        tokio.with_fine_timers(),
    ] {
        let clock = CoarseClock::on(&runtime, MS).unwrap();
        let start = clock.now();
        let mut last = start;
        while last - start < 20 * MS {
            let now = clock.now();
            assert!(last <= now && now <= runtime.now(), "{last:?}, {now:?}");
            last = now;
            block_on(runtime.sleep(MS)).unwrap().unwrap();
        }
    }
}

#[test]
fn a_coarse_clocks_task_ends_with_its_last_clone() {
    let (tokio, handle) = tokio();
    let clock = CoarseClock::on(&handle, MS).unwrap();
    let other = clock.clone();
    drop(clock);
    let start = other.now();
    while other.now() == start {
        block_on(handle.sleep(MS)).unwrap().unwrap();
    }
    assert_eq!(tokio.metrics().num_alive_tasks(), 1);
    drop(other);
    while tokio.metrics().num_alive_tasks() > 0 {
        block_on(handle.sleep(MS)).unwrap().unwrap();
    }
}

#[test]
fn a_coarse_clock_does_not_stand_still_when_its_runtime_is_gone() {
    let (tokio, handle) = tokio();
    let clock = CoarseClock::on(&handle, MS).unwrap();
    let before = clock.now();
    drop(tokio);
    let start = clock.now();
    assert!(before <= start);
    while clock.now() - start < MS {}
    // Nor if it was gone from the beginning.
    let late = CoarseClock::on(&handle, MS).unwrap();
    let start = late.now();
    while late.now() - start < MS {}
}

#[test]
fn a_coarse_clock_in_a_simulation_is_the_simulations() {
    Sim::new(1)
        .run(|rt| async move {
            let clock = CoarseClock::new(1000 * MS).unwrap();
            let start = clock.now();
            rt.sleep(3 * MS).await;
            assert_eq!((clock.now() - start, clock.now()), (3 * MS, rt.now()));
        })
        .unwrap();
}

#[test]
fn a_coarse_clock_that_cannot_be_says_why() {
    let (_tokio, handle) = tokio();
    let zero = CoarseClock::on(&handle, Duration::ZERO).unwrap_err();
    assert_eq!(zero, CoarseClockError::ZeroResolution);
    assert_eq!(
        zero.to_string(),
        "the resolution of a coarse clock is 0 s; it must be more"
    );
    assert!(zero.source().is_none());
    let without_time = Builder::new_current_thread().build().unwrap();
    let _inside = without_time.enter();
    let error = CoarseClock::new(MS).unwrap_err();
    assert_eq!(error, CoarseClockError::Runtime(HandleError::TimeDisabled));
    assert!(error.to_string().contains("enable_time"), "{error}");
    assert!(error.source().is_some());
}

#[test]
fn clocks_say_what_they_are() {
    let machine = format!("{:?}", DefaultClock::machine());
    let known = [
        "DefaultClock(machine, tsc)",
        "DefaultClock(machine, monotonic)",
    ];
    assert!(known.contains(&&*machine), "{machine}");
    let coarse = CoarseClock::on(&Handle::smol(), MS).unwrap();
    assert!(format!("{coarse:?}").starts_with("CoarseClock { now: +"));
}

#[cfg(feature = "fine-timer")]
#[test]
fn fine_timers_belong_to_the_same_runtime_and_outlive_it() {
    let (tokio, handle) = tokio();
    let fine = handle.clone().with_fine_timers();
    assert_eq!((fine.id(), fine.name()), (handle.id(), "tokio"));
    let start = Instant::now_monotonic();
    block_on(fine.sleep(MS)).unwrap().unwrap();
    assert!(Instant::now_monotonic() - start >= MS);
    drop(tokio);
    assert_eq!(block_on(fine.sleep(MS)).unwrap(), Ok(()));
    // Others have what they have.
    assert_eq!(Handle::smol().with_fine_timers().name(), "smol");
}

#[test]
fn looking_for_the_current_runtime_and_the_time_allocates_nothing() {
    let (tokio, handle) = tokio();
    let coarse = CoarseClock::on(&handle, MS).unwrap();
    let look = || {
        for _ in 0..100 {
            std::hint::black_box(Handle::current()).unwrap();
            std::hint::black_box((DefaultClock::machine().now(), coarse.now(), handle.now()));
        }
    };
    // Each once before: the first look at a tokio runtime on a thread probes for its timers.
    {
        let _inside = tokio.enter();
        look();
        assert_eq!(allocation_counter::measure(look).count_total, 0);
    }
    {
        let _inside = handle.enter();
        look();
        assert_eq!(allocation_counter::measure(look).count_total, 0);
    }
    look();
    assert_eq!(allocation_counter::measure(look).count_total, 0);
}
