//! The process's default runtime, in a process of its own: it can be set once.
#![cfg(not(loom))]

use flow_rt::{BoxBlocking, BoxTask, BoxTimer, Handle, Instant, Runtime};

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

// One test: the default belongs to the whole process.
#[test]
fn the_default_is_set_once_and_gives_way_to_what_is_nearer() {
    let before = Handle::current();
    if cfg!(any(feature = "smol", feature = "async-std")) {
        assert!(before.is_ok());
    } else {
        assert_eq!(before.unwrap_err(), flow_rt::HandleError::NotFound);
    }

    let default = Handle::new(Named("default"));
    default.set_default().unwrap();
    assert_eq!(Handle::current().unwrap().id(), default.id());
    let name = std::thread::spawn(|| Handle::current().map(|handle| handle.name()));
    assert_eq!(name.join().unwrap(), Ok("default"));

    let error = Handle::new(Named("second")).set_default().unwrap_err();
    assert!(error.to_string().contains("is default already"), "{error}");
    assert_eq!(Handle::current().unwrap().name(), "default");

    let scope = Handle::new(Named("scope")).enter();
    assert_eq!(Handle::current().unwrap().name(), "scope");
    drop(scope);
    assert_eq!(Handle::current().unwrap().name(), "default");

    #[cfg(feature = "tokio")]
    {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let inside = tokio.block_on(async { Handle::current().map(|handle| handle.name()) });
        assert_eq!(inside, Ok("tokio"));
    }
}
