//! Cases CL 50 to 68 as data: each is a script, run on every runtime in virtual time.
#![cfg(not(loom))]

#[path = "support/script.rs"]
mod script;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_ratelimit::{
    AcquireOwnedPermit, ConcurrencyLimiter, OwnedPermit, PermitError, TryPermitError,
};
use flow_rt::{CancellationToken, JoinHandle, TestRuntime};
use script::{Outcome, cases, must, said, same, yield_now};

/// `case, tag, what, steps`, separated by tabs; steps by semicolons, their words by spaces.
///
/// Steps: `new limit`, `refused limit`, `limit n`; `available n`, `in_use n`, `waiting n`;
/// `take name n` at once, `full n` and `never n` for what cannot be had, now or ever;
/// `give name`, `split name n into`, `split_refused name n`; `wait name n` at its first poll,
/// `park name n` for one that must wait, `pending name`, `granted name`, `drop name`;
/// `spawn name n` and `join name` for a task that waits; `timeout n ms`, `cancelled n`;
/// `tasks count turns`, `race tries`.
const CASES: &str = include_str!("data/cl_cases.tsv");

flow_rt::on_every_runtime! {
    seeds 0..30;
    cl_50_to_68,
}

#[test]
fn every_case_is_there_once() {
    let numbers = cases(CASES).map(|case| case.number.parse::<u32>().expect("a number"));
    assert!(numbers.eq(50..=68));
}

async fn cl_50_to_68(rt: TestRuntime) {
    for case in cases(CASES) {
        let mut run = Run::new(rt.clone());
        case.run(async |words| run.step(words).await).await;
        drop(run);
        rt.settle().await;
        assert_eq!(rt.live_tasks(), 0, "CL {}: a task stays", case.number);
    }
}

struct Run {
    rt: TestRuntime,
    limiter: ConcurrencyLimiter,
    held: BTreeMap<String, OwnedPermit>,
    parked: BTreeMap<String, Pin<Box<AcquireOwnedPermit>>>,
    tasks: BTreeMap<String, JoinHandle<Result<OwnedPermit, PermitError>>>,
}

impl Run {
    fn new(rt: TestRuntime) -> Self {
        Self {
            rt,
            limiter: ConcurrencyLimiter::new(1).expect("valid"),
            held: BTreeMap::new(),
            parked: BTreeMap::new(),
            tasks: BTreeMap::new(),
        }
    }

    async fn step(&mut self, words: &[&str]) -> Outcome {
        let number = |at: usize| words[at].parse::<u32>().expect("a number");
        match words[0] {
            "new" => {
                self.held.clear();
                self.parked.clear();
                self.limiter = ConcurrencyLimiter::new(number(1)).map_err(|e| e.to_string())?;
                Ok(())
            }
            "refused" => must(ConcurrencyLimiter::new(number(1)).is_err(), "it was built"),
            "limit" => said(self.limiter.set_limit(number(1))),
            "available" => same(self.limiter.available(), number(1)),
            "in_use" => same(self.limiter.in_flight(), number(1)),
            "waiting" => {
                self.rt.settle().await;
                same(self.limiter.stats().waiting, number(1) as usize)
            }
            "full" => match self.limiter.try_acquire_n(number(1)) {
                Err(TryPermitError::Full { .. }) => Ok(()),
                other => Err(format!("{other:?}")),
            },
            "never" => self.never(number(1)).await,
            "timeout" => self.timeout(number(1), number(2)).await,
            "cancelled" => self.cancelled(number(1)).await,
            "tasks" => self.tasks(number(1), number(2)).await,
            "race" => self.race(number(1)).await,
            _ => self.named(words).await,
        }
    }

    /// Steps with a permit or a wait of a name.
    async fn named(&mut self, words: &[&str]) -> Outcome {
        let name = words[1];
        let number = |at: usize| words[at].parse::<u32>().expect("a number");
        let permit = match words[0] {
            "take" => {
                let taken = self.limiter.try_acquire_owned_n(number(2));
                taken.map_err(|error| error.to_string())?
            }
            "wait" => match poll(&mut Box::pin(self.limiter.acquire_owned_n(number(2)))) {
                Poll::Ready(result) => result.map_err(|error| error.to_string())?,
                Poll::Pending => return Err("it waits".to_owned()),
            },
            "give" => {
                let given = self.held.remove(name);
                return must(given.is_some(), "it is not held");
            }
            "split" => {
                let whole = self.held.get_mut(name).expect("held");
                let part = whole.split(number(2)).ok_or("it holds fewer")?;
                self.held.insert(words[3].to_owned(), part);
                return Ok(());
            }
            "split_refused" => {
                let whole = self.held.get_mut(name).expect("held");
                return must(whole.split(number(2)).is_none(), "it was split");
            }
            "park" => {
                let mut wait = Box::pin(self.limiter.acquire_owned_n(number(2)));
                let polled = poll(&mut wait);
                self.parked.insert(name.to_owned(), wait);
                return must(polled.is_pending(), "it need not wait");
            }
            "pending" => {
                let polled = poll(self.parked.get_mut(name).expect("parked"));
                return must(polled.is_pending(), "it waits no longer");
            }
            "granted" => match poll(&mut self.parked.remove(name).expect("parked")) {
                Poll::Ready(result) => result.map_err(|error| error.to_string())?,
                Poll::Pending => return Err("it waits still".to_owned()),
            },
            "drop" => {
                let dropped = self.parked.remove(name);
                return must(dropped.is_some(), "it was not parked");
            }
            "spawn" => {
                let task = self.rt.spawn(self.limiter.acquire_owned_n(number(2)));
                self.tasks.insert(name.to_owned(), task);
                return Ok(());
            }
            "join" => {
                let task = self.tasks.remove(name).expect("spawned");
                let waited = task.await.expect("no panic");
                waited.map_err(|error| error.to_string())?
            }
            other => panic!("`{other}` is no step"),
        };
        self.held.insert(name.to_owned(), permit);
        Ok(())
    }

    async fn never(&self, n: u32) -> Outcome {
        match self.limiter.try_acquire_n(n) {
            Err(TryPermitError::ExceedsLimit { .. }) => {}
            other => return Err(format!("{other:?}")),
        }
        match self.limiter.acquire_n(n).await {
            Err(PermitError::ExceedsLimit { .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    async fn timeout(&self, n: u32, milliseconds: u32) -> Outcome {
        let limit = Duration::from_millis(u64::from(milliseconds));
        let start = self.rt.now();
        match self.limiter.acquire_n_timeout(n, limit).await {
            Err(PermitError::Timeout { .. }) => same(self.rt.now() - start, limit),
            other => Err(format!("{other:?}")),
        }
    }

    async fn cancelled(&self, n: u32) -> Outcome {
        let token = CancellationToken::new();
        let canceller = self.rt.spawn({
            let token = token.clone();
            async move { token.cancel() }
        });
        let waited = token.run_until_cancelled(self.limiter.acquire_n(n)).await;
        canceller.await.expect("no panic");
        must(waited.is_none(), "it was not cancelled")
    }

    async fn tasks(&self, count: u32, turns: u32) -> Outcome {
        let tasks: Vec<_> = (0..count)
            .map(|_| {
                let limiter = self.limiter.clone();
                self.rt.spawn(async move {
                    for _ in 0..turns {
                        let _permit = limiter.acquire().await.expect("open");
                        yield_now().await;
                        assert!(limiter.in_flight() <= limiter.limit());
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        Ok(())
    }

    /// Each time a task gives back the only permit while the wait for it is dropped.
    async fn race(&self, tries: u32) -> Outcome {
        for attempt in 0..tries {
            let taken = self.limiter.try_acquire_owned();
            let permit = taken.map_err(|error| error.to_string())?;
            let mut wait = Box::pin(self.limiter.acquire_owned());
            must(poll(&mut wait).is_pending(), "it need not wait")?;
            let other = self.rt.spawn(async move { drop(permit) });
            // Where one thread runs both, the wait goes before the grant, or after it.
            if attempt % 2 == 1 {
                yield_now().await;
            }
            drop(wait);
            other.await.expect("no panic");
        }
        Ok(())
    }
}

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}
