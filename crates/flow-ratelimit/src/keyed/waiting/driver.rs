//! The task that serves those who wait on one runtime, and its steps.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Weak};

use flow_rt::{BoxTimer, Clock, Handle, Instant};

use crate::keyed::store::Store;
use crate::keyed::table::Table;
use crate::wakes::Wakes;

/// The task that looks after a limiter's lines on one runtime, while somebody waits there.
pub(super) struct Driver<C: Clock + 'static, S: Store> {
    /// Those who wait hold the table; the driver does not.
    table: Weak<Table<C, S>>,
    runtime: Handle,
    seat: u64,
    timer: Option<BoxTimer>,
    has_left: bool,
    wakes: Wakes,
}

/// What a driver does next.
enum Step {
    /// Wake those granted, then look again.
    Again,
    /// Nobody waits.
    Leave,
    Sleep(Instant),
}

impl<C: Clock + 'static, S: Store> Driver<C, S> {
    pub(super) fn new(table: &Arc<Table<C, S>>, runtime: Handle, seat: u64) -> Self {
        Self {
            table: Arc::downgrade(table),
            runtime,
            seat,
            timer: None,
            has_left: false,
            wakes: Wakes::new(),
        }
    }

    /// Arms the timer for an instant of the limiter's clock, by the runtime's.
    fn arm(&mut self, at: Instant, table: &Table<C, S>) -> &mut BoxTimer {
        let due = if at.is_far_future() {
            at
        } else {
            // The two clocks may differ; the next look is by the limiter's again.
            self.runtime.now() + at.saturating_duration_since(table.now())
        };
        match &mut self.timer {
            Some(timer) => timer.arm(due),
            none => *none = Some(self.runtime.timer(due)),
        }
        self.timer.get_or_insert_with(|| self.runtime.timer(due))
    }
}

impl<C: Clock + 'static, S: Store> Future for Driver<C, S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let Some(table) = this.table.upgrade() else {
            this.has_left = true;
            return Poll::Ready(());
        };
        let mut waker = None;
        loop {
            // Cloned out here, kept by the seat if this goes to sleep.
            waker.get_or_insert_with(|| cx.waker().clone());
            let step = table.drive(this.seat, &mut waker, &mut this.wakes);
            this.wakes.wake();
            match step {
                Step::Again => {}
                Step::Leave => {
                    this.has_left = true;
                    return Poll::Ready(());
                }
                Step::Sleep(at) => match this.arm(at, &table).poll_fired(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => {}
                    // The runtime keeps no time any more: its seat goes with this driver.
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                },
            }
        }
    }
}

impl<C: Clock + 'static, S: Store> Drop for Driver<C, S> {
    fn drop(&mut self) {
        if self.has_left {
            return;
        }
        if let Some(table) = self.table.upgrade() {
            #[cfg(feature = "tracing")]
            {
                let waiting = table.waiting();
                if waiting > 0 {
                    let name = table.name.as_deref();
                    crate::events::driver_lost(name, self.runtime.name(), waiting);
                }
            }
            table.vacate(self.seat);
        }
    }
}

impl<C: Clock, S: Store> Table<C, S> {
    /// One look of a driver at the lines that are due.
    fn drive(&self, number: u64, waker: &mut Option<Waker>, wakes: &mut Wakes) -> Step {
        let now = self.clock.now();
        let mut waiting = self.waiters.lock();
        if let Some(seat) = waiting.seat(number) {
            // It is awake: no need for others to wake it.
            seat.looks_at = Instant::ORIGIN;
            wakes.discard(seat.waker.take());
        }
        let at = loop {
            match waiting.first_due() {
                Some((at, _)) if at <= now && wakes.room() == 0 => return Step::Again,
                Some((at, id)) if at <= now => self.pump(&mut waiting, id, now, wakes),
                Some((at, _)) => break at,
                None => break Instant::FAR_FUTURE,
            }
        };
        if self.waiting() == 0 {
            waiting.remove_seat(number);
            return Step::Leave;
        }
        match waiting.seat(number) {
            Some(seat) => {
                seat.waker = waker.take();
                seat.looks_at = at;
            }
            // Nobody removes a seat but its driver.
            None => return Step::Leave,
        }
        Step::Sleep(at)
    }

    /// A driver ends before its time.
    fn vacate(&self, number: u64) {
        let mut wakes = Wakes::new();
        let seat = {
            let mut waiting = self.waiters.lock();
            let seat = waiting.remove_seat(number);
            if waiting.seats.is_empty() {
                for line in waiting.lines_mut() {
                    line.list.take_wakers(wakes.all());
                }
            }
            seat
        };
        drop(seat);
        wakes.wake();
    }
}
