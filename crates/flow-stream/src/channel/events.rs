//! What is rare and a person may want to see, as events of `tracing`; nothing without the feature.
//!
//! A subscriber is somebody else's code: its panics are contained, as those of hooks are.
//!
//! # Bursts
//! A channel that drops what does not fit would tell of each item. So the first that is dropped
//! begins a burst, which counts the others; a send that leaves the channel no more than half full,
//! or the close, ends it. Half of an odd capacity is rounded up: in a channel of one, a send that
//! finds it empty ends the burst. A channel that hovers about its limit is one burst. (A rendezvous
//! is never half full: there a burst ends with the close.) Without a drop, a send pays one load for
//! it, and only where the answer to "full" is to drop.

#[cfg(feature = "tracing")]
use core::sync::atomic::AtomicU64;

/// Items that a full channel has cost since there was room.
#[cfg(feature = "tracing")]
#[derive(Default)]
pub(super) struct Burst {
    lost: AtomicU64,
}

#[cfg(feature = "tracing")]
mod imp {
    use core::sync::atomic::Ordering::Relaxed;

    use flow_rt::contain;

    use super::super::{DropReason, Shared};

    impl<T> Shared<T> {
        /// An item was dropped, by the channel's answer to "full" or because it could not wait.
        #[cold]
        pub(in super::super) fn lost(&self, why: DropReason) {
            if self.burst.lost.fetch_add(1, Relaxed) == 0 {
                let (channel, capacity) = (&*self.name, self.core.capacity());
                contain(|| tracing::warn!(channel, capacity, %why, "a channel drops items"));
            }
        }

        /// A send has found room.
        #[inline]
        pub(in super::super) fn has_room(&self) {
            if self.burst.lost.load(Relaxed) != 0 && self.is_half_empty() {
                self.burst_over();
            }
        }

        /// A channel was closed; it drops nothing more for want of room.
        pub(in super::super) fn burst_over(&self) {
            let lost = self.burst.lost.swap(0, Relaxed);
            if lost > 0 {
                let channel = &*self.name;
                contain(|| tracing::info!(channel, lost, "a channel drops no items any more"));
            }
        }

        /// The last receiver went away from so many items.
        pub(in super::super) fn abandoned(&self, items: u64) {
            if items > 0 {
                let channel = &*self.name;
                contain(|| {
                    tracing::warn!(
                        channel,
                        items,
                        "a channel's last receiver went away and left items in it"
                    );
                });
            }
        }

        fn is_half_empty(&self) -> bool {
            let is_light = match self.core.weight() {
                Some((weight, limit)) => weight <= limit / 2,
                None => true,
            };
            // Rounded up, as the item that was sent just now is in there.
            let half = self.core.capacity().div_ceil(2);
            is_light && half > 0 && self.core.len() <= half
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod imp {
    use super::super::{DropReason, Shared};

    #[allow(clippy::unused_self)] // as above, for nobody
    impl<T> Shared<T> {
        #[inline]
        pub(in super::super) fn lost(&self, _: DropReason) {}

        #[inline]
        pub(in super::super) fn has_room(&self) {}

        #[inline]
        pub(in super::super) fn burst_over(&self) {}

        #[inline]
        pub(in super::super) fn abandoned(&self, _: u64) {}
    }
}
