//! Models of the seats that threads count on: one seat for a thread alone, and one for all others.
#![cfg(loom)]

use flow_sync::model::{Seats, explore};
use flow_sync::sync::Arc;
use loom::thread;

#[test]
fn threads_come_and_go_and_nothing_is_lost() {
    explore("seats: three threads count twice each", 2, || {
        let seats = Arc::new(Seats::default());
        let others = [(); 2].map(|()| {
            let seats = seats.clone();
            thread::spawn(move || seats.thread(2))
        });
        let mut alone = u32::from(seats.thread(2));
        for other in others {
            alone += u32::from(other.join().unwrap());
        }
        assert!(alone > 0, "who comes first has the seat");
        assert_eq!(seats.sum(), 6);
        assert!(seats.thread(1), "it was given back");
        assert_eq!(seats.sum(), 7);
    });
}

#[test]
fn a_sum_never_counts_down() {
    explore("seats: two threads count || a look", 2, || {
        let seats = Arc::new(Seats::default());
        let others = [(); 2].map(|()| {
            let seats = seats.clone();
            thread::spawn(move || seats.thread(1))
        });
        let (first, second) = (seats.sum(), seats.sum());
        assert!(first <= second && second <= 2, "{first} {second}");
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(seats.sum(), 2);
    });
}
