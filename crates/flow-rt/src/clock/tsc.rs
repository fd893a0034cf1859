//! The machine's time by its time stamp counter, where the kernel itself relies on that.
//!
//! quanta supplies the counter: a read that is safe code, and the processor's word that it runs
//! evenly. Its own calibration is not used: it drifts by 50 ppm (see `anchor`). The kernel's word
//! is its current clock source: its watchdog takes the counter away where cores disagree.
//!
//! Both are asked once a process, on a thread of its own that ends after a few milliseconds, for
//! quanta spins while it calibrates: 0.6 ms as a rule, up to 200 ms where it is interrupted.
//! Until then CLOCK_MONOTONIC is read, and for good where there is no such counter.

use std::fs;
use std::sync::{Once, OnceLock};
use std::thread;

use super::anchor::{Line, Scale, Source};
use crate::instant::Instant;

static SCALE: OnceLock<Scale<Tsc>> = OnceLock::new();
static ASKED: Once = Once::new();

thread_local! {
    static LINE: Line = const { Line::new() };
}

/// The time, by the counter if it may be used.
#[inline]
pub(super) fn now() -> Instant {
    match SCALE.get() {
        // No destructor, so the line is there as long as the thread.
        Some(scale) => Instant::from_nanos(LINE.with(|line| line.now(scale))),
        None => without(),
    }
}

/// Starts to find out whether the counter may be used, once.
pub(super) fn ask() {
    ASKED.call_once(|| {
        let asking = thread::Builder::new().name("flow-clock".to_owned());
        // Without a thread there is no answer, and CLOCK_MONOTONIC stays.
        let _ = asking.spawn(find_out);
    });
}

/// Whether the counter is read now.
pub(super) fn is_tsc() -> bool {
    SCALE.get().is_some_and(|scale| !scale.is_distrusted())
}

#[inline(never)]
fn without() -> Instant {
    ask();
    Instant::now_monotonic()
}

fn find_out() {
    if !is_trusted_by_kernel() {
        return;
    }
    let clock = quanta::Clock::new();
    // Where the processor does not promise an even counter, quanta counts nanoseconds itself.
    if clock.delta_as_nanos(0, 1 << 32) == 1 << 32 {
        return;
    }
    #[allow(clippy::disallowed_methods)] // a thread of its own
    if let Some(scale) = Scale::calibrate(Tsc(clock), thread::sleep) {
        // Asked once, so it is not set yet.
        let _ = SCALE.set(scale);
    }
}

fn is_trusted_by_kernel() -> bool {
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    fs::read_to_string(SOURCE).is_ok_and(|source| source.trim() == "tsc")
}

struct Tsc(quanta::Clock);

impl Source for Tsc {
    #[inline]
    fn raw(&self) -> u64 {
        self.0.raw()
    }

    fn mono(&self) -> u64 {
        Instant::now_monotonic().as_nanos()
    }
}
