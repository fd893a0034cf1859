//! Which of the queued tasks is next.

use std::sync::{Arc, Mutex};

use flow_rt::{OnFull, TestRuntime};
use flow_sched::{SubmitError, TaskError, TrySubmitError, WorkerPool, WorkerPoolBuilder};
use futures_util::future::join_all;

use crate::common::{ms, occupy};

flow_rt::on_every_runtime! {
    seeds 0..50;
    the_most_urgent_goes_first,
    what_is_passed_over_has_its_turn,
    the_least_urgent_makes_room,
    a_priority_that_the_pool_does_not_have_is_refused,
}

type Order = Arc<Mutex<Vec<(usize, u32)>>>;

fn builder(rt: &TestRuntime) -> WorkerPoolBuilder {
    WorkerPool::builder().runtime(rt).slots(1).priorities(3)
}

/// Queues so many tasks of each priority behind a gate, lets them run, and says in which order
/// they did.
async fn order(rt: &TestRuntime, pool: &WorkerPool, tasks: &[(usize, u32)]) -> Vec<(usize, u32)> {
    let gate = occupy(rt, pool).await;
    let order = Order::default();
    let mut handles = Vec::new();
    for &(priority, count) in tasks {
        for n in 0..count {
            let order = order.clone();
            let task = async move |_| order.lock().unwrap().push((priority, n));
            handles.push(pool.submit(task).priority(priority).await.unwrap());
        }
    }
    gate.cancel();
    for result in join_all(handles).await {
        result.unwrap();
    }
    core::mem::take(&mut *order.lock().unwrap())
}

async fn the_most_urgent_goes_first(rt: TestRuntime) {
    let pool = builder(&rt).build().unwrap();
    let ran = order(&rt, &pool, &[(0, 2), (2, 2), (1, 2)]).await;
    assert_eq!(ran, [(2, 0), (2, 1), (1, 0), (1, 1), (0, 0), (0, 1)]);
    // Without one a task has the lowest.
    let gate = occupy(&rt, &pool).await;
    let first = Arc::new(Mutex::new(None));
    let record = |name| {
        let first = first.clone();
        async move |_| *first.lock().unwrap().get_or_insert(name)
    };
    let plain = pool.try_submit(record("plain")).unwrap();
    let urgent = pool.submit(record("urgent")).priority(1).try_now().unwrap();
    let late = pool.submit_timeout(record("late"), ms(1)).priority(2);
    let late = late.run_timeout(ms(1)).await.unwrap();
    gate.cancel();
    for task in [plain, urgent, late] {
        task.await.unwrap();
    }
    assert_eq!(*first.lock().unwrap(), Some("late"));
}

async fn what_is_passed_over_has_its_turn(rt: TestRuntime) {
    let pool = builder(&rt).ageing(3).build().unwrap();
    let ran = order(&rt, &pool, &[(0, 2), (1, 2), (2, 12)]).await;
    // Each of the lower two has a turn after three of others.
    let place = |task| ran.iter().position(|&ran| ran == task).unwrap();
    assert!(place((0, 0)) <= 5, "{ran:?}");
    assert!(place((1, 0)) <= 5, "{ran:?}");
    assert!(place((0, 1)) <= 10, "{ran:?}");
    assert!(place((2, 11)) > place((1, 1)), "{ran:?}");
    for priority in 0..3 {
        let own = ran.iter().filter(|ran| ran.0 == priority);
        assert!(own.is_sorted_by_key(|ran| ran.1), "{ran:?}");
    }
}

async fn the_least_urgent_makes_room(rt: TestRuntime) {
    let builder = builder(&rt).queue(2).on_full(OnFull::DropOldest);
    let pool = builder.build().unwrap();
    let gate = occupy(&rt, &pool).await;
    let submit = |priority| pool.submit(async |_| ()).priority(priority).try_now();
    let (urgent, old) = (submit(2).unwrap(), submit(0).unwrap());
    let newer = submit(1).unwrap();
    assert!(matches!(old.await, Err(TaskError::Evicted)));
    // All that is queued is more urgent than this one.
    let refused = submit(0).unwrap_err();
    assert!(matches!(refused, TrySubmitError::Full { capacity: 2, .. }));
    let refused = pool.submit(async |_| ()).await.unwrap_err();
    assert!(matches!(refused, SubmitError::Full { capacity: 2, .. }));
    let newest = submit(2).unwrap();
    assert!(matches!(newer.await, Err(TaskError::Evicted)));
    // One of the two that are queued can be dropped for it, and only once.
    let again = submit(1).unwrap_err();
    assert!(matches!(again, TrySubmitError::Full { .. }));
    gate.cancel();
    urgent.await.unwrap();
    newest.await.unwrap();
    assert_eq!((pool.stats().evicted, pool.stats().rejected), (2, 3));
    // Nor is what was spawned dropped for anybody.
    let gate = occupy(&rt, &pool).await;
    let spawned = [(); 2].map(|()| pool.handle().spawn(async {}));
    assert!(matches!(submit(2), Err(TrySubmitError::Full { .. })));
    gate.cancel();
    for task in spawned {
        task.await.unwrap();
    }
}

async fn a_priority_that_the_pool_does_not_have_is_refused(rt: TestRuntime) {
    let pool = builder(&rt).build().unwrap();
    let refused = pool.submit(async |_| 7).priority(3).await.unwrap_err();
    let SubmitError::UnknownPriority {
        given, priorities, ..
    } = refused
    else {
        panic!("{refused}");
    };
    assert_eq!((given, priorities), (3, 3));
    let refused = pool.submit(async |_| 7).priority(usize::MAX).try_now();
    let refused = refused.unwrap_err();
    assert!(matches!(refused, TrySubmitError::UnknownPriority { .. }));
    assert!(!refused.is_closed());
    assert_eq!(pool.run(refused.into_inner()).await.unwrap(), 7);
    assert_eq!((pool.stats().submitted, pool.stats().rejected), (1, 2));
}
