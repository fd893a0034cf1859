//! Tasks that are waited for together.

use core::fmt;
use core::future::{Future, poll_fn};
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::collections::BTreeMap;
use std::sync::Arc;

use atomic_waker::AtomicWaker;
use crossbeam_queue::SegQueue;
use futures_core::Stream;

use crate::handle::Handle;
use crate::join::{JoinError, JoinHandle};

/// Tasks of one kind that are waited for together, in the order in which they end.
///
/// Dropping the group aborts what still runs. A task that its runtime drops counts as ended, so
/// waiting never hangs.
///
/// ```
/// # use flow_rt::{Handle, TaskGroup};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
/// # let handle = Handle::tokio(rt.handle().clone())?;
/// let sum = flow_rt::block_on(async {
///     let mut group = handle.task_group();
///     for n in 1..=4 {
///         group.spawn(async move { n * n });
///     }
///     let mut sum = 0;
///     while let Some(square) = group.join_next().await {
///         sum += square?;
///     }
///     Ok::<_, flow_rt::JoinError>(sum)
/// })??;
/// assert_eq!(sum, 30);
/// # Ok(())
/// # }
/// ```
pub struct TaskGroup<T> {
    handle: Handle,
    /// By age, which is the order of an abort: a hash's would differ from run to run of one seed.
    members: BTreeMap<u64, JoinHandle<T>>,
    next_id: u64,
    ended: Arc<Ended>,
    /// Left its future, and is about to fill its cell: the next one to hand out.
    ending: Option<JoinHandle<T>>,
}

/// Ids of members whose future is gone, and who waits for them.
#[derive(Default)]
struct Ended {
    ids: SegQueue<u64>,
    waiter: AtomicWaker,
}

impl<T: Send + 'static> TaskGroup<T> {
    pub(crate) fn new(handle: Handle) -> Self {
        Self {
            handle,
            members: BTreeMap::new(),
            next_id: 0,
            ended: Arc::default(),
            ending: None,
        }
    }

    /// Starts a task in the group.
    #[track_caller]
    pub fn spawn(&mut self, future: impl Future<Output = T> + Send + 'static) {
        let id = self.next_id;
        self.next_id += 1;
        let report = ReportEnd {
            id,
            ended: self.ended.clone(),
        };
        let member = self.handle.spawn(async move {
            let _report = report;
            future.await
        });
        self.members.insert(id, member);
    }

    /// Waits for the next task to end; `None` if the group is empty.
    ///
    /// # Cancel safety
    /// A dropped call has taken no result.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        poll_fn(|cx| self.poll_join_next(cx)).await
    }

    /// Polls for the next task to end; see [`join_next`](Self::join_next).
    pub fn poll_join_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        if self.ending.is_none() {
            if self.members.is_empty() {
                return Poll::Ready(None);
            }
            self.ending = Some(ready!(self.poll_ending(cx)));
        }
        let Some(member) = &mut self.ending else {
            return Poll::Ready(None);
        };
        let result = ready!(Pin::new(member).poll(cx));
        self.ending = None;
        Poll::Ready(Some(result))
    }

    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Poll<JoinHandle<T>> {
        // Register before the last look: an end in between wakes.
        let mut registered = false;
        loop {
            while let Some(id) = self.ended.ids.pop() {
                if let Some(member) = self.members.remove(&id) {
                    return Poll::Ready(member);
                }
            }
            if registered {
                return Poll::Pending;
            }
            self.ended.waiter.register(cx.waker());
            registered = true;
        }
    }

    /// Asks every task to stop; they still come out of [`join_next`](Self::join_next).
    pub fn abort_all(&self) {
        for member in self.members.values().chain(&self.ending) {
            member.abort();
        }
    }

    /// Aborts every task and waits until all have ended. Results that came first are dropped.
    ///
    /// # Cancel safety
    /// Dropping it before its first poll does nothing. Later every task has been aborted; those
    /// that have not ended are still in the group, and another call, or
    /// [`join_next`](Self::join_next), waits for them.
    pub async fn shutdown(&mut self) {
        self.abort_all();
        while self.join_next().await.is_some() {}
    }

    /// Lets every task run on without the group, which is empty afterwards.
    pub fn detach_all(&mut self) {
        for (_, member) in mem::take(&mut self.members) {
            member.detach();
        }
        if let Some(member) = self.ending.take() {
            member.detach();
        }
        // They report their ends to nobody: here the ids would heap up.
        self.ended = Arc::default();
    }
}

impl<T> TaskGroup<T> {
    /// Tasks started and not yet handed out.
    pub fn len(&self) -> usize {
        self.members.len() + usize::from(self.ending.is_some())
    }

    /// Whether every task has been handed out.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Send + 'static> Stream for TaskGroup<T> {
    type Item = Result<T, JoinError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_join_next(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl<T> Drop for TaskGroup<T> {
    fn drop(&mut self) {
        for member in self.members.values().chain(&self.ending) {
            member.abort();
        }
    }
}

impl<T> fmt::Debug for TaskGroup<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskGroup")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Announces a member's end from its destructor: it ends with its future, however that goes.
struct ReportEnd {
    id: u64,
    ended: Arc<Ended>,
}

impl Drop for ReportEnd {
    fn drop(&mut self) {
        self.ended.ids.push(self.id);
        self.ended.waiter.wake();
    }
}

#[cfg(all(test, feature = "sim", not(loom)))]
mod tests {
    use crate::sim;

    #[test]
    fn detached_tasks_leave_nothing_behind() {
        sim::check(0..20, |rt| async move {
            let mut group = rt.task_group();
            for _ in 0..10 {
                group.spawn(async {});
                group.detach_all();
            }
            rt.run_until_idle().await;
            assert_eq!(group.ended.ids.len(), 0);
            assert!(group.join_next().await.is_none());

            // The group goes on as if it were new.
            group.spawn(async {});
            assert!(matches!(group.join_next().await, Some(Ok(()))));
            assert_eq!((group.len(), group.ended.ids.len()), (0, 0));
        });
    }
}
