//! Clocks: beside the bare counter, and beside CLOCK_MONOTONIC over a minute. And what it costs
//! to ask for the runtime one is in.
#![allow(clippy::disallowed_methods)] // the machine's clock and real waiting are what is measured

use core::time::Duration;
use std::thread;

use flow_benches::{Bench, repeat};
use flow_rt::{Clock, CoarseClock, DefaultClock, Handle, Instant, MonotonicClock};

use crate::Hosts;

const MS: Duration = Duration::from_millis(1);
/// How long the drift is looked at.
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn rows(bench: &mut Bench, hosts: &Hosts) {
    let clock = settled();
    now(bench, &clock, hosts);
    drift(bench, &clock);
    current(bench, hosts);
}

/// The default clock, once it has found out what it may read.
fn settled() -> DefaultClock {
    let clock = DefaultClock::new();
    let start = Instant::now_monotonic();
    while Instant::now_monotonic() - start < 500 * MS {
        clock.now();
        thread::sleep(MS);
    }
    clock
}

fn now(bench: &mut Bench, clock: &DefaultClock, hosts: &Hosts) {
    let counter = quanta::Clock::new();
    bench
        .row("clock, default")
        .flow(|n| repeat(n, |_| clock.now()))
        .peer("bare counter", |n| repeat(n, |_| counter.raw()))
        .peer("std Instant", |n| repeat(n, |_| std::time::Instant::now()))
        .peer("MonotonicClock", |n| {
            repeat(n, |_| MonotonicClock::new().now())
        })
        .measure();

    let coarse = CoarseClock::on(&hosts.on_workers, MS).expect("a resolution above zero");
    bench
        .row("clock, coarse")
        .flow(|n| repeat(n, |_| coarse.now()))
        .peer("bare counter", |n| repeat(n, |_| counter.raw()))
        .peer("std Instant", |n| repeat(n, |_| std::time::Instant::now()))
        .measure();
}

/// How far the default clock gets from CLOCK_MONOTONIC, looked at for a minute.
///
/// A reading lies between two of CLOCK_MONOTONIC; what counts is how far it is outside of them.
fn drift(bench: &mut Bench, clock: &DefaultClock) {
    const ROW: &str = "clock drift in a minute";
    if bench.is_quick() || !bench.wants(ROW) {
        return;
    }
    let counter = quanta::Clock::new();
    let begun = Instant::now_monotonic();
    let first = counter.raw();
    let start = Instant::now_monotonic();
    let (mut ours, mut quantas) = (Duration::ZERO, Duration::ZERO);
    let mut after = start;
    while after - start < MINUTE {
        for _ in 0..50 {
            let before = Instant::now_monotonic();
            let now = clock.now();
            let passed = counter.delta(first, counter.raw());
            after = Instant::now_monotonic();
            ours = ours.max(before - now).max(now - after);
            let (least, most) = (begun + passed, start + passed);
            quantas = quantas.max(before - most).max(least - after);
        }
        thread::sleep(MS);
    }
    // A ratio to nothing is none.
    let nanos = |outside: Duration| outside.as_nanos().max(1) as f64;
    let peers = [("0.5 µs", vec![500.0]), ("quanta", vec![nanos(quantas)])];
    bench.record(ROW, "ns", &[nanos(ours)], &peers);
}

fn current(bench: &mut Bench, hosts: &Hosts) {
    let _inside = hosts.workers.enter();
    bench
        .row("Handle::current, inside tokio")
        .flow(|n| repeat(n, |_| Handle::current()))
        .peer("20 ns", |n| Duration::from_nanos(20 * n))
        .peer("tokio try_current", |n| {
            repeat(n, |_| tokio::runtime::Handle::try_current())
        })
        .measure();
    let _scope = hosts.on_current.enter();
    bench
        .row("Handle::current, in a scope")
        .flow(|n| repeat(n, |_| Handle::current()))
        .peer("20 ns", |n| Duration::from_nanos(20 * n))
        .peer("tokio try_current", |n| {
            repeat(n, |_| tokio::runtime::Handle::try_current())
        })
        .measure();
}
