//! A token that is made when somebody asks for it: what a context holds, since most tasks never do.
//!
//! # State
//! `parent`, whose child the token is to be, if it is to have one; `own`, the token, once it was
//! made.
//!
//! # Invariants
//! 1. `own` is set once. All who ask get what stands there: one token.
//! 2. Nobody can have cancelled a token that was not made, but through its parent. So before, the
//!    parent tells whether it is cancelled; and afterwards, too, because a cancellation on its way
//!    down has passed the parent when it has not reached the child. The child is told by nobody but
//!    that cancellation: a look wakes nobody, and those who wait are woken when the whole tree is
//!    cancelled. So `own` may say no, and give no reason, for a moment in which a look here says
//!    yes.
//!
//! # Steps
//! token: look at `own`; if it is empty, make a child of `parent`, and leave it there unless
//! another thread was first, whose token it is then. is_cancelled: ask `own`, if it is there, then
//! the parent.
//!
//! # Ordering
//! `OnceLock` publishes the token to whoever finds it. Who does not, looks before it was made; a
//! cancellation that comes before that look came through the parent, or was of a token that the
//! look finds. Loom does not see the cell; its models switch in the steps before and after it.

use core::fmt;
use std::borrow::Cow;
use std::sync::OnceLock;

use super::CancellationToken;

pub(crate) struct LazyToken {
    parent: Option<CancellationToken>,
    own: OnceLock<CancellationToken>,
}

impl LazyToken {
    /// A token that is there.
    pub(crate) fn of(token: CancellationToken) -> Self {
        Self {
            parent: None,
            own: OnceLock::from(token),
        }
    }

    /// A child of `parent` to come; without one, a token of its own.
    pub(crate) const fn under(parent: Option<CancellationToken>) -> Self {
        Self {
            parent,
            own: OnceLock::new(),
        }
    }

    #[inline]
    pub(crate) fn token(&self) -> &CancellationToken {
        self.own.get().unwrap_or_else(|| self.make())
    }

    #[cold]
    fn make(&self) -> &CancellationToken {
        // Outside of the cell, in which others would wait.
        let parent = self.parent.as_ref();
        let made = parent.map_or_else(CancellationToken::new, CancellationToken::child_token);
        self.own.get_or_init(|| made)
    }

    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        let is_cancelled = CancellationToken::is_cancelled;
        self.own.get().is_some_and(is_cancelled) || self.parent.as_ref().is_some_and(is_cancelled)
    }

    /// The reason, for reports: the parent's, where it is the parent that tells.
    fn reason(&self) -> Option<Cow<'static, str>> {
        let own = self.own.get().filter(|own| own.is_cancelled());
        own.or(self.parent.as_ref())?.reason()
    }

    /// Whether it is as good as new to who alone holds this.
    #[inline]
    pub(crate) fn is_new(&self) -> bool {
        self.own.get().is_none_or(CancellationToken::is_unique) && !self.is_cancelled()
    }
}

impl Clone for LazyToken {
    /// The same token, which is made for that, and tells of its parent as soon (2).
    fn clone(&self) -> Self {
        Self {
            parent: self.parent.clone(),
            own: OnceLock::from(self.token().clone()),
        }
    }
}

impl fmt::Debug for LazyToken {
    /// Like the token's, which is not made for that.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Before the look: where there is a reason, there was a cancellation.
        let reason = self.reason();
        f.debug_struct("CancellationToken")
            .field("cancelled", &self.is_cancelled())
            .field("reason", &reason)
            .finish()
    }
}
