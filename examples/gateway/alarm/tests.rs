//! Who is polled when.

use std::cell::RefCell;

use super::*;

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A thing that is always pending, but for the polls that are said to be ready.
#[derive(Default)]
struct Thing {
    polls: u32,
    is_ready: bool,
    waker: Option<Waker>,
}

fn poll(alarm: &mut Alarm, task: &Waker, thing: &RefCell<Thing>) -> Poll<()> {
    alarm.poll(task, |cx| {
        let mut thing = thing.borrow_mut();
        thing.polls += 1;
        thing.waker = Some(cx.waker().clone());
        if thing.is_ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
}

#[test]
fn a_thing_is_polled_again_when_it_has_woken_the_task() {
    let woken = Arc::new(Woken::default());
    let task = Waker::from(woken.clone());
    let (mut alarm, thing) = (Alarm::default(), RefCell::new(Thing::default()));
    for _ in 0..3 {
        assert!(poll(&mut alarm, &task, &thing).is_pending());
    }
    assert_eq!(thing.borrow().polls, 1, "nothing has happened to it");
    let waker = thing.borrow_mut().waker.take().unwrap();
    waker.wake_by_ref();
    assert!(woken.0.load(Ordering::Relaxed), "its wake is the task's");
    for _ in 0..3 {
        assert!(poll(&mut alarm, &task, &thing).is_pending());
    }
    assert_eq!(thing.borrow().polls, 2);
}

#[test]
fn a_thing_that_was_ready_is_polled_until_it_is_not() {
    let task = Waker::from(Arc::new(Woken::default()));
    let (mut alarm, thing) = (Alarm::default(), RefCell::new(Thing::default()));
    thing.borrow_mut().is_ready = true;
    for _ in 0..3 {
        assert!(poll(&mut alarm, &task, &thing).is_ready());
    }
    thing.borrow_mut().is_ready = false;
    for _ in 0..3 {
        assert!(poll(&mut alarm, &task, &thing).is_pending());
    }
    assert_eq!(thing.borrow().polls, 4);
}

#[test]
fn another_task_has_it_polled_and_is_woken_then() {
    let (mut alarm, thing) = (Alarm::default(), RefCell::new(Thing::default()));
    let [one, other] = [(); 2].map(|()| Arc::new(Woken::default()));
    assert!(poll(&mut alarm, &Waker::from(one.clone()), &thing).is_pending());
    assert!(poll(&mut alarm, &Waker::from(other.clone()), &thing).is_pending());
    assert_eq!(thing.borrow().polls, 2);
    let waker = thing.borrow_mut().waker.take().unwrap();
    waker.wake();
    assert!(!one.0.load(Ordering::Relaxed));
    assert!(other.0.load(Ordering::Relaxed));
}
