//! A task that waits gives its slot to others for as long.

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

/// Who has the slot of the task that waits. Dropped, it takes the slot back without a wait: the
/// task has ended, or its slot would be too many and leaves.
struct Loan<'p> {
    core: &'p Arc<Core>,
    state: State,
}

enum State {
    New,
    /// Not in a slot of the pool, or ready at once: there is nothing to give away.
    Kept,
    Lent,
    /// The wait is over, and all slots are busy.
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
                _ => match inside::enter(inside::NOWHERE, || this.future.poll(cx)) {
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
        self.core.roster.lend();
        // Another slot may start, and tasks may be waiting for it.
        self.core.notify();
    }

    fn poll_return(&mut self, cx: &Context<'_>) -> Poll<()> {
        let roster = &self.core.roster;
        let ticket = match self.state {
            State::New | State::Kept => None,
            State::Lent => roster.take_back(),
            State::Returning(ticket) => Some(ticket),
        };
        match ticket {
            Some(ticket) if !roster.is_back(ticket, cx) => {
                self.state = State::Returning(ticket);
                Poll::Pending
            }
            _ => {
                self.state = State::Kept;
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        match self.state {
            State::New | State::Kept => {}
            State::Lent => self.core.roster.take_back_now(None),
            State::Returning(ticket) => self.core.roster.take_back_now(Some(ticket)),
        }
    }
}
