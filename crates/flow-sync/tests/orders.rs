//! Whoever registers, is notified and gives up, in all orders: polled by hand, with wakers that
//! count. Each waker that a wait has left is woken exactly when its turn has come, and never a stale
//! one.
#![cfg(not(loom))]

mod common;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use common::Count;
use flow_sync::{
    Event, JoinCell, Listener, PermitWait, Permits, Ring, Standing, Ticket, Turn, WaitList,
};

/// Runs something in each order of several actors' steps; how many there are. An actor's own steps
/// keep their order.
fn in_all_orders(steps: &[usize], mut run: impl FnMut(&[usize])) -> usize {
    fn go_on(left: &mut [usize], order: &mut Vec<usize>, run: &mut dyn FnMut(&[usize])) -> usize {
        let mut orders = 0;
        for actor in 0..left.len() {
            if left[actor] > 0 {
                left[actor] -= 1;
                order.push(actor);
                orders += go_on(left, order, run);
                order.pop();
                left[actor] += 1;
            }
        }
        if orders == 0 {
            run(order);
            return 1;
        }
        orders
    }
    go_on(&mut steps.to_vec(), &mut Vec::new(), &mut run)
}

/// Something to wait for, first come, first served.
trait Waited: Default {
    type Wait<'a>
    where
        Self: 'a;
    /// Whether who begins stands in line already, before the first poll.
    const STANDS_AT_ONCE: bool;
    /// Whether a notification that nobody waits for is kept for who comes next.
    const KEEPS: bool;

    fn begin(&self) -> Self::Wait<'_>;
    fn poll<'a>(&'a self, wait: &mut Self::Wait<'a>, cx: &mut Context<'_>) -> Poll<()>;
    fn leave<'a>(&'a self, wait: Self::Wait<'a>);
    fn notify(&self);
}

impl Waited for Event {
    type Wait<'a> = Listener<'a>;
    const STANDS_AT_ONCE: bool = true;
    const KEEPS: bool = false;

    fn begin(&self) -> Listener<'_> {
        self.listen()
    }

    fn poll<'a>(&'a self, wait: &mut Listener<'a>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(wait).poll(cx)
    }

    fn leave<'a>(&'a self, wait: Listener<'a>) {
        drop(wait);
    }

    fn notify(&self) {
        self.notify_one();
    }
}

/// Permits of which none is free at first; one that was acquired is spent.
struct Spent(Permits);

impl Default for Spent {
    fn default() -> Self {
        let permits = Permits::new(9, usize::MAX).expect("a small limit");
        permits.try_acquire(9).expect("all are free");
        Self(permits)
    }
}

impl Waited for Spent {
    type Wait<'a> = PermitWait<&'a Permits>;
    const STANDS_AT_ONCE: bool = false;
    const KEEPS: bool = true;

    fn begin(&self) -> PermitWait<&Permits> {
        PermitWait::borrowed()
    }

    fn poll<'a>(&'a self, wait: &mut PermitWait<&'a Permits>, cx: &mut Context<'_>) -> Poll<()> {
        let permits = &self.0;
        permits
            .poll_wait(cx, 1, wait)
            .map(|acquired| acquired.expect("it is open"))
    }

    fn leave<'a>(&'a self, wait: PermitWait<&'a Permits>) {
        drop(wait);
    }

    fn notify(&self) {
        self.0.release(1).expect("it was taken");
    }
}

/// A list under its lock, used as its documentation says.
#[derive(Default)]
struct Listed(Mutex<WaitList>);

impl Waited for Listed {
    type Wait<'a> = Ticket;
    const STANDS_AT_ONCE: bool = true;
    const KEEPS: bool = false;

    fn begin(&self) -> Ticket {
        self.0.lock().unwrap().push(1, None)
    }

    fn poll(&self, wait: &mut Ticket, cx: &mut Context<'_>) -> Poll<()> {
        // Cloned and dropped without the lock.
        let waker = cx.waker().clone();
        let mut list = self.0.lock().unwrap();
        if list.standing(*wait) == Standing::Granted {
            drop(list);
            return Poll::Ready(());
        }
        let replaced = list.update_waker(*wait, waker);
        drop(list);
        drop(replaced);
        Poll::Pending
    }

    fn leave(&self, wait: Ticket) {
        let mut list = self.0.lock().unwrap();
        let _ = list.cancel(wait);
    }

    fn notify(&self) {
        let woken = self.0.lock().unwrap().grant_head();
        if let Some(woken) = woken {
            woken.wake();
        }
    }
}

/// A ring that receivers wait at.
struct Received(Ring<()>);

impl Default for Received {
    fn default() -> Self {
        Self(Ring::new(4).expect("a small one"))
    }
}

impl Waited for Received {
    type Wait<'a> = Turn;
    const STANDS_AT_ONCE: bool = false;
    const KEEPS: bool = true;

    fn begin(&self) -> Turn {
        Turn::default()
    }

    fn poll(&self, wait: &mut Turn, cx: &mut Context<'_>) -> Poll<()> {
        self.0
            .poll_pop(cx, wait, false)
            .map(|item| item.expect("it is open"))
    }

    fn leave(&self, mut wait: Turn) {
        self.0.leave_pop(&mut wait);
    }

    fn notify(&self) {
        self.0.try_push(()).expect("there is room");
    }
}

/// What one who waits should see.
#[derive(Default)]
struct Seen {
    granted: bool,
    ready: bool,
    /// Each waker that it has left, and how often that is to be woken.
    wakers: Vec<(Arc<Count>, usize)>,
}

/// The line as it should be.
struct Line {
    passes_on: bool,
    keeps: bool,
    kept: usize,
    waiting: VecDeque<usize>,
    seen: Vec<Seen>,
}

impl Line {
    fn notify(&mut self) {
        let Some(head) = self.waiting.pop_front() else {
            self.kept += usize::from(self.keeps);
            return;
        };
        let seen = &mut self.seen[head];
        seen.granted = true;
        if let Some((_, woken)) = seen.wakers.last_mut() {
            *woken += 1;
        }
    }

    /// Whether it is ready.
    fn poll(&mut self, who: usize, count: &Arc<Count>) -> bool {
        if self.kept > 0 && !self.seen[who].ready && !self.seen[who].granted {
            // Nobody waits while something is kept.
            self.kept -= 1;
            self.waiting.retain(|&other| other != who);
            self.seen[who].granted = true;
        }
        let seen = &mut self.seen[who];
        if seen.granted {
            seen.ready = true;
        } else {
            seen.wakers.push((count.clone(), 0));
            if !self.waiting.contains(&who) {
                self.waiting.push_back(who);
            }
        }
        seen.ready
    }

    fn leave(&mut self, who: usize) {
        self.waiting.retain(|&other| other != who);
        let seen = &self.seen[who];
        if seen.granted && !seen.ready && self.passes_on {
            self.notify();
        }
    }
}

/// So many begin, poll so often and leave, while others notify, in each order.
fn in_all_orders_of<W: Waited>(
    waiters: usize,
    polls: usize,
    notifications: usize,
    passes_on: bool,
) {
    let mut steps = vec![polls + 2; waiters];
    steps.push(notifications);
    in_all_orders(&steps, |order| {
        let waited = W::default();
        let mut line = Line {
            passes_on,
            keeps: W::KEEPS,
            kept: 0,
            waiting: VecDeque::new(),
            seen: (0..waiters).map(|_| Seen::default()).collect(),
        };
        let mut waits: Vec<Option<W::Wait<'_>>> = (0..waiters).map(|_| None).collect();
        let mut done = vec![0; waiters];
        for &who in order {
            if who == waiters {
                line.notify();
                waited.notify();
            } else {
                done[who] += 1;
                if done[who] == 1 {
                    waits[who] = Some(waited.begin());
                    if W::STANDS_AT_ONCE {
                        line.waiting.push_back(who);
                    }
                } else if done[who] < polls + 2 {
                    let wait = waits[who].as_mut().expect("it has begun");
                    if !line.seen[who].ready {
                        // Another waker each time: the last one counts.
                        let count = Count::new();
                        let ready = line.poll(who, &count);
                        let waker = count.waker();
                        let polled = waited.poll(wait, &mut Context::from_waker(&waker));
                        assert_eq!(polled.is_ready(), ready, "{who} in {order:?}");
                    }
                } else {
                    line.leave(who);
                    waited.leave(waits[who].take().expect("it has begun"));
                }
            }
            for (who, seen) in line.seen.iter().enumerate() {
                for (count, woken) in &seen.wakers {
                    assert_eq!(count.get(), *woken, "wakes of {who} in {order:?}");
                }
            }
        }
        drop(waits);
        drop(waited);
        for (count, _) in line.seen.iter().flat_map(|seen| &seen.wakers) {
            assert_eq!(Arc::strong_count(count), 1, "a waker is left in {order:?}");
        }
    });
}

fn two_and_three<W: Waited>(passes_on: bool) {
    in_all_orders_of::<W>(2, 2, 2, passes_on);
    in_all_orders_of::<W>(3, 1, 1, passes_on);
    in_all_orders_of::<W>(3, 0, 2, passes_on);
}

#[test]
fn orders_are_all_orders() {
    let mut orders = Vec::new();
    assert_eq!(
        in_all_orders(&[2, 1], |order| orders.push(order.to_vec())),
        3
    );
    assert_eq!(orders, [[0, 0, 1], [0, 1, 0], [1, 0, 0]]);
    assert_eq!(in_all_orders(&[4, 4, 2], |_| ()), 3_150);
}

#[test]
fn an_event_in_all_orders() {
    two_and_three::<Event>(true);
}

#[test]
fn permits_in_all_orders() {
    two_and_three::<Spent>(true);
}

#[test]
fn a_wait_list_in_all_orders() {
    // To pass a grant on is its owner's matter.
    two_and_three::<Listed>(false);
}

#[test]
fn a_ring_in_all_orders() {
    two_and_three::<Received>(true);
}

#[test]
fn a_join_cell_in_all_orders() {
    // One polls, each time with another waker, and leaves; two complete it.
    let orders = in_all_orders(&[4, 1, 1], |order| {
        let cell = JoinCell::new();
        let (mut polls, mut value, mut taken) = (0, None, false);
        let mut wakers: Vec<(Arc<Count>, usize)> = Vec::new();
        for &who in order {
            if who > 0 {
                let first = value.is_none();
                assert_eq!(cell.complete(who).is_ok(), first, "{order:?}");
                if first {
                    value = Some(who);
                    if let Some((_, woken)) = wakers.last_mut() {
                        *woken = 1;
                    }
                }
                assert!(cell.is_complete());
            } else {
                polls += 1;
                let count = Count::new();
                let waker = count.waker();
                let polled = match polls {
                    4 => cell.try_take().map_or(Poll::Pending, Poll::Ready),
                    _ => cell.poll_take(&mut Context::from_waker(&waker)),
                };
                let expected = value.filter(|_| !taken).map_or(Poll::Pending, Poll::Ready);
                assert_eq!(polled, expected, "{order:?}");
                taken |= polled.is_ready();
                if value.is_none() && polls < 4 {
                    wakers.push((count, 0));
                }
            }
            for (count, woken) in &wakers {
                assert_eq!(count.get(), *woken, "{order:?}");
            }
        }
        drop(cell);
        for (count, _) in &wakers {
            assert_eq!(Arc::strong_count(count), 1, "a waker is left in {order:?}");
        }
    });
    assert_eq!(orders, 30);
}
