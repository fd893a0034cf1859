//! Cases TB 1 to 33 and LB 34 to 49 as data: each is a script, run on every runtime in virtual time.
//! Those that goflow fails name its defect, 1 to 7; the sixth is in `reservations_alloc`.
#![cfg(not(loom))]

#[path = "support/script.rs"]
mod script;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_ratelimit::{
    AcquireError, ConfigError, Denied, LeakyBucket, Limiter, LimiterExt, Pacer, Rate, Reservation,
    TokenBucket,
};
use flow_rt::{CancellationToken, Clock, ManualClock, TestRuntime};
use script::{Outcome, cases, must, said, same, yield_now};

/// `case, tag, what, steps`, separated by tabs; steps by semicolons, their words by spaces.
///
/// Steps: `new rate burst [initial]`, `debt rate burst tokens`, `leaky rate capacity [level]`;
/// `refused` and `leaky_refused` with the words of those; `every ms rate`, `every_refused ms`;
/// `rate text`, `burst n`, `available n`, `level n`, `waiting n`; `set_rate text`, `set_burst n` and
/// the same with `_refused`; `take n`, `takes times` one each, `refund n`; `not_yet n ms`,
/// `exceeds n` and `never n` for what cannot be had; `reserve name n ms`, `cancel name`;
/// `waits n ms`, `timeout n ms` at once, `wait_exceeds n`, `wait_never n`; `cancelled n` before the
/// wait, `cancelled_during n`; `advance ms`; `tasks count tries`; `back` for a clock that goes back;
/// `paced rate count ms`. A time may be `max`.
const CASES: &str = include_str!("data/bucket_cases.tsv");

flow_rt::on_every_runtime! {
    seeds 0..30;
    tb_1_to_33_and_lb_34_to_49,
}

#[test]
fn every_case_is_there_once() {
    let given = cases(CASES).map(|case| case.number.to_owned());
    let token = (1..=33).map(|number| format!("TB {number}"));
    let leaky = (34..=49).map(|number| format!("LB {number}"));
    assert!(given.eq(token.chain(leaky)));
}

async fn tb_1_to_33_and_lb_34_to_49(rt: TestRuntime) {
    for case in cases(CASES) {
        let mut run = Run {
            rt: rt.clone(),
            bucket: Bucket::Token(TokenBucket::new("1/s", 1).expect("valid")),
            reserved: BTreeMap::new(),
        };
        case.run(async |words| run.step(words).await).await;
        drop(run);
        // Whoever keeps the time for those who wait stays a little longer than they.
        rt.advance(Duration::from_secs(1)).await;
        assert_eq!(rt.live_tasks(), 0, "{}: a task stays", case.number);
    }
}

enum Bucket {
    Token(TokenBucket),
    Leaky(LeakyBucket),
}

impl Bucket {
    /// By the words of a step: a rate, a burst, and what it starts with.
    fn token(words: &[&str]) -> Result<Self, ConfigError> {
        let mut builder = TokenBucket::builder()
            .rate(words[1])
            .burst(number(words[2]));
        if let Some(initial) = words.get(3) {
            builder = builder.initial(number(initial));
        }
        builder.build().map(Self::Token)
    }

    fn leaky(words: &[&str]) -> Result<Self, ConfigError> {
        let mut builder = LeakyBucket::builder()
            .rate(words[1])
            .capacity(number(words[2]));
        if let Some(level) = words.get(3) {
            builder = builder.initial_level(number(level));
        }
        builder.build().map(Self::Leaky)
    }

    fn in_debt(words: &[&str]) -> Result<Self, ConfigError> {
        let builder = TokenBucket::builder()
            .rate(words[1])
            .burst(number(words[2]));
        builder.debt(number(words[3])).build().map(Self::Token)
    }

    fn limiter(&self) -> &dyn Limiter {
        match self {
            Self::Token(bucket) => bucket,
            Self::Leaky(bucket) => bucket,
        }
    }

    fn rate(&self) -> Rate {
        match self {
            Self::Token(bucket) => bucket.rate(),
            Self::Leaky(bucket) => bucket.rate(),
        }
    }

    fn burst(&self) -> u64 {
        match self {
            Self::Token(bucket) => bucket.burst(),
            Self::Leaky(bucket) => bucket.capacity(),
        }
    }

    fn available(&self) -> u64 {
        match self {
            Self::Token(bucket) => bucket.available(),
            Self::Leaky(bucket) => bucket.available(),
        }
    }

    fn level(&self) -> u64 {
        match self {
            Self::Token(_) => panic!("a token bucket has no level"),
            Self::Leaky(bucket) => bucket.level(),
        }
    }

    fn waiting(&self) -> usize {
        match self {
            Self::Token(bucket) => bucket.stats().waiting,
            Self::Leaky(bucket) => bucket.stats().waiting,
        }
    }

    fn set_rate(&self, rate: &str) -> Result<(), ConfigError> {
        match self {
            Self::Token(bucket) => bucket.set_rate(rate),
            Self::Leaky(bucket) => bucket.set_rate(rate),
        }
    }

    fn set_burst(&self, burst: u64) -> Result<(), ConfigError> {
        match self {
            Self::Token(bucket) => bucket.set_burst(burst),
            Self::Leaky(bucket) => bucket.set_capacity(burst),
        }
    }

    fn reserve_n(&self, n: u64) -> Result<Reservation, Denied> {
        match self {
            Self::Token(bucket) => bucket.reserve_n(n),
            Self::Leaky(bucket) => bucket.reserve_n(n),
        }
    }
}

struct Run {
    rt: TestRuntime,
    bucket: Bucket,
    reserved: BTreeMap<String, Reservation>,
}

impl Run {
    async fn step(&mut self, words: &[&str]) -> Outcome {
        let n = |at: usize| number(words[at]);
        match words[0] {
            "new" => self.begin(Bucket::token(words)),
            "debt" => self.begin(Bucket::in_debt(words)),
            "leaky" => self.begin(Bucket::leaky(words)),
            "refused" => must(Bucket::token(words).is_err(), "it was built"),
            "leaky_refused" => must(Bucket::leaky(words).is_err(), "it was built"),
            "every" => same(Rate::every(time(words[1])), words[2].parse()),
            "every_refused" => match Rate::every(time(words[1])) {
                Err(why) => must(why.to_string().contains("Rate::UNLIMITED"), "no pointer"),
                Ok(rate) => Err(rate.to_string()),
            },
            "rate" => same(Ok(self.bucket.rate()), words[1].parse()),
            "burst" => same(self.bucket.burst(), n(1)),
            "available" => same(self.bucket.available(), n(1)),
            "level" => same(self.bucket.level(), n(1)),
            "waiting" => same(self.bucket.waiting() as u64, n(1)),
            "set_rate" => said(self.bucket.set_rate(words[1])),
            "set_burst" => said(self.bucket.set_burst(n(1))),
            "set_rate_refused" => must(self.bucket.set_rate(words[1]).is_err(), "it was set"),
            "set_burst_refused" => must(self.bucket.set_burst(n(1)).is_err(), "it was set"),
            "take" => said(self.bucket.limiter().try_acquire_n(n(1))),
            "takes" => (0..n(1)).try_for_each(|_| said(self.bucket.limiter().try_acquire())),
            "refund" => {
                self.bucket.limiter().refund(n(1));
                Ok(())
            }
            "reserve" => {
                let reserved = self.bucket.reserve_n(n(2));
                let reserved = reserved.map_err(|error| error.to_string())?;
                let delay = reserved.delay();
                self.reserved.insert(words[1].to_owned(), reserved);
                same(delay, time(words[3]))
            }
            "cancel" => must(
                self.reserved.remove(words[1]).is_some(),
                "none of that name",
            ),
            "advance" => {
                self.rt.advance(time(words[1])).await;
                Ok(())
            }
            "tasks" => self.tasks(n(1), n(2)).await,
            "back" => goes_back(),
            "paced" => self.paced(words[1], n(2), time(words[3])).await,
            "not_yet" | "exceeds" | "never" => self.denied(words),
            _ => self.wait(words).await,
        }
    }

    fn begin(&mut self, bucket: Result<Bucket, ConfigError>) -> Outcome {
        self.reserved.clear();
        self.bucket = bucket.map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Looked at and asked for, it is denied for the same reason.
    fn denied(&self, words: &[&str]) -> Outcome {
        let n = number(words[1]);
        let burst = self.bucket.burst();
        let why = match words[0] {
            "not_yet" => Denied::not_yet(time(words[2])),
            "exceeds" => Denied::exceeds_burst(n, burst),
            _ => Denied::NeverRefills,
        };
        let limiter = self.bucket.limiter();
        same(limiter.peek_n(n), Err(why))?;
        same(limiter.try_acquire_n(n).map(drop), Err(why))
    }

    async fn wait(&self, words: &[&str]) -> Outcome {
        let n = number(words[1]);
        let limiter = self.bucket.limiter();
        let start = self.rt.now();
        match words[0] {
            "waits" => {
                said(limiter.acquire_n(n).await)?;
                same(self.rt.now() - start, time(words[2]))
            }
            "timeout" => {
                let mut wait = pin!(limiter.acquire_n_timeout(n, time(words[2])));
                let cx = &mut Context::from_waker(Waker::noop());
                match wait.as_mut().poll(cx) {
                    Poll::Ready(Err(AcquireError::Timeout { .. })) => {
                        same(self.rt.now() - start, Duration::ZERO)
                    }
                    other => Err(format!("{other:?}")),
                }
            }
            "wait_exceeds" => match limiter.acquire_n(n).await {
                Err(AcquireError::ExceedsBurst { requested, .. }) => same(requested, n),
                other => Err(format!("{other:?}")),
            },
            "wait_never" => same(
                limiter.acquire_n(n).await.map(drop),
                Err(AcquireError::NeverRefills),
            ),
            "cancelled" => {
                let token = CancellationToken::new();
                token.cancel();
                let waited = token.run_until_cancelled(limiter.acquire_n(n)).await;
                must(waited.is_none(), "it was not cancelled")
            }
            "cancelled_during" => {
                let token = CancellationToken::new();
                let canceller = self.rt.spawn({
                    let token = token.clone();
                    async move { token.cancel() }
                });
                let waited = token.run_until_cancelled(limiter.acquire_n(n)).await;
                canceller.await.expect("no panic");
                must(waited.is_none(), "it was not cancelled")?;
                same(self.rt.now() - start, Duration::ZERO)
            }
            other => panic!("`{other}` is no step"),
        }
    }

    /// Many ask at once; no more go than there are tokens, by the rate of one in 100 ms.
    async fn tasks(&self, count: u64, tries: u64) -> Outcome {
        let Bucket::Token(bucket) = &self.bucket else {
            return Err("for token buckets".to_owned());
        };
        let start = self.rt.now();
        let tasks: Vec<_> = (0..count)
            .map(|_| {
                let bucket = bucket.clone();
                self.rt.spawn(async move {
                    let mut went = 0;
                    for _ in 0..tries {
                        went += u64::from(bucket.try_acquire().is_ok());
                        yield_now().await;
                    }
                    went
                })
            })
            .collect();
        let mut went = 0;
        for task in tasks {
            went += task.await.expect("no panic");
        }
        same(self.rt.now(), start)?;
        same(went, bucket.burst())
    }

    /// So many wait at once, and leave one after the other.
    async fn paced(&self, rate: &str, count: u64, spacing: Duration) -> Outcome {
        let pacer = Pacer::new(rate, 10).expect("valid");
        let start = self.rt.now();
        let mut tasks = Vec::new();
        for _ in 0..count {
            let (pacer, runtime) = (pacer.clone(), (*self.rt).clone());
            tasks.push(self.rt.spawn(async move {
                pacer.acquire().await.expect("open");
                runtime.now()
            }));
            self.rt.settle().await;
        }
        for (number, task) in (0..).zip(tasks) {
            let went = task.await.expect("no panic");
            same(went - start, spacing * number)?;
        }
        Ok(())
    }
}

/// No clock of a runtime goes back: one that is moved by hand does.
fn goes_back() -> Outcome {
    let clock = ManualClock::new();
    clock.advance(Duration::from_secs(1));
    let builder = TokenBucket::builder().rate("10/s").burst(5);
    let bucket = builder.clock(clock.clone()).build().expect("valid");
    said(bucket.try_acquire_n(3))?;
    let before = clock.now();
    clock.set(before - Duration::from_millis(500));
    must(bucket.available() <= 2, "it has refilled")?;
    must(bucket.try_acquire_n(3).is_err(), "it has refilled")?;
    clock.set(before);
    same(bucket.available(), 2)?;
    clock.advance(Duration::from_millis(100));
    same(bucket.available(), 3)
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number")
}

fn time(word: &str) -> Duration {
    match word {
        "max" => Duration::MAX,
        milliseconds => Duration::from_millis(number(milliseconds)),
    }
}
