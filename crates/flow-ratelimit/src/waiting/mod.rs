//! How tasks and threads wait for a bucket, or for several on one line ([`Source`]): first in,
//! first out, driven by one small task per runtime, or by a thread that waits itself.
//!
//! # State
//! [`Queue`], under one lock: the list of waiters with their needs in grains, or several *lines* of
//! them, where several sources share a queue (see `fair_share`, whose needs are tokens); the *seats*,
//! one per runtime that has waiters and one of all threads that wait, each with its driver's waker;
//! which seat is `primary`; `fire_at`, when it will look; `last_fire`, when its timer last fired;
//! the threads that wait without a seat, and some that did; `closed`; `first`, the head once it was
//! found to be too early. The W bit stands in the limiter's word (see `token_bucket::core`,
//! `multi_bucket::core`). Marked entries of the list are reservations (see
//! `token_bucket::reservation`).
//!
//! # Invariants
//! 1. W changes only under the lock. It is set while somebody waits, and for ever once closed or in
//!    a bucket that warms up.
//! 2. Only the lock's holder changes the list, the seats and `fire_at`.
//! 3. A waiter holds no token before it is granted; the swap of the word that takes its tokens
//!    and the mark that it is granted are one critical section, the swap first.
//! 4. Whoever takes a waker out of the list or a seat wakes it after unlocking; until then, and
//!    until the woken one's next poll, a wake-up is owed to it.
//! 5. While somebody waits who has a waker, a seat exists, or a wake-up is owed to a waiter whose
//!    poll will make one. A driver's waker was stored in the critical section that computed when
//!    it looks next, or a wake-up is owed to it.
//! 6. `fire_at` is at or before the instant the head can go, as of the last critical section, or
//!    the seats' wakers have been taken; only the quantum moves it later.
//! 7. No foreign code under the lock: wakers are cloned before it, woken and dropped after it;
//!    clocks are read before it, and runtimes asked for tasks and timers outside of it. A time
//!    that is old by then only grants less; whoever is held up by it wakes at a later one.
//! 8. A critical section that leaves a waiter has granted all that could go, or its thread comes
//!    back after waking.
//! 9. A driver that lingers has its waker in its seat, and whoever is the first to wait takes it.
//!    Waiters hold the bucket, drivers do not: with the last handle nobody waits any more.
//!
//! # Steps
//! - enqueue: look up the runtime and clone the waker; lock; closed, full or too late? no; set W;
//!   push; pump; granted? done. Else a seat for this runtime; the first to wait? wake all seats,
//!   who may linger (9); unlock; wake; spawn the driver if the seat is new; lock again: a runtime
//!   that dropped the task at once has left no seat.
//! - poll of a waiter: lock; pump; granted or closed? done. Else store the waker, see to a seat.
//! - pump: walk from the head while the needs fit; one swap of the word for all of them, which
//!   clears W if it reaches the end and may (1); mark them granted and collect their wakers.
//!   Reservations take their tokens as of when they came, waiters take them now.
//! - driver: lock; pump; nobody left? stay for `LINGER`, to be woken by the next who waits, or
//!   leave if that is over. No primary, or it is late by `SLACK`? take over. Store the waker;
//!   unlock; wake; sleep until the head can go, a quantum after the last time at the earliest; a
//!   standby until the primary is late.
//! - kick, when supply rose or the head changed: the head can go before `fire_at`? wake the
//!   seats.
//! - cancel: waiting? unlink; nobody left? clear W and wake drivers that sleep long; was it the
//!   head? pump, kick. Granted? refund: exactly what the grant took.
//! - driver dropped before its end (its runtime is gone): its seat goes; it was the primary? wake
//!   the other seats; no seat is left? wake every waiter, whose polls make one where they live.
//! - a thread: enqueue and look like a waiter; has it the threads' seat? a driver's step; park
//!   until then. Has it none? on the list of threads, unless its waker is still there: whoever
//!   takes it off takes that too. When it ends its seat goes as that of a driver that is dropped;
//!   the seat is free and another thread waits? wake that one, who takes it.
//! - one at its limit: cancel, and ask once more without time to wait: the tokens, or when they
//!   come. Who has no time enqueues without waker and seat; not granted? it looks once more, as in a
//!   poll; still not? it cancels, and decides anew.
//! - the last handle goes: wake the drivers, who find the bucket gone (9).
//!
//! # Ordering
//! Enqueue's setting of W and a refund's swap are read-modify-writes of one location, so one
//! comes first. The refund first: the pump after the setting sees its tokens. The setting first:
//! the refund saw W, takes the lock and finds the waiter (1). New parameters are published under
//! the lock: a driver's critical section before it left its waker in the seat, and kick takes
//! it (5); one after it reads the new parameters. Everything else is under the lock.
//!
//! # Fairness
//! First in, first out by taking the lock; a newcomer never passes a waiter, because W keeps it
//! out. A large need holds up those behind it, so it is not starved. A bucket built for barging
//! leaves its fast path open beside W: see `Fairness`. No driver lives inside a waiter: a future
//! that was polled once and is then held without being polled stops nobody.
//!
//! # Source
//! A driver task per runtime is what was left after measuring: a driver inside the waiters' own
//! polls stops everybody with one held future; a timer per waiter costs one allocation each.

mod driver;
mod queue;
mod source;
#[cfg(all(test, not(loom)))]
mod tests;
mod thread;
mod waiter;

pub(crate) use driver::Drives;
pub(crate) use queue::Queue;
pub(crate) use source::{Rules, Serves, Source, saturated};
pub(crate) use thread::take_blocking;
pub(crate) use waiter::Waits;
