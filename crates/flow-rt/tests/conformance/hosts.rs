//! How each host is started and shut down for one case.

use std::thread;

use flow_rt::Handle;
use flow_rt::conformance::Subject;
use flow_rt::sim::{Policy, Sim};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

pub(crate) fn tokio_multi_thread() -> Subject {
    let tokio = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    Subject::new(handle).shut_down_by(move || drop(tokio))
}

pub(crate) fn tokio_with_fine_timers() -> Subject {
    let tokio = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    Subject::new(handle.with_fine_timers()).shut_down_by(move || drop(tokio))
}

/// A current-thread runtime makes progress only inside its `block_on`: a thread stays there.
pub(crate) fn tokio_current_thread() -> Subject {
    let tokio = Builder::new_current_thread().enable_time().build().unwrap();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let driver = thread::spawn(move || {
        let _ = tokio.block_on(stopped);
    });
    Subject::new(handle).shut_down_by(move || {
        drop(stop);
        driver.join().unwrap();
    })
}

pub(crate) fn sim() -> Subject {
    let drive = |case: flow_rt::conformance::DrivenCase| {
        // Cases let tasks panic, to see that the others go on.
        Sim::new(7)
            .task_panics(Policy::Report)
            .run(|rt| async move { case.run(&rt).await })
            .unwrap();
    };
    Subject::driven(drive).time_stands_while_busy()
}
