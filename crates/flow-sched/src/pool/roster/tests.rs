//! The ends of the counts, which no test of a pool comes to.

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
