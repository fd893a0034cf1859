//! A task that waits gives its slot to others for as long.
//!
//! A task of a sub-pool has two: one of the sub-pool, which is a task of the pool above and has
//! one of that. So a loan is one of every pool upwards, from the first one that the task is in: the
//! one that is asked, or one above it.
//!
//! # Several at once
//! A task may wait in several loans at once. Each slot is lent by the first of them and taken back by
//! the last: between the two it is another task's, and what the task does then it does without one.
//!
//! # Order
//! What was lent is taken back from the inside out: whoever waits for a slot of a pool has those
//! within already, and none of the pools above. The other way round two could wait for each other:
//! one has the slot above and wants that of the sub-pool, whose slot wants the one above, to see
//! that it is one too many and leave.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;

use flow_sync::Ticket;

use super::core::Core;
use super::inside;
use super::roster::Seat;

pin_project_lite::pin_project! {
    /// The future of [`WorkerPool::release_slot`](super::WorkerPool::release_slot).
    ///
    /// # Cancel safety
    /// That of the future inside. A slot that was given away is taken back.
    #[must_use = "futures do nothing unless polled"]
    pub struct ReleaseSlot<'p, F: Future> {
        #[pin]
        future: F,
        output: Option<F::Output>,
        loan: Loan<'p>,
    }
}

/// Who has the slots of the task that waits. Dropped, it takes them back without a wait: the task
/// has ended, or its slot would be too many and leaves.
struct Loan<'p> {
    /// The pool that is asked; then the first one, from there up, that the task is in.
    core: &'p Arc<Core>,
    state: State,
    /// Slots that have not come back: that of `core` last, before it that of the pool above.
    lent: Vec<(&'p Arc<Core>, Arc<Seat>)>,
    /// The wait for the last of them, all slots of whose pool are busy.
    returning: Option<Ticket>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    /// In no slot of these pools: there is nothing to give away.
    Kept,
    Lent,
}

impl<'p, F: Future> ReleaseSlot<'p, F> {
    pub(super) fn new(core: &'p Arc<Core>, future: F) -> Self {
        Self {
            future,
            output: None,
            loan: Loan {
                core,
                state: State::New,
                lent: Vec::new(),
                returning: None,
            },
        }
    }
}

impl<F: Future> Future for ReleaseSlot<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let loan = this.loan;
        if this.output.is_none() {
            let is_new = loan.state == State::New;
            if is_new {
                match loan.core.kept_by_caller() {
                    Some(core) => loan.core = core,
                    None => loan.state = State::Kept,
                }
            }
            // What is awaited here may wait for room: it keeps no slot.
            let output = match loan.state {
                State::Kept => ready!(this.future.poll(cx)),
                _ => match inside::without(loan.core.number, || this.future.poll(cx)) {
                    Poll::Ready(output) => output,
                    Poll::Pending => {
                        if is_new {
                            loan.lend();
                        }
                        return Poll::Pending;
                    }
                },
            };
            *this.output = Some(output);
        }
        ready!(loan.poll_return(cx));
        // Polled once more after that it stays pending, as all our futures do.
        this.output.take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Loan<'_> {
    fn lend(&mut self) {
        self.state = State::Lent;
        let mut lender = Some(self.core);
        while let Some(core) = lender {
            let seat = inside::seat_in(core.number).and_then(|seat| core.roster.lend(seat));
            let Some(seat) = seat else { return };
            self.lent.insert(0, (core, seat));
            core.lent();
            lender = core.above();
        }
    }

    fn poll_return(&mut self, cx: &Context<'_>) -> Poll<()> {
        while let Some((core, seat)) = self.lent.last() {
            if self.returning.is_none() {
                self.returning = core.take_back(seat);
            }
            // Kept before the look, which clones the caller's waker.
            if let Some(ticket) = self.returning
                && !core.roster.is_back(ticket, cx)
            {
                return Poll::Pending;
            }
            self.next();
        }
        Poll::Ready(())
    }

    /// This pool's slot is back: on to the one above.
    fn next(&mut self) {
        self.returning = None;
        self.lent.pop();
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        while let Some((core, seat)) = self.lent.last() {
            core.take_back_now(seat, self.returning);
            self.next();
        }
    }
}
