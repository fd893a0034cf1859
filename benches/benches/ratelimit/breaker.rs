//! A call through a circuit breaker, beside the same call without one.

use core::cell::Cell;
use core::convert::Infallible;
use core::future::Future;
use core::hint::black_box;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use failsafe::{CircuitBreaker as _, failure_policy};
use flow_benches::{Bench, on_threads, repeat};
use flow_ratelimit::CircuitBreaker;
use flow_rt::{CoarseClock, Handle};
use recloser::Recloser;

/// Calls per turn of the loop, which would else be a good part of what is measured.
const CALLS: u64 = 16;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn rows(bench: &mut Bench) {
    closed(bench);
    failing(bench);
    with_a_clock(bench);
    rejected(bench);
    bench.note(
        "Breakers judge by the last 100 calls. flow's and recloser's windows are by number and \
         exact; failsafe's is a success rate over time.",
    );
}

/// A call that goes well: what is left is what stands around it.
#[inline]
#[allow(clippy::unnecessary_wraps, reason = "breakers judge by results")]
fn fine(calls: &Cell<u64>) -> Result<u64, Infallible> {
    calls.set(calls.get() + 1);
    Ok(black_box(calls.get()))
}

/// Makes the calls of one batch.
#[inline]
fn each(mut call: impl FnMut(&Cell<u64>)) {
    let calls = Cell::new(0);
    for _ in 0..CALLS {
        call(&calls);
    }
}

fn closed(bench: &mut Bench) {
    let ours = CircuitBreaker::builder().window(100);
    let ours = ours.build().expect("valid");
    let failsafe = failsafe();
    let recloser = recloser();
    let bare = |n| {
        repeat(n, |_| {
            each(|calls| {
                let _ = black_box(fine(calls));
            });
        })
    };
    bench
        .row("breaker closed, around a call")
        .batch(CALLS)
        .instructions(10_000)
        .flow(|n| {
            repeat(n, |_| {
                each(|calls| {
                    let _ = black_box(ours.call_sync(|| fine(calls)));
                });
            })
        })
        .peer("bare call", bare)
        .peer("failsafe", |n| {
            repeat(n, |_| {
                each(|calls| {
                    let _ = black_box(failsafe.call(|| fine(calls)));
                });
            })
        })
        .peer("recloser", |n| {
            repeat(n, |_| {
                each(|calls| {
                    let _ = black_box(recloser.call(|| fine(calls)));
                });
            })
        })
        .measure();
    bench
        .row("breaker closed, around a call that is ready, async")
        .batch(CALLS)
        .flow(|n| {
            repeat(n, |_| {
                each(|calls| {
                    let _ = black_box(at_once(ours.call(async || fine(calls))));
                });
            })
        })
        .peer("bare call", |n| {
            repeat(n, |_| {
                each(|calls| {
                    let _ = black_box(at_once(async { fine(calls) }));
                });
            })
        })
        .measure();
    bench
        .row("breaker closed, around a call, 2 threads")
        .batch(CALLS)
        .flow(|n| {
            on_threads(2, n, |_| {
                each(|calls| {
                    let _ = black_box(ours.call_sync(|| fine(calls)));
                });
            })
        })
        .peer("failsafe", |n| {
            on_threads(2, n, |_| {
                each(|calls| {
                    let _ = black_box(failsafe.call(|| fine(calls)));
                });
            })
        })
        .peer("recloser", |n| {
            on_threads(2, n, |_| {
                each(|calls| {
                    let _ = black_box(recloser.call(|| fine(calls)));
                });
            })
        })
        .measure();
}

fn failing(bench: &mut Bench) {
    bench
        .row("breaker closed, around a call that fails")
        .batch(CALLS)
        .flow({
            // All of the window would have to fail.
            let ours = CircuitBreaker::builder().window(100).failure_rate(1.0);
            let ours = ours.build().expect("valid");
            move |n| {
                repeat(n, |i| {
                    let _ = black_box(ours.call_sync(|| Ok::<_, u64>(())));
                    each(|_| {
                        let _ = black_box(ours.call_sync(|| Err::<u64, _>(black_box(i))));
                    });
                })
            }
        })
        .peer("bare call", |n| {
            repeat(n, |i| {
                each(|_| {
                    let _ = black_box(Err::<u64, _>(black_box(i)));
                });
            })
        })
        .measure();
}

fn with_a_clock(bench: &mut Bench) {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let handle = Handle::tokio(tokio.handle().clone()).expect("with timers");
    let clock = CoarseClock::on(&handle, Duration::from_millis(10)).expect("not zero");
    let by_default = CircuitBreaker::builder().slow_call(MINUTE, 0.5).build();
    let by_default = by_default.expect("valid");
    let coarse = CircuitBreaker::builder().slow_call(MINUTE, 0.5);
    let coarse = coarse.window_of(MINUTE).clock(clock);
    let coarse = coarse.build().expect("valid");
    let bare = |n| {
        repeat(n, |_| {
            each(|calls| {
                let _ = black_box(fine(calls));
            });
        })
    };
    bench
        .row("breaker closed, around a call, slow calls watched")
        .batch(CALLS)
        .flow(|n| {
            repeat(n, |_| {
                each(|calls| {
                    let _ = black_box(by_default.call_sync(|| fine(calls)));
                });
            })
        })
        .peer("bare call", bare)
        .measure();
    bench
        .row("breaker closed, around a call, slow calls and time by a coarse clock")
        .batch(CALLS)
        .flow(|n| {
            repeat(n, |_| {
                each(|calls| {
                    let _ = black_box(coarse.call_sync(|| fine(calls)));
                });
            })
        })
        .peer("bare call", bare)
        .measure();
}

fn rejected(bench: &mut Bench) {
    let ours = CircuitBreaker::builder().open_for(HOUR);
    let ours = ours.build().expect("valid");
    ours.open();
    let failsafe = failsafe_by_number();
    let recloser = recloser();
    for _ in 0..1_000 {
        let _ = failsafe.call(|| Err::<(), _>(()));
        let _ = recloser.call(|| Err::<(), _>(()));
    }
    assert!(!failsafe.is_call_permitted(), "it is open");
    bench
        .row("breaker open, a call rejected")
        .flow(|n| repeat(n, |_| ours.try_acquire().is_err()))
        .peer("failsafe", |n| repeat(n, |_| failsafe.is_call_permitted()))
        .peer("recloser", |n| {
            repeat(n, |_| recloser.call(|| Ok::<_, Infallible>(())).is_err())
        })
        .measure();
}

type Failsafe<P> = failsafe::StateMachine<P, ()>;
type Constant = failsafe::backoff::Constant;

fn failsafe() -> Failsafe<failure_policy::SuccessRateOverTimeWindow<Constant>> {
    let backoff = failsafe::backoff::constant(HOUR);
    let policy = failure_policy::success_rate_over_time_window(0.5, 20, MINUTE, backoff);
    failsafe::Config::new().failure_policy(policy).build()
}

fn failsafe_by_number() -> Failsafe<failure_policy::ConsecutiveFailures<Constant>> {
    let backoff = failsafe::backoff::constant(HOUR);
    let policy = failure_policy::consecutive_failures(20, backoff);
    failsafe::Config::new().failure_policy(policy).build()
}

fn recloser() -> Recloser {
    Recloser::custom()
        .error_rate(0.5)
        .closed_len(100)
        .half_open_len(3)
        .open_wait(HOUR)
        .build()
}

/// What a future gives at its first poll.
#[inline]
fn at_once<F: Future>(future: F) -> F::Output {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it is ready"),
    }
}
