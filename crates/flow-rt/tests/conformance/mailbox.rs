//! An executor whose tasks never leave their thread, behind a mailbox that takes tasks from any.

use std::sync::{Arc, Mutex};
use std::thread;

use async_executor::LocalExecutor;
use flow_rt::conformance::Subject;
use flow_rt::{BoxBlocking, BoxTask, BoxTimer, Handle, Instant, Runtime};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

struct Mailbox {
    /// None after shutdown: what is sent then is dropped.
    tasks: Mutex<Option<UnboundedSender<BoxTask>>>,
}

pub(crate) fn subject() -> Subject {
    let (sender, mut receiver) = unbounded_channel::<BoxTask>();
    let driver = thread::spawn(move || {
        let local = LocalExecutor::new();
        async_io::block_on(local.run(async {
            while let Some(task) = receiver.recv().await {
                local.spawn(task).detach();
            }
        }));
    });
    let mailbox = Arc::new(Mailbox {
        tasks: Mutex::new(Some(sender)),
    });
    Subject::new(Handle::from_arc(mailbox.clone())).shut_down_by(move || {
        let sender = mailbox.tasks.lock().unwrap().take();
        drop(sender);
        driver.join().unwrap();
    })
}

impl Runtime for Mailbox {
    fn spawn(&self, task: BoxTask) {
        let refused = match &*self.tasks.lock().unwrap() {
            Some(tasks) => tasks.send(task).err().map(|refused| refused.0),
            None => Some(task),
        };
        // Its destructor is user code: not under the lock.
        drop(refused);
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        thread::spawn(job);
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        BoxTimer::from_sleep(at, |at| async move {
            match at.to_std() {
                Some(at) => drop(async_io::Timer::at(at).await),
                None => std::future::pending().await,
            }
        })
    }

    fn name(&self) -> &'static str {
        "local-mailbox"
    }
}
