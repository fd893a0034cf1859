//! The example of the answers to "full": what it says is what happens.

use std::time::Duration;

#[path = "../on_full/answers.rs"]
mod answers;

use answers::{Answer, Report, show};

fn report(answer: Answer) -> Report {
    let report = show(answer).expect("it runs");
    // Whatever the answer, each event went exactly one way.
    let ways = [&report.received, &report.dropped, &report.returned];
    let mut all: Vec<u64> = ways.into_iter().flatten().copied().collect();
    all.sort_unstable();
    assert_eq!(all, (1..=10).collect::<Vec<_>>(), "{report}");
    assert!(report.to_string().starts_with(&format!("{answer:?}\n")));
    report
}

#[test]
fn each_answer_accounts_for_each_event() {
    for answer in Answer::ALL {
        report(answer);
    }
}

#[test]
fn who_waits_loses_nothing_and_is_slowed_down() {
    for answer in [Answer::Wait, Answer::Rendezvous, Answer::ByWeight] {
        let report = report(answer);
        assert_eq!(report.received.len(), 10, "{report}");
        assert!(report.received.is_sorted(), "{report}");
        assert!(report.waited > 0, "{report}");
        assert!(report.sender_took > Duration::from_millis(15), "{report}");
    }
    let (wait, meet) = (report(Answer::Wait), report(Answer::Rendezvous));
    assert!(wait.sender_took < meet.sender_took, "three events ahead");
}

#[test]
fn who_does_not_wait_takes_ten_milliseconds() {
    for answer in [Answer::Reject, Answer::DropNewest, Answer::DropOldest] {
        let report = report(answer);
        assert_eq!(report.sender_took, Duration::from_millis(10), "{report}");
        assert_eq!(report.waited, 0, "{report}");
        let lost = report.dropped.len() + report.returned.len();
        assert!((1..=6).contains(&lost), "{report}");
        assert_eq!(report.returned.is_empty(), answer != Answer::Reject);
    }
    // What is received tells which events the answer holds dear.
    let (newest, oldest) = (report(Answer::DropNewest), report(Answer::DropOldest));
    assert!(newest.received.starts_with(&[1, 2, 3, 4, 5]), "{newest}");
    assert!(oldest.received.ends_with(&[7, 8, 9, 10]), "{oldest}");
}
