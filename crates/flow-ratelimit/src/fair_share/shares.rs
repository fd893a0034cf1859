//! What each child holds, and what they have in common: exact arithmetic, under the queue's lock.
//!
//! # Units
//! A grain is a part of a token, as in `supply`; a *unit* is a grain divided by the sum of all
//! weights `W`. So of each grain that is supplied a child of weight `w` gets `w` units, and of a
//! burst of `B` grains it may keep `B × w`: nothing is ever rounded.
//!
//! # State
//! Time is `now`: grains supplied since the `line`'s anchor. As in a bucket, what is kept is what
//! was spent: a child that fills holds `w × now - spent` units, and one that is full holds its
//! burst, `B × w`. All together hold `W × now - spent`, and the burst `B × W` at the most. Sums
//! over those that are full (`full`) and those that fill (`filling`, `taken`) say at once what is
//! kept for children; the rest is `shared`. `fills` says who will be full next.
//!
//! # Invariants
//! 1. What is kept for children is never more than all hold: `shared` is not negative. While all
//!    together are not full, both sides get what is supplied; when they are, the bursts of the
//!    children are the burst of all.
//! 2. All together are one bucket: what is taken and given back is taken of them and given to
//!    them, whoever's it is, and what is supplied beyond the burst is lost.
//! 3. Nobody but a child takes what is kept for it. So it fills at its part of the rate, whatever
//!    the others do.
//! 4. `fills` has an entry for each child that fills, at or before the time when it is full. An
//!    entry that is not the child's `due` is of no meaning.
//! 5. `now` and `at` never go back.
//!
//! # Why nothing is lost while somebody can use it
//! What a full child gets is `shared` from then on: whoever is not full takes it. When all together
//! are full, a child finds at least its own burst, its own and shared together, and more than that
//! is never asked for.
//!
//! # Cost
//! Of a decision: a few additions, and a step of a heap when a child is full or begins to fill. Of
//! a change: a pass over the children. Of a denial that waits for what others are about to leave: a
//! pass for each of them that is full before, at the most.
//!
//! # Source
//! The virtual tokens of `supply`, in a hierarchy of two levels: what classes borrow from one
//! another in Floyd and Jacobson, "Link-sharing and Resource Management Models for Packet
//! Networks", 1995. Whose turn it is to borrow is start-time fair queueing (Goyal, Vin and Cheng,
//! 1996).

use core::cmp::Reverse;
use core::time::Duration;
use std::collections::BinaryHeap;

use flow_rt::Instant;

use crate::granted::Granted;
use crate::rate::Rate;
use crate::supply::{self, Anchor};

/// The children's tokens and the parent's line of supply.
pub(crate) struct Shares {
    line: Anchor,
    rate: Rate,
    /// Fraction bits: a token is `1 << bits` grains.
    bits: u32,
    /// Grains supplied since the anchor, as far as anybody has looked.
    now: u64,
    /// The latest instant at which anybody has looked.
    at: Instant,
    /// The sum of the weights: units in a grain.
    weights: u64,
    /// What all together have spent or lost.
    spent: i128,
    children: Box<[Child]>,
    /// What those hold that are full.
    full: i128,
    /// The weights of those that are not, and what they have spent.
    filling: u64,
    taken: i128,
    fills: BinaryHeap<Reverse<(u64, usize)>>,
    /// Whether somebody waits: a late driver makes up for so much time.
    is_waited_for: bool,
    catch_up: Duration,
    /// The turn of whoever borrowed last among those who wait.
    turn: u128,
}

/// A child's part.
pub(crate) struct Child {
    weight: u32,
    /// What it has spent of its own; of no meaning while it is full.
    spent: i128,
    is_full: bool,
    /// The entry in `fills` that counts.
    due: Option<u64>,
    /// Units that it took of what is shared, ever.
    borrowed: u128,
    /// What it borrowed while others waited, by its weight: the smallest is next.
    turn: u128,
}

impl Child {
    const fn new(weight: u32) -> Self {
        Self {
            weight,
            spent: 0,
            is_full: false,
            due: None,
            borrowed: 0,
            turn: 0,
        }
    }
}

impl Shares {
    /// Children that are all full.
    pub(super) fn new(
        (rate, burst, bits): (Rate, u64, u32),
        weights: &[u32],
        catch_up: Duration,
        now: Instant,
    ) -> Self {
        let burst = burst << bits;
        let mut shares = Self {
            line: Anchor::new(rate, burst, 0, bits, now),
            rate,
            bits,
            now: 0,
            at: now,
            weights: weights.iter().copied().map(u64::from).sum(),
            spent: 0,
            children: weights.iter().copied().map(Child::new).collect(),
            full: 0,
            filling: 0,
            taken: 0,
            fills: BinaryHeap::with_capacity(weights.len() * 2 + SPARE),
            is_waited_for: false,
            catch_up,
            turn: 0,
        };
        shares.fill();
        shares
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// The burst of all, in tokens.
    pub(super) fn burst(&self) -> u64 {
        self.line.burst >> self.bits
    }

    pub(super) fn bits(&self) -> u32 {
        self.bits
    }

    pub(super) fn is_unlimited(&self) -> bool {
        self.line.unlimited
    }

    pub(super) fn weight(&self, child: usize) -> u32 {
        self.children[child].weight
    }

    pub(super) fn weights(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        self.children.iter().map(|child| child.weight)
    }

    /// The most tokens that a child may take at once: what it can keep.
    pub(super) fn most(&self, child: usize) -> u64 {
        self.tokens(self.cap(child))
    }

    /// Tokens in units; no more than a burst of them.
    pub(super) fn units(&self, tokens: u64) -> i128 {
        i128::from(tokens << self.bits) * i128::from(self.weights)
    }

    /// Whole tokens that a child could take, if nobody waits.
    pub(super) fn available(&self, child: usize) -> u64 {
        if self.line.unlimited {
            return self.most(child);
        }
        self.tokens(self.free(child)).min(self.most(child))
    }

    /// Whole tokens that are kept for a child.
    pub(super) fn kept(&self, child: usize) -> u64 {
        self.tokens(self.own(child))
    }

    /// Whole tokens that all hold together.
    pub(super) fn available_to_all(&self) -> u64 {
        if self.line.unlimited {
            return self.burst();
        }
        self.tokens(self.held_in_burst())
    }

    /// Whole tokens that a child took of what others left.
    pub(super) fn borrowed(&self, child: usize) -> u64 {
        let grains = self.children[child].borrowed / u128::from(self.weights);
        u64::try_from(grains >> self.bits).unwrap_or(u64::MAX)
    }

    /// What a child holds for itself, in units.
    pub(super) fn own(&self, child: usize) -> i128 {
        self.cap(child).min(self.own_at(child, self.now))
    }

    /// What a child can take: its own and what is shared.
    pub(super) fn free(&self, child: usize) -> i128 {
        self.own(child) + self.shared()
    }

    /// Brings everything up to `then`.
    pub(super) fn advance(&mut self, then: Instant) {
        let then = self.at.max(then);
        self.at = then;
        if self.line.is_stale(then) {
            self.move_anchor(then);
        } else {
            self.settle(self.line.supplied_soon(then).cast_unsigned());
        }
    }

    /// Takes units of a child's own, as far as they go, and the others of what is shared.
    pub(super) fn take(&mut self, child: usize, units: i128) {
        let own = self.own(child).min(units);
        if own > 0 {
            self.begin_to_fill(child);
            self.children[child].spent += own;
            self.taken += own;
            self.note_due(child);
        }
        self.spent += units;
        self.children[child].borrowed += (units - own).cast_unsigned();
    }

    /// The same for one who waited. If it borrows, it is the others' turn.
    pub(super) fn take_in_turn(&mut self, child: usize, units: i128) {
        let borrows = (units - self.own(child)).max(0).cast_unsigned();
        self.take(child, units);
        if borrows > 0 {
            let its = &mut self.children[child];
            self.turn = self.turn.max(its.turn);
            its.turn += (borrows << TURN_BITS) / u128::from(its.weight);
        }
    }

    /// Gives units back: a child's own first. What does not fit all together is lost.
    pub(super) fn put_back(&mut self, child: usize, units: i128) {
        if self.line.unlimited {
            return;
        }
        let units = units.min(self.cap_of_all() - self.held()).max(0);
        self.spent -= units;
        let (own, cap) = (self.own(child), self.cap(child));
        let back = units.min(cap - own);
        if back == 0 {
            return;
        }
        self.children[child].spent -= back;
        self.taken -= back;
        if back == cap - own {
            self.end_to_fill(child);
        } else {
            self.note_due(child);
        }
    }

    /// Whether somebody waits, from here on.
    pub(super) fn set_waited_for(&mut self, is_waited_for: bool) {
        self.is_waited_for = is_waited_for;
        self.lose_what_ran_over();
    }

    /// A child's first begins to wait: it has no claim from before.
    pub(super) fn begin_to_wait(&mut self, child: usize) {
        let its = &mut self.children[child];
        its.turn = its.turn.max(self.turn);
    }

    /// By this number the one who borrows next is the smallest of those who wait.
    pub(super) fn turn_of(&self, child: usize) -> u128 {
        self.children[child].turn
    }

    /// When a child has so many units of its own, or would have, did it keep any number.
    pub(super) fn own_at_last(&self, child: usize, units: i128) -> u64 {
        let weight = self.children[child].weight;
        ceil_div(units + self.own_spent(child), u64::from(weight)).max(self.now)
    }

    /// When a child could take so many units, its own and shared ones, if nobody else takes any.
    pub(super) fn free_at(&self, child: usize, units: i128) -> u64 {
        let missing = units - self.free(child);
        if missing <= 0 {
            return self.now;
        }
        let its = &self.children[child];
        let own = if its.is_full { 0 } else { its.weight };
        let comes = self.weights - (self.filling - u64::from(own));
        let then = self.now.saturating_add(ceil_div(missing, comes));
        // Nobody is full before that, so it goes on as now.
        if self.fills.peek().is_none_or(|next| then <= next.0.0) {
            return then;
        }
        self.free_at_last(child, units)
    }

    /// The same where others will be full by then. What a child finds rises faster and faster, as
    /// others are full one after the other; so each step by the slope to the left falls short of
    /// the first instant, until it is there.
    #[cold]
    fn free_at_last(&self, child: usize, units: i128) -> u64 {
        let free = |then: u64| {
            let others = (0..self.children.len()).filter(|&other| other != child);
            let kept: i128 = others
                .map(|other| self.cap(other).min(self.own_at(other, then)))
                .sum();
            i128::from(self.weights) * i128::from(then) - self.spent - kept
        };
        // Its own alone are enough by then.
        let mut then = self.own_at_last(child, units);
        while then > self.now {
            let (found, slope) = (free(then), free(then) - free(then - 1));
            let steps = (found - units) / slope.max(1);
            if steps <= 0 {
                break;
            }
            let steps = u64::try_from(steps).unwrap_or(u64::MAX);
            then = then.saturating_sub(steps).max(self.now);
        }
        then
    }

    /// The instant of the clock at which so much has been supplied, if ever.
    pub(super) fn instant_of(&self, then: u64) -> Option<Instant> {
        self.line.ready_at(0, then)
    }

    /// How a child stands, for one who was granted.
    pub(super) fn granted(&self, child: usize) -> Granted {
        let cap = self.grains(self.cap(child));
        if self.line.unlimited {
            return Granted::free(cap, self.bits);
        }
        let missing = self.fills_at(child).saturating_sub(self.now);
        let nanos = if missing == 0 {
            Some(0)
        } else {
            supply::nanos_for(missing, 0, self.line.mult, self.line.finer)
        };
        let free = self.grains(self.free(child)).min(cap);
        Granted::known(
            free >> self.bits,
            cap >> self.bits,
            nanos.unwrap_or(u64::MAX),
        )
    }

    /// Goes on at another rate.
    pub(super) fn set_rate(&mut self, rate: Rate, now: Instant) {
        self.advance(now);
        // What has come until then came by the old one: from an earlier instant nothing would come
        // by a lower one until it had made up for that.
        self.move_anchor(self.at);
        let was_unlimited = self.line.unlimited;
        self.line = self.line.with_pace(rate, self.bits, 0);
        self.rate = rate;
        if was_unlimited && !self.line.unlimited {
            self.fill();
        }
    }

    /// Goes on with another burst, in tokens.
    pub(super) fn set_burst(&mut self, burst: u64, now: Instant) {
        self.advance(now);
        let (own, held) = self.all_held();
        self.line.burst = burst << self.bits;
        self.begin_with(&own, held);
    }

    /// Goes on with another weight of a child. All keep what they hold, as far as they may.
    pub(super) fn set_weight(&mut self, child: usize, weight: u32, now: Instant) {
        self.advance(now);
        let (mut own, held) = self.all_held();
        let before = i128::from(self.weights);
        let old = u64::from(self.children[child].weight);
        self.weights = self.weights - old + u64::from(weight);
        self.children[child].weight = weight;
        // At most 2^93 units, of which there are 2^32 as many at the most.
        let anew = |units: i128| units * i128::from(self.weights) / before;
        own.iter_mut().for_each(|units| *units = anew(*units));
        let held = anew(held);
        for child in &mut self.children {
            // By units of another size.
            let borrowed = child.borrowed / before.cast_unsigned();
            child.borrowed = borrowed.saturating_mul(u128::from(self.weights));
            child.turn = 0;
        }
        self.turn = 0;
        self.begin_with(&own, held);
    }

    /// Goes on from what was held at another time, no less by all than by the children, and has
    /// come since: in grains.
    pub(super) fn restore(&mut self, own: &[u64], held: u64, since: u64) {
        let units = |grains: u64| i128::from(grains) * i128::from(self.weights);
        let own: Box<[_]> = own.iter().copied().map(units).collect();
        let held = units(held);
        self.begin_with(&own, held);
        // It comes at once, and time goes on from there.
        let since = since.min(self.line.burst);
        self.settle(since);
        self.pass(since);
    }

    /// What each holds of its own, and all together, in grains.
    pub(super) fn grains_held(&self) -> (Vec<u64>, u64) {
        let own = (0..self.children.len()).map(|child| self.grains(self.own(child)));
        (own.collect(), self.grains(self.held_in_burst()))
    }

    /// What each child holds, and all together.
    fn all_held(&self) -> (Box<[i128]>, i128) {
        let own = (0..self.children.len()).map(|child| self.own(child));
        (own.collect(), self.held())
    }

    /// Everybody is full.
    fn fill(&mut self) {
        let own: Box<[_]> = (0..self.children.len())
            .map(|child| self.cap(child))
            .collect();
        let all = self.burst_of_all();
        self.begin_with(&own, all);
    }

    /// From here on children hold so much, or their burst, and all together so much, or theirs.
    fn begin_with(&mut self, own: &[i128], held: i128) {
        self.fills.clear();
        (self.full, self.filling, self.taken) = (0, 0, 0);
        for (index, &own) in own.iter().enumerate() {
            let (cap, now) = (self.cap(index), i128::from(self.now));
            let child = &mut self.children[index];
            child.due = None;
            child.is_full = own >= cap;
            if child.is_full {
                self.full += cap;
            } else {
                child.spent = i128::from(child.weight) * now - own;
                self.filling += u64::from(child.weight);
                self.taken += child.spent;
                self.note_due(index);
            }
        }
        self.spent = i128::from(self.weights) * i128::from(self.now) - held;
        self.lose_what_ran_over();
    }

    /// Goes on from a line that is anchored at the present.
    #[cold]
    fn move_anchor(&mut self, now: Instant) {
        self.settle(self.line.supplied(now).cast_unsigned());
        let moved = self.line.moved(now, self.rate, self.bits);
        // By the exact line, which may be a grain lower than what was supplied.
        let passed = supply::distance(moved.base, self.line.base);
        self.line = moved;
        self.pass(passed.cast_unsigned());
    }

    /// Counts time from so much later on.
    fn pass(&mut self, passed: u64) {
        let passed = passed.min(self.now);
        let of = |weight: u64| i128::from(weight) * i128::from(passed);
        self.now -= passed;
        self.spent -= of(self.weights);
        self.taken -= of(self.filling);
        for child in self.children.iter_mut().filter(|child| !child.is_full) {
            child.spent -= of(u64::from(child.weight));
        }
        self.list_who_fills();
    }

    /// Brings everything up to where so much has been supplied.
    fn settle(&mut self, supplied: u64) {
        if supplied <= self.now {
            return;
        }
        self.now = supplied;
        while let Some(&Reverse((at, index))) = self.fills.peek()
            && at <= supplied
        {
            self.fills.pop();
            let child = &mut self.children[index];
            if child.due != Some(at) {
                continue;
            }
            child.due = None;
            if child.is_full {
                continue;
            }
            if self.fills_at(index) <= supplied {
                self.end_to_fill(index);
            } else {
                self.note_due(index);
            }
        }
        self.lose_what_ran_over();
    }

    /// What all hold beyond their burst is lost.
    fn lose_what_ran_over(&mut self) {
        let supplied = i128::from(self.weights) * i128::from(self.now);
        self.spent = self.spent.max(supplied - self.cap_of_all());
    }

    fn begin_to_fill(&mut self, index: usize) {
        let spent = self.own_spent(index);
        let cap = self.cap(index);
        let child = &mut self.children[index];
        if child.is_full {
            child.is_full = false;
            child.spent = spent;
            self.full -= cap;
            self.filling += u64::from(child.weight);
            self.taken += spent;
        }
    }

    fn end_to_fill(&mut self, index: usize) {
        let cap = self.cap(index);
        let child = &mut self.children[index];
        child.is_full = true;
        self.full += cap;
        self.filling -= u64::from(child.weight);
        self.taken -= child.spent;
    }

    /// Sees to it that a child that fills is found when it is full (4).
    fn note_due(&mut self, index: usize) {
        let at = self.fills_at(index);
        let child = &mut self.children[index];
        if child.due.is_some_and(|due| due <= at) {
            return;
        }
        child.due = Some(at);
        self.fills.push(Reverse((at, index)));
        if self.fills.len() > self.children.len() * 2 + SPARE {
            self.list_who_fills();
        }
    }

    /// Makes `fills` anew, without what has no meaning any more.
    fn list_who_fills(&mut self) {
        self.fills.clear();
        for index in 0..self.children.len() {
            let is_full = self.children[index].is_full;
            let at = (!is_full).then(|| self.fills_at(index));
            self.children[index].due = at;
            self.fills.extend(at.map(|at| Reverse((at, index))));
        }
    }

    /// When a child is full.
    fn fills_at(&self, index: usize) -> u64 {
        let child = &self.children[index];
        if child.is_full {
            return self.now;
        }
        ceil_div(self.cap(index) + child.spent, u64::from(child.weight))
    }

    /// What a child has spent, by `now` if it is full.
    fn own_spent(&self, index: usize) -> i128 {
        let child = &self.children[index];
        if child.is_full {
            i128::from(child.weight) * i128::from(self.now) - self.cap(index)
        } else {
            child.spent
        }
    }

    /// What a child has of its own at a time, did it keep any number.
    fn own_at(&self, index: usize, then: u64) -> i128 {
        i128::from(self.children[index].weight) * i128::from(then) - self.own_spent(index)
    }

    /// What all hold.
    fn held(&self) -> i128 {
        i128::from(self.weights) * i128::from(self.now) - self.spent
    }

    /// What all hold of their burst: without what is there only for a driver that is late.
    fn held_in_burst(&self) -> i128 {
        self.held().min(self.burst_of_all())
    }

    /// What all hold that is kept for nobody.
    fn shared(&self) -> i128 {
        let filling = i128::from(self.filling) * i128::from(self.now) - self.taken;
        self.held() - self.full - filling
    }

    /// The most that a child keeps.
    fn cap(&self, child: usize) -> i128 {
        i128::from(self.line.burst) * i128::from(self.children[child].weight)
    }

    fn burst_of_all(&self) -> i128 {
        i128::from(self.line.burst) * i128::from(self.weights)
    }

    /// The most that all hold: while somebody waits, for a driver that is late, what comes in
    /// that time.
    fn cap_of_all(&self) -> i128 {
        let late = if self.is_waited_for {
            self.line.in_time(self.catch_up).min(supply::MAX_BURST)
        } else {
            0
        };
        i128::from(self.line.burst.max(late)) * i128::from(self.weights)
    }

    /// Whole grains; nobody holds more than a burst or 2^61 of them.
    fn grains(&self, units: i128) -> u64 {
        let units = units.max(0).cast_unsigned();
        match u64::try_from(units) {
            Ok(units) => units / self.weights,
            Err(_) => (units / u128::from(self.weights)) as u64,
        }
    }

    fn tokens(&self, units: i128) -> u64 {
        self.grains(units) >> self.bits
    }
}

/// Of what may not fit a word, but mostly does. The quotient is a time: of one that is beyond all
/// clocks, the last.
fn ceil_div(units: i128, by: u64) -> u64 {
    let units = units.max(0).cast_unsigned();
    match u64::try_from(units) {
        Ok(units) => units.div_ceil(by),
        Err(_) => u64::try_from(units.div_ceil(u128::from(by))).unwrap_or(u64::MAX),
    }
}

/// Entries of no meaning that are kept beside those of as many children.
const SPARE: usize = 8;

/// A turn is a fraction of units.
const TURN_BITS: u32 = 16;
