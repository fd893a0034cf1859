//! Models of the join cell.
#![cfg(loom)]

mod loom_common;

use flow_sync::JoinCell;
use flow_sync::model::explore;
use flow_sync::sync::Arc;
use loom::thread;
use loom_common::block_on;

#[test]
fn complete_meets_wait() {
    explore("join cell: complete || wait", 3, || {
        let cell = Arc::new(JoinCell::new());
        let completer = {
            let cell = cell.clone();
            thread::spawn(move || cell.complete(7).expect("the first to complete it"))
        };
        assert_eq!(block_on(|cx| cell.poll_take(cx)), 7);
        completer.join().unwrap();
        assert!(cell.try_take().is_none());
    });
}

#[test]
fn give_up_meets_complete() {
    explore("join cell: complete || give up", 3, || {
        let cell = Arc::new(JoinCell::new());
        let completer = {
            let cell = cell.clone();
            thread::spawn(move || cell.complete(7).err())
        };
        let taken = cell.give_up();
        let back = completer.join().unwrap();
        assert!(cell.is_complete());
        assert_eq!(taken.xor(back), Some(7), "one of them has it");
        assert!(cell.try_take().is_none(), "and nobody else");
    });
}

#[test]
fn two_complete() {
    explore("join cell: complete || complete || wait", 3, || {
        let cell = Arc::new(JoinCell::new());
        let other = {
            let cell = cell.clone();
            thread::spawn(move || cell.complete(1).is_ok())
        };
        let mine = cell.complete(2).is_ok();
        let got = block_on(|cx| cell.poll_take(cx));
        let others = other.join().unwrap();
        assert!(mine ^ others, "one of them completes it");
        assert_eq!(got, if mine { 2 } else { 1 });
    });
}
