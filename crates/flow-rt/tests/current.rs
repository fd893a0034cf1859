//! Which runtime is current, in the order that is promised, and where blocking is refused.
#![cfg(all(
    feature = "tokio",
    feature = "smol",
    feature = "async-std",
    feature = "sim",
    not(loom)
))]
#![allow(clippy::disallowed_methods, reason = "tasks that no handle started")]

use std::thread;

use flow_rt::sim::Sim;
use flow_rt::{
    BlockOnError, BoxBlocking, BoxTask, BoxTimer, Handle, HandleError, Instant, Runtime,
};
use tokio::runtime::{Builder, Runtime as Tokio};

struct Named(&'static str);

impl Runtime for Named {
    fn spawn(&self, task: BoxTask) {
        drop(task);
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        drop(job);
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        BoxTimer::from_sleep(at, |_| std::future::pending())
    }

    fn name(&self) -> &'static str {
        self.0
    }
}

fn current() -> &'static str {
    Handle::current().unwrap().name()
}

fn tokio() -> Tokio {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap()
}

fn without_time() -> Tokio {
    Builder::new_current_thread().build().unwrap()
}

#[test]
fn simulation_over_scope_over_tokio_over_the_global_executors() {
    // No process default here: its test has a process of its own.
    assert_eq!(current(), "smol");
    let tokio = tokio();
    tokio.block_on(async {
        assert_eq!(current(), "tokio");
        let scope = Handle::new(Named("scope")).enter();
        assert_eq!(current(), "scope");
        let inside = Sim::new(1).run(|_| async { current() }).unwrap();
        assert_eq!(inside.output, "sim");
        assert_eq!(current(), "scope");
        drop(scope);
        assert_eq!(current(), "tokio");
    });
    assert_eq!(current(), "smol");
    // Tasks and blocking closures of tokio are inside of it too.
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    let task = flow_rt::block_on(handle.spawn(async { current() }));
    assert_eq!(task.unwrap().unwrap(), "tokio");
    let job = flow_rt::block_on(handle.spawn_blocking(current));
    assert_eq!(job.unwrap().unwrap(), "tokio");
    assert_eq!(
        handle.id(),
        Handle::tokio(tokio.handle().clone()).unwrap().id()
    );
    assert_ne!(handle.id(), Handle::smol().id());
}

#[test]
fn scopes_nest_and_may_be_left_in_any_order() {
    let [a, b, c] = ["a", "b", "c"].map(|name| Handle::new(Named(name)));
    let (in_a, in_b, in_c) = (a.enter(), b.enter(), c.enter());
    assert_eq!(current(), "c");
    drop(in_b);
    assert_eq!(current(), "c");
    drop(in_c);
    assert_eq!(current(), "a");
    let again = b.enter();
    assert_eq!(current(), "b");
    drop(in_a);
    assert_eq!(current(), "b");
    drop(again);
    assert_eq!(current(), "smol");
}

#[test]
fn a_scope_belongs_to_its_thread_and_ends_with_a_panic() {
    let scope = Handle::new(Named("here")).enter();
    assert_eq!(thread::spawn(current).join().unwrap(), "smol");
    let panicked = flow_rt::catch(|| {
        let _inner = Handle::new(Named("inner")).enter();
        std::panic::resume_unwind(Box::new("planned"))
    });
    let panicked: Result<(), _> = panicked;
    assert_eq!(panicked.unwrap_err().message(), "planned");
    assert_eq!(current(), "here");
    drop(scope);
}

#[test]
fn leaving_a_scope_may_end_a_runtime_that_asks_what_is_current() {
    struct Asks;
    impl Drop for Asks {
        fn drop(&mut self) {
            assert_eq!(current(), "smol");
        }
    }
    struct Owner(Asks);
    impl Runtime for Owner {
        fn spawn(&self, _: BoxTask) {}
        fn spawn_blocking(&self, _: BoxBlocking) {}
        fn timer(&self, at: Instant) -> BoxTimer {
            BoxTimer::from_sleep(at, |_| std::future::pending())
        }
    }
    let handle = Handle::new(Owner(Asks));
    let scope = handle.enter();
    drop(handle);
    drop(scope);
}

#[test]
fn a_tokio_runtime_without_time_is_an_error_that_names_the_cure() {
    let tokio = without_time();
    for _ in 0..2 {
        let error = Handle::tokio(tokio.handle().clone()).unwrap_err();
        assert_eq!(error, HandleError::TimeDisabled);
        assert!(error.to_string().contains("enable_time()"));
        let error = tokio.block_on(async { Handle::current().unwrap_err() });
        assert_eq!(error, HandleError::TimeDisabled);
    }
    // One with time beside it is unharmed.
    assert!(Handle::tokio(self::tokio().handle().clone()).is_ok());
}

#[test]
fn no_runtime_is_an_error_that_names_the_features_and_the_builder_method() {
    let text = HandleError::NotFound.to_string();
    for named in [
        "`tokio`",
        "`smol`",
        "`async-std`",
        ".runtime(",
        "Handle::enter",
        "set_default",
    ] {
        assert!(text.contains(named), "{named} is missing from: {text}");
    }
}

#[test]
fn block_on_is_refused_where_it_would_stop_what_it_waits_for() {
    let nested = flow_rt::block_on(async { flow_rt::block_on(async {}) }).unwrap();
    assert_eq!(nested, Err(BlockOnError::Nested));
    // And works again afterwards.
    assert_eq!(flow_rt::block_on(async { 1 }), Ok(1));

    let tokio = tokio();
    let inside = tokio.block_on(async { flow_rt::block_on(async {}) });
    assert_eq!(inside, Err(BlockOnError::InsideRuntime { name: "tokio" }));
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    let in_a_task = handle.spawn(async { flow_rt::block_on(async {}) });
    let in_a_task = flow_rt::block_on(in_a_task).unwrap().unwrap();
    assert_eq!(
        in_a_task,
        Err(BlockOnError::InsideRuntime { name: "tokio" })
    );

    // smol has one thread unless told otherwise: it would wait for itself.
    for handle in [Handle::smol(), Handle::async_std()] {
        let task = handle.clone().spawn(async move {
            let inner = handle.spawn(async {});
            flow_rt::block_on(inner).map(drop)
        });
        let in_a_task = flow_rt::block_on(task).unwrap().unwrap();
        assert_eq!(in_a_task, Err(BlockOnError::InsideTask));
    }

    // Nor did a handle start these.
    let on_smol =
        smol::spawn(async { flow_rt::block_on(Handle::smol().spawn(async {})).map(drop) });
    assert_eq!(
        smol::block_on(on_smol),
        Err(BlockOnError::InsideRuntime { name: "smol" })
    );
    let on_async_std = async_std::task::spawn(async { flow_rt::block_on(async {}) });
    let refused = Err(BlockOnError::InsideRuntime { name: "async-std" });
    assert_eq!(async_std::task::block_on(on_async_std), refused);
    let driven = async_std::task::block_on(async { flow_rt::block_on(async {}) });
    assert_eq!(driven, refused);

    let in_sim = Sim::new(1)
        .run(|_| async { flow_rt::block_on(async {}) })
        .unwrap();
    assert_eq!(in_sim.output, Err(BlockOnError::InSimulation));

    for error in [
        BlockOnError::Nested,
        BlockOnError::InsideTask,
        BlockOnError::InSimulation,
        BlockOnError::InsideRuntime { name: "tokio" },
    ] {
        assert!(error.to_string().contains("await the future"), "{error}");
    }
}

/// What tokio and smol cannot be told from, or can: see [`BlockOnError::InsideRuntime`].
#[test]
fn block_on_is_refused_as_its_documentation_says_and_nowhere_else() {
    let blocks = || flow_rt::block_on(async {});
    let tokio = tokio();
    let of_tokio = tokio.block_on(async { tokio::task::spawn_blocking(blocks).await.unwrap() });
    let refused = Err(BlockOnError::InsideRuntime { name: "tokio" });
    assert_eq!(of_tokio, refused);
    let entered = tokio.enter();
    assert_eq!(blocks(), refused);
    drop(entered);
    assert_eq!(blocks(), Ok(()));

    assert_eq!(smol::block_on(smol::unblock(blocks)), Ok(()));
    let of_async_std = async_std::task::spawn_blocking(blocks);
    assert_eq!(async_std::task::block_on(of_async_std), Ok(()));
    assert_eq!(smol::block_on(async { blocks() }), Ok(()));

    // A name is no proof; what smol's threads have beside it is.
    let named = |wait: fn() -> Result<(), BlockOnError>| {
        let thread = thread::Builder::new().name("smol-1".to_owned());
        thread.spawn(wait).unwrap().join().unwrap()
    };
    assert_eq!(named(|| flow_rt::block_on(async {})), Ok(()));
    let on_smol = smol::spawn(async { thread::current().name().map(str::to_owned) });
    assert_eq!(smol::block_on(on_smol).as_deref(), Some("smol-1"));
}

#[test]
fn block_on_works_in_blocking_closures() {
    let tokio = tokio();
    let handles = [
        Handle::tokio(tokio.handle().clone()).unwrap(),
        Handle::smol(),
        Handle::async_std(),
    ];
    for handle in handles {
        let rt = handle.clone();
        let job = handle.spawn_blocking(move || flow_rt::block_on(rt.spawn(async { 7 })));
        assert_eq!(
            flow_rt::block_on(job).unwrap().unwrap().unwrap().unwrap(),
            7
        );
    }
}

#[test]
fn a_panic_leaves_block_on_usable() {
    let panicked = flow_rt::catch(|| {
        flow_rt::block_on(async { std::panic::resume_unwind(Box::new("planned")) })
    });
    let panicked: Result<Result<(), _>, _> = panicked;
    assert!(panicked.is_err());
    assert_eq!(flow_rt::block_on(async { 2 }), Ok(2));
}

#[test]
fn a_handle_to_a_tokio_runtime_that_is_gone_gives_errors() {
    let tokio = tokio();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    let mut ticks = handle
        .interval(std::time::Duration::from_secs(3_600))
        .unwrap();
    let mut group = handle.task_group();
    group.spawn(std::future::pending::<()>());
    tokio.shutdown_background();

    let wait = |future| flow_rt::block_on(future).unwrap();
    assert!(wait(handle.spawn(async {})).unwrap_err().is_cancelled());
    assert!(
        wait(handle.spawn_blocking(|| ()))
            .unwrap_err()
            .is_cancelled()
    );
    assert!(flow_rt::block_on(ticks.tick()).unwrap().is_err());
    let late = handle.timeout(
        std::time::Duration::from_secs(3_600),
        std::future::pending::<()>(),
    );
    assert!(flow_rt::block_on(late).unwrap().is_err());
    group.spawn(std::future::pending());
    flow_rt::block_on(group.shutdown()).unwrap();
    assert!(group.is_empty());
    handle.spawn_detached(async {});
    assert!(handle.now() > Instant::ORIGIN);
}
