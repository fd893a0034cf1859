//! Cases about the runtime's time.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use super::lab::{Lab, Verdict, ensure};
use super::tools::yield_now;
use crate::handle::Handle;

pub(super) async fn now_never_goes_back(lab: Lab) -> Verdict {
    let rt = Handle::clone(&lab);
    let task = lab.spawn(async move {
        let mut before = rt.now();
        for _ in 0..1_000 {
            yield_now().await;
            let now = rt.now();
            if now < before {
                return Err(format!("the time went from {before:?} back to {now:?}"));
            }
            before = now;
        }
        Ok(())
    });
    lab.join("a task that reads the time 1 000 times", task)
        .await?
}

/// In rounds: in each, every thread reads after all of them have read in the one before.
pub(super) fn now_is_monotonic_across_threads(lab: &Lab) -> Verdict {
    const THREADS: usize = 4;
    let (latest, round) = (Arc::new(AtomicU64::new(0)), Arc::new(Barrier::new(THREADS)));
    let reader = || {
        let (rt, latest, round) = (Handle::clone(lab), latest.clone(), round.clone());
        std::thread::spawn(move || {
            let mut worst = 0;
            for _ in 0..200 {
                round.wait();
                for _ in 0..20 {
                    // Whoever stored it had read the clock before we do.
                    let seen = latest.load(Ordering::Acquire);
                    let now = rt.now().as_nanos();
                    worst = worst.max(seen.saturating_sub(now));
                    latest.fetch_max(now, Ordering::AcqRel);
                }
            }
            worst
        })
    };
    let readers: Vec<_> = (0..THREADS).map(|_| reader()).collect();
    lab.step("four threads that read the time");
    for reader in readers {
        let worst = reader
            .join()
            .map_err(|_| "reading the time panicked on a plain thread".to_owned())?;
        ensure!(
            worst == 0,
            "a thread saw a time {worst} ns behind what another had seen before"
        );
    }
    Ok(())
}
