//! The ends of the counts, which no test of a pool comes to; the stack of the idle slots.

use super::*;

#[test]
fn slots_that_are_lent_fit_beside_all_others() {
    let roster = Roster::new(SlotRange::new(1, MAX_SLOTS));
    let started = || roster.notify(|| 1);
    let first = started().unwrap();
    roster.arrive();
    // All others live as well.
    roster
        .word
        .fetch_add(ALIVE * (MAX_SLOTS as u64 - 1), Ordering::Relaxed);
    assert_eq!(roster.alive(), MAX_SLOTS);
    assert!(started().is_none());
    assert!(roster.lend(first.id).is_some());
    let second = started().unwrap();
    roster.arrive();
    assert_eq!(roster.alive(), MAX_SLOTS + 1);
    // As many are lent as can be: another one stays where it is.
    roster.seats.lock().lent = MAX_LENT;
    assert!(roster.lend(second.id).is_none());
    assert!(roster.lend(first.id).is_some(), "its slot is lent already");
    let most = MAX_SLOTS as u64 + MAX_LENT;
    roster.word.store(ALIVE * most, Ordering::Relaxed);
    assert_eq!(roster.alive() as u64, most);
    assert_eq!(
        (roster.idle(), waking(roster.word.load(Ordering::Relaxed))),
        (0, 0)
    );
}

/// Whoever leaves it from the middle, the others stay in their order.
#[test]
fn idle_slots_leave_from_wherever_they_lie() {
    let (mut asleep, mut model) = (Asleep::default(), Vec::new());
    // A congruential generator: all it has to do is not to favour an end.
    let mut number = 1_u64;
    for _ in 0..10_000 {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let id = (number >> 33) as u32 % 50;
        match model.iter().position(|&there| there == id) {
            Some(at) => {
                model.remove(at);
                asleep.remove(id);
            }
            None if id.is_multiple_of(8) => assert_eq!(asleep.pop(), model.pop()),
            None => {
                model.push(id);
                asleep.push(id);
            }
        }
        assert_eq!(asleep.len(), model.len() as u64);
    }
    let rest: Vec<_> = core::iter::from_fn(|| asleep.pop()).collect();
    model.reverse();
    assert!(!rest.is_empty());
    assert_eq!(rest, model);
}
