//! What no simulation brings about by itself: another thread that comes between two steps.

use core::future::Future;
use core::panic::Location;
use core::pin::pin;
use core::task::{Context, Waker};
use std::sync::Arc;
use std::thread;

use super::clock::Next;
use super::{Executor, World, local};
use crate::sim::Sim;
use crate::sim::idle::UntilIdle;

const MS: u64 = 1_000_000;

#[test]
fn once_two_are_found_due_no_other_thread_changes_where_the_clock_goes() {
    let config = Sim::builder();
    let world = Arc::new(World::new(&config, None));
    let _local = local::enter(world.id, false);
    let mut executor = Executor::new(&config, None, &world, Location::caller());
    let start = executor.now;
    let sleep = |due| world.register(None, due, Waker::noop());
    for due in [start + 10 * MS, start + 10 * MS, start + 10 * MS + MS / 2] {
        sleep(due);
    }
    assert!(matches!(executor.next_timer(), Next::Several));
    thread::scope(|scope| {
        scope.spawn(|| sleep(start + MS));
    });
    let mut idle = pin!(UntilIdle::new(&world));
    assert!(
        idle.as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    assert!(executor.move_to_next().is_ok());
    assert_eq!(executor.now, start + 10 * MS);
    // Who waits for idleness has its turn, and a sleep that starts then ends when it should.
    sleep(executor.now + MS / 10);
    assert!(executor.wait().is_ok());
    assert!(!world.idle.is_awaited());
    assert!(executor.wait().is_ok());
    assert_eq!(executor.now, start + 10 * MS + MS / 10);
}
