use super::Place::{Granted, Waiting};
use super::*;

fn park(list: &mut WaitList<u32>, need: u32) -> Ticket {
    list.park(Waker::noop().clone(), need)
}

#[test]
fn memory_is_bounded_by_who_waits_at_once() {
    let mut list = WaitList::new();
    // One stays in front; two others leave and come back, overlapping.
    let front = park(&mut list, 0);
    let mut previous = park(&mut list, 1);
    for need in 2..1_000 {
        let next = park(&mut list, need);
        list.leave(std::mem::replace(&mut previous, next));
    }
    assert_eq!(list.slots.len(), 3);
    assert_eq!(list.waiting(), 2);
    list.leave(front);
    list.leave(previous);
    assert_eq!((list.waiting(), list.head, list.tail), (0, None, None));
}

#[test]
fn grants_follow_the_order_of_parking_whoever_leaves() {
    let mut wakers = Wakers::new();
    let mut list = WaitList::new();
    let mut tickets: Vec<_> = (0..5).map(|need| park(&mut list, need)).collect();
    list.leave(tickets.remove(2));
    list.leave(tickets.remove(0));
    tickets.push(park(&mut list, 5));
    // 1, 3, 4, 5 are left; the slots of 2 and 0 were used again, the order was not.
    for _ in 0..2 {
        list.grant(&mut wakers);
    }
    let places: Vec<_> = tickets.iter().map(|ticket| list.place(ticket)).collect();
    assert_eq!(places, [Granted, Granted, Waiting, Waiting]);
    list.refuse_all(&mut wakers);
    assert_eq!(list.place(&tickets[3]), Place::Refused);
    for ticket in tickets {
        list.leave(ticket);
    }
    assert_eq!(list.waiting(), 0);
}
