//! goflow's token bucket in Rust, step by step: what its users leave behind.
//!
//! `Allow` is `AllowN(1)`, which asks for a reservation with no wait, on the heap, under a mutex
//! and in floating point.

use std::hint::black_box;
use std::sync::Mutex;
use std::time::Duration;

use flow_rt::{Clock, Instant, MonotonicClock};

pub(crate) struct Goflow {
    state: Mutex<State>,
}

struct State {
    limit: f64,
    burst: u64,
    tokens: f64,
    last: Instant,
}

/// What the caller gets in Go: a pointer to this.
struct Reservation {
    ok: bool,
    #[allow(dead_code, reason = "goflow fills it in, and so does this")]
    time_to_act: Instant,
    #[allow(dead_code, reason = "goflow fills it in, and so does this")]
    tokens: u64,
    #[allow(dead_code, reason = "goflow fills it in, and so does this")]
    limit: f64,
}

impl Goflow {
    pub(crate) fn new(limit: f64, burst: u64) -> Self {
        Self {
            state: Mutex::new(State {
                limit,
                burst,
                tokens: burst as f64,
                last: MonotonicClock::new().now(),
            }),
        }
    }

    pub(crate) fn allow(&self) -> bool {
        black_box(self.reserve(MonotonicClock::new().now(), 1, Duration::ZERO)).ok
    }

    #[allow(clippy::unnecessary_box_returns, reason = "goflow returns a pointer")]
    fn reserve(&self, now: Instant, n: u64, max_wait: Duration) -> Box<Reservation> {
        let mut state = self.state.lock().expect("no panic under it");
        let elapsed = now.saturating_duration_since(state.last).as_secs_f64();
        let tokens = (state.tokens + elapsed * state.limit).min(state.burst as f64) - n as f64;
        let wait = if tokens < 0.0 {
            Duration::from_secs_f64(-tokens / state.limit)
        } else {
            Duration::ZERO
        };
        let ok = n <= state.burst && wait <= max_wait;
        if ok {
            state.tokens = tokens;
            state.last = now;
        }
        Box::new(Reservation {
            ok,
            time_to_act: now + wait,
            tokens: n,
            limit: state.limit,
        })
    }
}
