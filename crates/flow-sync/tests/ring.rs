//! The edges of the ring: what its users do not come across as they use it now.
#![cfg(not(loom))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use flow_sync::{PopError, PushError, Ring, Turn};

/// A sender of 2 to a full ring, in line.
fn parked(ring: &Ring<u32>) -> (Turn, Option<u32>) {
    let (mut turn, mut slot) = (Turn::New, Some(2));
    let mut cx = Context::from_waker(Waker::noop());
    while !matches!(turn, Turn::Parked(_)) {
        assert!(ring.poll_push(&mut cx, &mut turn, &mut slot).is_pending());
    }
    (turn, slot)
}

/// It waits for its item then, and keeps what it was promised until it leaves.
#[test]
fn a_sender_in_line_that_has_no_item_any_more_loses_no_room() {
    let mut cx = Context::from_waker(Waker::noop());
    let ring = Ring::new(1).expect("small");
    ring.try_push(1).expect("room");
    let (mut turn, mut slot) = parked(&ring);
    slot.take();
    assert_eq!(ring.try_pop(), Ok(1));
    assert!(ring.poll_push(&mut cx, &mut turn, &mut slot).is_pending());
    assert_eq!(ring.try_push(3), Err((3, PushError::Full)));
    ring.leave_push(&mut turn);
    ring.try_push(3).expect("room");
    ring.close();
    assert_eq!(
        (ring.try_pop(), ring.try_pop()),
        (Ok(3), Err(PopError::Closed))
    );
}

#[test]
fn a_sender_in_line_that_has_an_item_again_sends_it() {
    let mut cx = Context::from_waker(Waker::noop());
    let ring = Ring::new(1).expect("small");
    ring.try_push(1).expect("room");
    let (mut turn, mut slot) = parked(&ring);
    slot.take();
    assert_eq!(ring.try_pop(), Ok(1));
    assert!(ring.poll_push(&mut cx, &mut turn, &mut slot).is_pending());
    slot = Some(4);
    let sent = ring.poll_push(&mut cx, &mut turn, &mut slot);
    assert_eq!((sent, ring.try_pop()), (Poll::Ready(Ok(())), Ok(4)));
}

#[test]
fn a_promise_that_nobody_was_given_is_none() {
    let ring = Ring::new(2).expect("small");
    ring.withdraw();
    assert_eq!(ring.push_promised(1), Err(1));
    assert!(!ring.is_closed());
    for n in 0..2 {
        ring.try_promise().expect("room");
        ring.push_promised(n).expect("promised");
    }
    assert_eq!(ring.push_promised(2), Err(2));
    assert_eq!(ring.try_push(2), Err((2, PushError::Full)));
    ring.close();
    ring.withdraw();
    assert_eq!((ring.try_pop(), ring.try_pop()), (Ok(0), Ok(1)));
    assert_eq!(ring.try_pop(), Err(PopError::Closed));
}

/// It wants no place in the line as long as there is room now and then, but not for ever.
#[test]
fn a_sender_lets_others_run_while_they_find_room_and_then_stands_in_line() {
    let mut cx = Context::from_waker(Waker::noop());
    for rounds in [0, 1, 7, 20] {
        let ring = Ring::new(1).expect("small");
        ring.try_push(0).expect("room");
        let (mut turn, mut slot) = (Turn::New, Some(1));
        assert!(ring.poll_push(&mut cx, &mut turn, &mut slot).is_pending());
        let mut yielded = 0;
        while matches!(turn, Turn::Yielded { .. }) {
            yielded += 1;
            if yielded <= rounds {
                ring.try_pop().expect("an item");
                ring.try_push(0).expect("nobody stands in line");
            }
            assert!(ring.poll_push(&mut cx, &mut turn, &mut slot).is_pending());
        }
        assert_eq!(yielded, (rounds + 1).min(8));
        assert!(matches!(turn, Turn::Parked(_)));
        ring.try_pop().expect("an item");
        assert_eq!(ring.try_push(2), Err((2, PushError::Full)), "it is its own");
        assert!(ring.poll_push(&mut cx, &mut turn, &mut slot).is_ready());
    }
}

/// It was somebody else who used it, or gave it back. A place in the line is left for it by then.
#[test]
fn a_sender_whose_promise_is_gone_begins_anew() {
    let mut cx = Context::from_waker(Waker::noop());
    let ring = Ring::new(1).expect("small");
    ring.try_push(1).expect("room");
    let (mut turn, mut slot) = parked(&ring);
    assert_eq!(ring.try_pop(), Ok(1));
    ring.push_promised(3).expect("the other one's");
    assert!(ring.poll_push(&mut cx, &mut turn, &mut slot).is_pending());
    assert!(matches!(turn, Turn::Yielded { times: 1, .. }));
    assert_eq!(slot, Some(2));
    assert_eq!(ring.try_pop(), Ok(3));
    assert!(ring.poll_push(&mut cx, &mut turn, &mut slot).is_ready());
    assert_eq!(ring.try_pop(), Ok(2));
}

/// There is room, but no number for another promise: who waits, waits for a promise.
#[test]
fn whoever_waits_for_one_of_all_promises_gets_the_next_that_is_used() {
    const MOST: u32 = 32_767;
    for is_used in [true, false] {
        let mut cx = Context::from_waker(Waker::noop());
        let ring = Ring::new(40_000).expect("not too many");
        for _ in 0..MOST {
            ring.try_promise().expect("room");
        }
        assert_eq!(ring.try_promise(), Err(PushError::Full));
        ring.try_push(0).expect("room that nobody was promised");
        let mut turn = Turn::New;
        for _ in 0..2 {
            assert!(ring.poll_promise(&mut cx, &mut turn).is_pending());
        }
        assert_eq!(ring.try_push(1), Err((1, PushError::Full)), "one waits");
        if is_used {
            ring.push_promised(1).expect("promised");
        } else {
            ring.withdraw();
        }
        let promised = ring.poll_promise(&mut cx, &mut turn);
        assert_eq!(promised, Poll::Ready(Ok(())));
        ring.try_push(2).expect("nobody waits");
        assert_eq!(ring.try_promise(), Err(PushError::Full));
        ring.close();
        for n in 0..MOST {
            ring.push_promised(n).expect("promised");
        }
        assert_eq!(ring.len(), MOST as usize + 2 + usize::from(is_used));
    }
}

/// Somebody may wait for the third to go, as who asks waits for a reply.
#[test]
fn an_item_that_panics_as_it_is_dropped_harms_no_other() {
    struct Item {
        panics: bool,
        _alive: Rc<()>,
    }
    impl Drop for Item {
        fn drop(&mut self) {
            assert!(!self.panics, "as it was told");
        }
    }
    let alive = Rc::new(());
    let ring = Ring::new(4).expect("small");
    for nth in 0..3 {
        let item = Item {
            panics: nth == 1,
            _alive: alive.clone(),
        };
        assert!(ring.try_push(item).is_ok());
    }
    catch_unwind(AssertUnwindSafe(|| drop(ring))).expect_err("it panics");
    assert_eq!(Rc::strong_count(&alive), 1);
}

/// It leaves nothing behind that would keep its task alive, however its sleep ends.
#[test]
fn a_sole_receiver_that_sleeps_no_more_has_no_waker_left() {
    struct Task;
    impl std::task::Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    let task = Arc::new(Task);
    let waker = Waker::from(task.clone());
    let mut cx = Context::from_waker(&waker);
    let ring = Ring::with_one_receiver(2).expect("small");
    let mut turn = Turn::New;
    let held = Arc::strong_count(&task);

    assert!(ring.poll_pop(&mut cx, &mut turn, false).is_pending());
    assert!(ring.poll_pop(&mut cx, &mut turn, false).is_pending());
    assert_eq!((turn, Arc::strong_count(&task)), (Turn::Asleep, held + 1));
    ring.leave_pop(&mut turn);
    assert_eq!((turn, Arc::strong_count(&task)), (Turn::New, held));

    assert!(ring.poll_pop(&mut cx, &mut turn, false).is_pending());
    ring.try_push(1).expect("room");
    assert_eq!(Arc::strong_count(&task), held, "it was woken");
    assert!(ring.poll_pop(&mut cx, &mut turn, false).is_ready());
    assert_eq!(turn, Turn::New);

    // An item that comes beside the sleep of one that is polled all the same.
    assert!(ring.poll_pop(&mut cx, &mut turn, false).is_pending());
    ring.try_promise().expect("room");
    ring.close();
    assert!(ring.poll_pop(&mut cx, &mut turn, false).is_pending());
    ring.withdraw();
    assert_eq!(
        ring.poll_pop(&mut cx, &mut turn, false),
        Poll::Ready(None::<i32>)
    );
    assert_eq!((turn, Arc::strong_count(&task)), (Turn::New, held));
}

/// A turn that was forgotten is in nobody's way: there is no place in a line that it would keep.
#[test]
fn a_sleep_that_was_forgotten_holds_nobody_up() {
    let mut cx = Context::from_waker(Waker::noop());
    let ring = Ring::with_one_receiver(2).expect("small");
    assert!(ring.poll_pop(&mut cx, &mut Turn::New, false).is_pending());
    ring.try_push(1).expect("room");
    assert!(ring.poll_pop(&mut cx, &mut Turn::New, false).is_ready());
    assert!(ring.poll_pop(&mut cx, &mut Turn::New, false).is_pending());
    assert_eq!(ring.try_pop(), Err(PopError::Empty));
    ring.try_push(2).expect("room");
    assert_eq!(ring.try_pop(), Ok(2));
}
