//! How all children stood, to be carried over a restart.

use std::borrow::Cow;
use std::time::SystemTime;

use flow_rt::{Clock, Handle, Instant};

use super::core::{Child, Queue};
use super::shares::Shares;
use crate::error::ConfigError;
use crate::rate::Rate;
use crate::supply::{self, Anchor};
use crate::token_bucket::snapshot::{Snapshot, wall};

/// How a [`FairShare`](crate::FairShare) stood: what [`snapshot`](crate::FairShare::snapshot) makes and
/// [`restore`](crate::FairShareBuilder::restore) takes.
///
/// Plain data, with the feature `serde` for any format. Whoever waits is not in it: they have taken
/// nothing. A restart may cost less than a grain, a part of 2^-30 token or so, for each child.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_ratelimit::FairShare;
///
/// let builder = FairShare::builder().rate("1/h burst 10");
/// let share = builder.child("web", 4).child("batch", 1).build()?;
/// share.child("web")?.try_acquire_n(7)?;
/// let snapshot = share.snapshot();
/// // Kept over a restart:
/// let share = FairShare::builder().restore(&snapshot).build()?;
/// assert_eq!(share.child("web")?.available(), 1);
/// assert_eq!(share.child("batch")?.available(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FairShareSnapshot {
    /// What all held together.
    all: Snapshot,
    children: Vec<ChildSnapshot>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct ChildSnapshot {
    name: Cow<'static, str>,
    weight: u32,
    /// What was kept for it.
    grains: u64,
}

impl FairShareSnapshot {
    /// When it was taken, by the wall clock.
    pub const fn taken_at(&self) -> SystemTime {
        self.all.taken_at
    }

    /// Whole tokens that all children held together.
    pub const fn tokens(&self) -> u64 {
        self.all.tokens()
    }

    pub(super) fn of<C: Clock>(children: &[std::sync::Arc<Child<C>>], queue: &Queue) -> Self {
        let shares = &queue.supply;
        let (own, held) = shares.grains_held();
        let one = |(child, grains): (&std::sync::Arc<Child<C>>, u64)| ChildSnapshot {
            name: child.name.clone(),
            weight: shares.weight(child.line),
            grains,
        };
        Self {
            all: Snapshot {
                rate: shares.rate(),
                burst: shares.burst(),
                grains: held.cast_signed(),
                bits: shares.bits(),
                fraction: 0,
                taken_at: SystemTime::UNIX_EPOCH,
            },
            children: children.iter().zip(own).map(one).collect(),
        }
    }

    pub(super) fn taken_now(self, runtime: Option<&Handle>) -> Self {
        Self {
            all: Snapshot {
                taken_at: wall(runtime),
                ..self.all
            },
            ..self
        }
    }

    /// Whether its numbers can be those of children of one rate.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.all.check()?;
        let kept = self.children.iter().map(|child| u128::from(child.grains));
        let all = u128::from(self.all.grains.max(0).cast_unsigned());
        if kept.sum::<u128>() > all {
            return Err(ConfigError::InvalidSnapshot {
                reason: "more is kept for children than all hold together",
            });
        }
        Ok(())
    }

    pub(super) fn names_and_weights(&self) -> impl Iterator<Item = (Cow<'static, str>, u32)> + '_ {
        let children = self.children.iter();
        children.map(|child| (child.name.clone(), child.weight))
    }

    pub(super) const fn rate(&self) -> Rate {
        self.all.rate
    }

    pub(super) const fn burst(&self) -> u64 {
        self.all.burst
    }

    /// Goes on from here, with children of these names. It was [checked](Self::check).
    pub(super) fn resume<'a>(
        &self,
        shares: &mut Shares,
        names: impl Iterator<Item = &'a str>,
        runtime: Option<&Handle>,
    ) {
        let elapsed = self.all.elapsed(runtime).as_nanos();
        let elapsed = Instant::from_nanos(u64::try_from(elapsed).unwrap_or(u64::MAX));
        let (rate, bits) = (self.all.rate, self.all.bits);
        let line = Anchor::new(rate, 0, 0, bits, Instant::ORIGIN);
        let since = line.moved(elapsed, rate, bits).base;
        // To a coarser grain it is rounded down; a finer one has room for a burst of tokens.
        let anew = |grains: u64| {
            let grains = u128::from(grains) << shares.bits() >> bits;
            u64::try_from(grains).map_or(supply::MAX_BURST, |it| it.min(supply::MAX_BURST))
        };
        let kept = |name: &str| self.children.iter().find(|child| child.name == name);
        let own: Vec<_> = names
            .map(|name| kept(name).map_or(0, |child| anew(child.grains)))
            .collect();
        let held = anew(self.all.grains.max(0).cast_unsigned());
        let since = if rate.is_unlimited() {
            supply::MAX_BURST
        } else {
            anew(since)
        };
        shares.restore(&own, held, since);
    }
}
