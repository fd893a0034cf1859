//! The wait list against a `VecDeque`.
#![cfg(not(loom))]

use std::collections::VecDeque;

use flow_sync::{Standing, Ticket, WaitList};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Push(u64),
    PushMarked(u64),
    /// Many at once, so that chunks come and go.
    Burst(usize),
    Grant,
    /// Of the n-th ticket held, modulo their number.
    Cancel(usize),
    CancelMany(usize),
    Detach(usize),
    CloseAll,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop_oneof![0..10_u64, Just(u64::MAX)].prop_map(Step::Push),
        1 => (1..3000_usize).prop_map(Step::Burst),
        3 => (0..10_u64).prop_map(Step::PushMarked),
        6 => Just(Step::Grant),
        6 => any::<usize>().prop_map(Step::Cancel),
        2 => any::<usize>().prop_map(Step::CancelMany),
        3 => any::<usize>().prop_map(Step::Detach),
        1 => Just(Step::CloseAll),
    ]
}

#[derive(Default)]
struct Model {
    queue: VecDeque<(Ticket, u64, bool)>,
    held: Vec<(Ticket, u64, Standing)>,
}

impl Model {
    fn push(&mut self, list: &mut WaitList, need: u64, marked: bool) {
        let ticket = if marked {
            list.push_marked(need, None)
        } else {
            list.push(need, None)
        };
        self.queue.push_back((ticket, need, marked));
        self.held.push((ticket, need, Standing::Waiting));
    }

    fn stand(&mut self, ticket: Ticket, standing: Standing) {
        // Nobody holds the ticket of one that was detached.
        if let Some(held) = self.held.iter_mut().find(|held| held.0 == ticket) {
            held.2 = standing;
        }
    }

    fn detach(&mut self, list: &mut WaitList, n: usize) {
        if self.held.is_empty() {
            return;
        }
        let (ticket, _, standing) = self.held.swap_remove(n % self.held.len());
        assert!(list.detach(ticket).is_none());
        let left = if standing == Standing::Waiting {
            Standing::Waiting
        } else {
            Standing::Gone
        };
        assert_eq!(list.standing(ticket), left);
    }

    fn cancel(&mut self, list: &mut WaitList, n: usize) {
        if self.held.is_empty() {
            return;
        }
        let (ticket, need, standing) = self.held.swap_remove(n % self.held.len());
        let was_head = self.queue.front().is_some_and(|head| head.0 == ticket);
        self.queue.retain(|queued| queued.0 != ticket);
        let left = list.cancel(ticket);
        assert_eq!(
            (left.standing, left.need, left.was_head),
            (standing, need, was_head)
        );
        assert_eq!(list.standing(ticket), Standing::Gone);
    }

    fn check(&self, list: &WaitList) {
        assert_eq!(list.len(), self.queue.len());
        assert_eq!(list.is_empty(), self.queue.is_empty());
        assert_eq!(
            list.sum(),
            self.queue.iter().map(|queued| u128::from(queued.1)).sum()
        );
        assert_eq!(list.head(), self.queue.front().map(|head| head.0));
        assert!(
            list.needs().eq(self.queue.iter().map(|queued| queued.1)),
            "the needs differ"
        );
        assert!(
            list.entries()
                .eq(self.queue.iter().map(|queued| (queued.1, queued.2))),
            "the marks differ"
        );
        let head = self.queue.front();
        assert_eq!(list.head_is_marked(), head.is_some_and(|head| head.2));
        for &(ticket, _, standing) in &self.held {
            assert_eq!(list.standing(ticket), standing);
        }
        let at = self.queue.len() / 2;
        if let Some(&(ticket, ..)) = self.queue.get(at) {
            let before = self.queue.iter().take(at + 1);
            let sum = before.map(|queued| u128::from(queued.1)).sum();
            assert_eq!(list.sum_to(ticket), Some(sum));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    #[test]
    fn behaves_like_a_deque(steps in prop::collection::vec(step(), 1..60)) {
        let mut list = WaitList::new();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Push(need) => model.push(&mut list, need, false),
                Step::PushMarked(need) => model.push(&mut list, need, true),
                Step::Burst(n) => (0..n as u64).for_each(|need| model.push(&mut list, need, false)),
                Step::Grant => {
                    list.grant_head();
                    if let Some((ticket, ..)) = model.queue.pop_front() {
                        model.stand(ticket, Standing::Granted);
                    }
                }
                Step::Cancel(n) => model.cancel(&mut list, n),
                Step::CancelMany(n) => {
                    for k in 0..model.held.len().min(500) {
                        model.cancel(&mut list, n.wrapping_add(k * 7));
                    }
                }
                Step::Detach(n) => model.detach(&mut list, n),
                Step::CloseAll => {
                    list.close_all(&mut Vec::new());
                    for (ticket, ..) in std::mem::take(&mut model.queue) {
                        model.stand(ticket, Standing::Closed);
                    }
                }
            }
            model.check(&list);
        }
        while !model.held.is_empty() {
            model.cancel(&mut list, 0);
        }
        // What was detached leaves its slot by itself.
        list.close_all(&mut Vec::new());
        prop_assert!(list.is_empty());
        prop_assert!(list.capacity() <= 4096);
    }
}
