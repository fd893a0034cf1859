//! Stepped time over tokio: as a root that moves it, and for bystanders while a thread does.

use std::thread;

use flow_rt::conformance::{self, DrivenCase, Outcome, Subject};
use flow_rt::{Handle, SteppedRuntime, block_on};
use tokio::runtime::{Builder, Runtime as Tokio};
use tokio::sync::oneshot;

/// The case is the root of a run, so it sees time stand until everybody waits.
pub(crate) fn as_root() -> Subject {
    let (tokio, rt) = over_tokio();
    let drive = move |case: DrivenCase| {
        let root = rt.run(case.run(&rt));
        block_on(root).unwrap();
        drop(tokio);
    };
    Subject::driven(drive).time_stands_while_busy()
}

/// The case is a bystander, whose own looks at the time may come late.
fn as_bystander() -> Subject {
    let (tokio, rt) = over_tokio();
    let handle = Handle::clone(&rt);
    let (stop, stopped) = oneshot::channel::<()>();
    let mover = thread::spawn(move || {
        let _ = block_on(rt.run(stopped));
    });
    let subject = Subject::new(handle).time_stands_while_busy();
    subject.shut_down_by(move || {
        drop(tokio);
        drop(stop);
        mover.join().unwrap();
    })
}

fn over_tokio() -> (Tokio, SteppedRuntime) {
    let tokio = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let rt = SteppedRuntime::over(&Handle::tokio(tokio.handle().clone()).unwrap());
    (tokio, rt)
}

#[test]
fn threads_and_shutdown_conform_too() {
    let as_root = conformance::run(as_root);
    assert!(as_root.is_ok(), "{as_root}");
    let mut rest = 0;
    for case in as_root.cases() {
        if matches!(case.outcome(), Outcome::NotApplicable(_)) {
            let report = conformance::run_case(case.case().name(), as_bystander).unwrap();
            assert!(report.outcome().is_ok(), "{report}");
            rest += usize::from(matches!(report.outcome(), Outcome::Passed));
        }
    }
    assert_eq!(
        rest, 17,
        "all but the one that needs time to pass while tasks are ready"
    );
}
