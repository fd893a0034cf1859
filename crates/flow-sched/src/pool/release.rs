//! A task that waits gives its slot to others for as long.
//!
//! A task of a sub-pool has two: one of the sub-pool, which is a task of the pool above and has
//! one of that. So a loan is one of every pool from the one that is asked upwards.
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
    /// Whose slot is lent, as are those of the pools above.
    core: &'p Arc<Core>,
    state: State,
}

enum State {
    New,
    /// Not in a slot of the pool, or ready at once: there is nothing to give away.
    Kept,
    Lent,
    /// The wait is over, and all slots of this pool are busy.
    Returning(Ticket),
}

impl<'p, F: Future> ReleaseSlot<'p, F> {
    pub(super) fn new(core: &'p Arc<Core>, future: F) -> Self {
        Self {
            future,
            output: None,
            loan: Loan {
                core,
                state: State::New,
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
            let is_new = matches!(loan.state, State::New);
            if is_new && !inside::is_inside(loan.core.address()) {
                loan.state = State::Kept;
            }
            // What is awaited here may wait for room: it keeps no slot.
            let output = match loan.state {
                State::Kept => ready!(this.future.poll(cx)),
                _ => match inside::without(loan.core.address(), || this.future.poll(cx)) {
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
            core.lend();
            lender = core.above();
        }
    }

    fn poll_return(&mut self, cx: &Context<'_>) -> Poll<()> {
        loop {
            let ticket = match self.state {
                State::New | State::Kept => return Poll::Ready(()),
                State::Lent => self.core.take_back(),
                State::Returning(ticket) => Some(ticket),
            };
            if let Some(ticket) = ticket
                && !self.core.roster.is_back(ticket, cx)
            {
                self.state = State::Returning(ticket);
                return Poll::Pending;
            }
            self.next();
        }
    }

    /// This pool's slot is back: on to the one above.
    fn next(&mut self) {
        match self.core.above() {
            Some(above) => (self.core, self.state) = (above, State::Lent),
            None => self.state = State::Kept,
        }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        loop {
            let ticket = match self.state {
                State::New | State::Kept => return,
                State::Lent => None,
                State::Returning(ticket) => Some(ticket),
            };
            self.core.take_back_now(ticket);
            self.next();
        }
    }
}
