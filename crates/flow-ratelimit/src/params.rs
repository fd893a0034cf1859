//! A bucket's parameters, read without a lock while they change.
//!
//! # State
//! `version` counts publications; `slots[version & 1]` holds the current parameters, one atomic
//! word each. The other slot is what they were before, or what is being written.
//!
//! # Invariants
//! 1. Publishers exclude one another: they hold the bucket's queue locked, which has a copy of
//!    the current parameters for whoever else holds it.
//! 2. The slot of the current version is never written.
//! 3. A reader keeps what it read only if the version did not change meanwhile.
//!
//! # Steps
//! read: `v = version`; copy `slots[v & 1]`; fence; `version == v`? keep, else again.
//! look: the same, but the last step is the caller's, once it has loaded what must not be newer
//! than the parameters.
//! publish: fence; write `slots[(v + 1) & 1]`; `version = v + 1`.
//!
//! # Ordering
//! `version = v + 1` (Release) publishes the slot written before it to the Acquire load in
//! `read`. A reader that is overtaken by *two* publications might see words of the second one in
//! its slot (2); that one's Release fence stands between the store of `v + 1` and those words,
//! so the reader's Acquire fence makes `v + 1` visible to its second look at the version (3).
//! A publisher that stands still half-way stops no reader: unlike under a plain sequence lock
//! they read the other slot.
//!
//! # Source
//! Left-right and sequence locks; the fences are those of crossbeam-utils' `SeqLock`.

use flow_sync::sync::atomic::{AtomicU64, Ordering, fence};

use crate::rate::Rate;
use crate::supply::Anchor;

use core::time::Duration;

/// The line of supply and the rate it was made from.
pub(crate) struct Params {
    version: AtomicU64,
    slots: [Slot; 2],
}

/// A line of supply as it was read, perhaps torn by publications meanwhile.
pub(crate) struct Look {
    pub(crate) version: u64,
    pub(crate) anchor: Anchor,
    /// An instant that is fewer nanoseconds after the anchor, by wrapping numbers, is not before it
    /// and within the horizon of a line with a limit. None is, where that cannot be told so.
    pub(crate) end: u64,
}

// A line of supply on a cache line: in this order, so that it begins one. A slot takes 128 bytes
// for that, and the parameters 320.
#[repr(C, align(64))]
struct Slot {
    line: [AtomicU64; LINE],
    rate: [AtomicU64; RATE],
}

const _: () = assert!(core::mem::offset_of!(Slot, line) == 0);

impl Params {
    pub(crate) fn new(anchor: &Anchor, rate: Rate) -> Self {
        let slot = || Slot {
            line: pack_line(anchor).map(AtomicU64::new),
            rate: pack_rate(rate).map(AtomicU64::new),
        };
        Self {
            version: AtomicU64::new(0),
            slots: [slot(), slot()],
        }
    }

    /// The line of supply in force.
    #[inline]
    pub(crate) fn anchor(&self) -> Anchor {
        unpack_line(self.read(|slot| &slot.line))
    }

    /// The line of supply, if it [is in force](Self::is_in_force) afterwards: no use before that.
    #[inline]
    pub(crate) fn look(&self) -> Look {
        let version = self.version();
        let words = copy(&self.slots[(version & 1) as usize].line);
        Look {
            version,
            anchor: unpack_line(words),
            end: words[END],
        }
    }

    /// Whether what was looked at is whole, and still in force.
    #[inline]
    pub(crate) fn is_in_force(&self, look: &Look) -> bool {
        self.are_still(look.version)
    }

    /// Whether those of this version are in force, and what was read of them is whole.
    #[inline]
    pub(crate) fn are_still(&self, version: u64) -> bool {
        fence(Ordering::Acquire);
        self.version.load(Ordering::Relaxed) == version
    }

    /// Which publication is in force. The Acquire load is as good as a look.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The rate in force.
    pub(crate) fn rate(&self) -> Rate {
        unpack_rate(self.read(|slot| &slot.rate))
    }

    /// Puts new parameters in force. The caller excludes other publishers (invariant 1).
    pub(crate) fn publish(&self, anchor: &Anchor, rate: Rate) {
        // Only publishers store it, and they exclude one another.
        let next = self.version.load(Ordering::Relaxed).wrapping_add(1);
        // Orders the last publication before the words below: see Ordering above.
        fence(Ordering::Release);
        let slot = &self.slots[(next & 1) as usize];
        store(&slot.line, pack_line(anchor));
        store(&slot.rate, pack_rate(rate));
        self.version.store(next, Ordering::Release);
    }

    #[inline]
    fn read<const N: usize>(&self, part: impl Fn(&Slot) -> &[AtomicU64; N]) -> [u64; N] {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let copy = copy(part(&self.slots[(version & 1) as usize]));
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                return copy;
            }
        }
    }
}

#[inline]
fn copy<const N: usize>(words: &[AtomicU64; N]) -> [u64; N] {
    core::array::from_fn(|i| words[i].load(Ordering::Relaxed))
}

fn store<const N: usize>(to: &[AtomicU64; N], words: [u64; N]) {
    for (to, word) in to.iter().zip(words) {
        to.store(word, Ordering::Relaxed);
    }
}

const LINE: usize = 8;
/// Where the end of a line stands.
const END: usize = 7;
const RATE: usize = 3;

/// `finer` takes the low byte, the flag the bit above it, and what is set aside the rest.
fn pack_line(anchor: &Anchor) -> [u64; LINE] {
    [
        anchor.at,
        anchor.base,
        anchor.carry,
        anchor.mult,
        u64::from(anchor.finer) | u64::from(anchor.unlimited) << 8 | anchor.aside << 9,
        anchor.burst,
        anchor.horizon,
        end(anchor),
    ]
}

/// See [`Look::end`].
fn end(anchor: &Anchor) -> u64 {
    // An instant before the anchor is then at least as far after it as the end, by wrapping numbers.
    if anchor.unlimited || anchor.at > HALF {
        return 0;
    }
    anchor.horizon.saturating_add(1).min(HALF)
}

/// Half of all numbers: three centuries.
const HALF: u64 = 1 << 63;

#[inline]
fn unpack_line(words: [u64; LINE]) -> Anchor {
    let [at, base, carry, mult, rest, burst, horizon, _] = words;
    Anchor {
        at,
        base,
        carry,
        mult,
        // Masked, so that the compiler knows that shifting by it is in range: as the processor does.
        finer: (rest & 63) as u32,
        burst,
        aside: rest >> 9,
        horizon,
        unlimited: rest & 256 != 0,
    }
}

fn pack_rate(rate: Rate) -> [u64; RATE] {
    let period = rate.period();
    [
        rate.tokens(),
        period.as_secs(),
        u64::from(period.subsec_nanos()),
    ]
}

fn unpack_rate([tokens, seconds, nanos]: [u64; RATE]) -> Rate {
    // It was a period's own part of a second, so it fits.
    let period = Duration::new(seconds, nanos as u32);
    Rate::per(tokens, period).unwrap_or(Rate::UNLIMITED)
}
