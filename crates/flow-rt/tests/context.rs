//! What a task is handed: cancellation, deadline, baggage, trace.
#![cfg(not(loom))]

use std::time::Duration;

use flow_rt::{
    BaggageError, CancellationToken, Deadline, Instant, TaskContext, TraceContext,
    TraceContextError,
};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const START: Instant = Instant::from_nanos(1_000_000_000);

#[test]
fn a_context_has_no_deadline_unless_it_is_given_one() {
    let context = TaskContext::default();
    assert!(context.deadline().is_none());
    assert_eq!(context.remaining(START), None);
    assert!(!context.is_cancelled());
    assert!(context.child().deadline().is_none());
    let never = context.with_deadline(Instant::FAR_FUTURE);
    assert_eq!(never.deadline(), Deadline::NONE);
}

#[test]
fn the_earlier_deadline_holds() {
    let parent = TaskContext::new().with_deadline(START + 5 * SECOND);
    assert_eq!(parent.child().deadline(), (START + 5 * SECOND).into());
    let later = parent.child().with_deadline(START + 9 * SECOND);
    assert_eq!(later.deadline(), (START + 5 * SECOND).into());
    let earlier = parent.child().with_deadline(START + 2 * SECOND);
    assert_eq!(earlier.remaining(START), Some(2 * SECOND));
    assert_eq!(earlier.remaining(START + 3 * SECOND), Some(Duration::ZERO));
    // The parent's is its own.
    assert_eq!(parent.deadline(), (START + 5 * SECOND).into());
}

#[test]
fn a_clone_with_another_deadline_is_the_same_work() {
    let first = TaskContext::new();
    let second = first.clone().with_deadline(START);
    let deadlines = (first.deadline(), second.deadline());
    assert_eq!(deadlines, (Deadline::NONE, START.into()));
    second.cancellation().cancel();
    assert!(first.is_cancelled());
}

#[test]
fn cancelling_goes_down() {
    let token = CancellationToken::new();
    let context = TaskContext::from_token(token.clone());
    let child = context.child();
    child.child().cancellation().cancel_with("a part");
    assert!(!child.is_cancelled());
    token.cancel_with("all of it");
    assert!(context.is_cancelled() && child.is_cancelled());
    assert_eq!(child.cancellation().reason().as_deref(), Some("all of it"));
    assert!(format!("{child:?}").contains("all of it"));
}

#[test]
fn a_context_is_one_word() {
    assert_eq!(size_of::<TaskContext>(), size_of::<usize>());
    assert_eq!(size_of::<Option<TaskContext>>(), size_of::<usize>());
}

#[test]
fn a_child_with_another_token_is_not_cancelled_with_its_parent() {
    let parent = TaskContext::new().with_deadline(START);
    let token = CancellationToken::new();
    let child = parent.child_with_token(token.clone());
    assert_eq!(child.deadline(), START.into());
    parent.cancellation().cancel();
    assert!(!child.is_cancelled());
    token.cancel();
    assert!(child.is_cancelled());
}

#[test]
fn deadlines_are_ordered_and_none_is_the_last() {
    let now = START;
    let soon = Deadline::after(now, SECOND);
    assert!(soon < Deadline::at(now + 2 * SECOND) && soon < Deadline::NONE);
    assert!(!soon.is_passed(now) && soon.is_passed(now + SECOND));
    assert_eq!(soon.remaining(now + 3 * SECOND), Some(Duration::ZERO));
    assert_eq!(Deadline::after(now, Duration::MAX), Deadline::NONE);
    assert!(!Deadline::NONE.is_passed(Instant::FAR_FUTURE));
    assert_eq!(Deadline::NONE.remaining(now), None);
    assert_eq!(Deadline::from(None), Deadline::default());
    assert_eq!(Deadline::from(Some(now)).instant(), Some(now));
    assert_eq!(format!("{soon:?} {:?}", Deadline::NONE), "+2s none");
}

#[test]
fn baggage_is_copied_when_it_is_written() -> Result<(), BaggageError> {
    let first = TaskContext::new().with_baggage("tenant", "acme")?;
    let second = first
        .clone()
        .with_baggage("tenant", String::from("other"))?;
    let second = second.with_baggage("user", "\u{fc}")?;
    assert_eq!(first.baggage("tenant"), Some("acme"));
    assert_eq!(first.baggage("user"), None);
    let items: Vec<_> = second.baggage_items().collect();
    assert_eq!(items, [("tenant", "other"), ("user", "\u{fc}")]);
    assert!(second.child().baggage_items().eq(items));
    // The same work still: one token.
    first.cancellation().cancel();
    assert!(second.is_cancelled());
    assert!(format!("{second:?}").contains("[\"tenant\", \"user\"]"));
    assert!(!format!("{second:?}").contains("other"));
    Ok(())
}

#[test]
fn children_get_what_is_propagated() -> Result<(), BaggageError> {
    let all = TaskContext::new()
        .with_baggage("tenant", "acme")?
        .with_baggage("secret", "7")?;
    let some = all.clone().propagate(&["tenant", "unknown"]);
    assert_eq!(some.baggage("secret"), Some("7"));
    let child = some.child();
    assert!(child.baggage_items().eq([("tenant", "acme")]));
    // The limit goes on to hold, for what the child adds too.
    let child = child.with_baggage("own", "1")?;
    assert!(child.child().baggage_items().eq([("tenant", "acme")]));
    let child = child.propagate(&["own"]).child();
    assert!(child.baggage_items().eq([("own", "1")]));
    assert_eq!(all.propagate(&[]).child().baggage_items().count(), 0);
    Ok(())
}

#[test]
fn baggage_has_limits() {
    for key in ["", "a b", "a=b", "a,b", "k\u{e9}y", "a;", "\"a\""] {
        let refused = TaskContext::new().with_baggage(key, "").unwrap_err();
        let given = key.to_owned();
        assert_eq!(refused, BaggageError::Key { given });
        assert!(refused.to_string().contains(&format!("{key:?}")));
    }
    let long = "\u{e9}".repeat(1_000);
    let refused = TaskContext::new().with_baggage(long, "").unwrap_err();
    assert!(matches!(refused, BaggageError::Key { given } if given.chars().count() == 64));

    let mut full = TaskContext::new();
    for key in 0..64 {
        full = full.with_baggage(format!("k{key}"), "v").unwrap();
    }
    let refused = full.clone().with_baggage("one-more", "").unwrap_err();
    assert_eq!(refused, BaggageError::TooMany { limit: 64 });
    assert!(refused.to_string().contains("64"));
    // Another value for a key that is there is none more.
    assert!(full.with_baggage("k63", "w").is_ok());

    let large = TaskContext::new().with_baggage("k", "v".repeat(8_189));
    let large = large.unwrap();
    let (given, limit) = (8_196, 8_192);
    let refused = large.clone().with_baggage("l", "v").unwrap_err();
    assert_eq!(refused, BaggageError::TooLarge { given, limit });
    assert!(refused.to_string().contains("8196"));
    // What a value replaces does not count.
    assert!(large.with_baggage("k", "w".repeat(8_189)).is_ok());
}

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_traceparent_goes_through_unchanged() {
    let trace: TraceContext = TRACEPARENT.parse().unwrap();
    assert_eq!(trace.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    assert_eq!(trace.span_id().get(), 0x00f0_67aa_0ba9_02b7);
    assert_eq!(trace.to_string(), TRACEPARENT);
    assert_eq!(format!("{trace:?}"), format!("TraceContext({TRACEPARENT})"));

    let context = TaskContext::new().with_trace(trace);
    assert_eq!(context.propagate(&[]).child().trace(), Some(trace));
    assert_eq!(TaskContext::new().trace(), None);

    let span = trace
        .with_span_id(1.try_into().unwrap())
        .with_sampled(false);
    let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-00";
    assert_eq!(span.to_string(), text);
    let made = TraceContext::new(trace.trace_id().try_into().unwrap(), span.span_id());
    assert_eq!(made, span);
    assert!(made.with_sampled(true).is_sampled());
}

#[test]
fn flags_that_are_not_defined_are_cleared() {
    for (given, kept) in [("00", 0), ("02", 2), ("fc", 0), ("ff", 3)] {
        let text = format!("{}{given}", &TRACEPARENT[..53]);
        let trace: TraceContext = text.parse().unwrap();
        assert_eq!(trace.flags(), kept);
        assert_eq!(trace.is_sampled(), kept & 1 == 1);
    }
}

#[test]
fn later_versions_are_read_as_far_as_the_first_goes() {
    let later = format!("cc{}", &TRACEPARENT[2..]);
    for text in [later.clone(), format!("{later}-what-the-future-brings")] {
        let trace: TraceContext = text.parse().unwrap();
        assert_eq!(trace.to_string(), TRACEPARENT);
    }
}

#[test]
fn a_bad_traceparent_is_refused_with_what_was_wrong() {
    use TraceContextError::{Character, Length, Version, ZeroSpanId, ZeroTraceId};
    let with = |from: usize, text: &str| {
        let end = from + text.len();
        format!("{}{text}{}", &TRACEPARENT[..from], &TRACEPARENT[end..])
    };
    let character = |at, given| Character { at, given };
    let cases = [
        (String::new(), Length { given: 0 }),
        (TRACEPARENT[..54].to_owned(), Length { given: 54 }),
        (format!("{TRACEPARENT}-"), Length { given: 56 }),
        (format!("{TRACEPARENT}-00"), Length { given: 58 }),
        (with(0, "ff"), Version),
        (with(0, "FF"), character(0, 'F')),
        (format!("{}.", with(0, "01")), character(55, '.')),
        (with(3, "4B"), character(4, 'B')),
        (with(36, "g"), character(36, 'g')),
        (with(53, " 1"), character(53, ' ')),
        (with(35, "_"), character(35, '_')),
        (with(52, "0"), character(52, '0')),
        (with(2, "0"), character(2, '0')),
        (with(3, "+"), character(3, '+')),
        (TRACEPARENT.replace("f0", "\u{e9}"), character(38, '\u{e9}')),
        (with(3, &"0".repeat(32)), ZeroTraceId),
        (with(36, &"0".repeat(16)), ZeroSpanId),
    ];
    for (text, why) in cases {
        assert_eq!(text.parse::<TraceContext>(), Err(why), "{text}");
    }
    assert_eq!(
        Length { given: 54 }.to_string(),
        "a traceparent has 55 characters (more only in versions above 00), given were 54"
    );
    assert!(character(4, 'B').to_string().starts_with("'B' at byte 4"));
}

proptest! {
    #[test]
    fn every_traceparent_comes_back(trace in 1_u128.., span in 1_u64.., flags in 0_u8..4) {
        let text = format!("00-{trace:032x}-{span:016x}-{flags:02x}");
        let read: TraceContext = text.parse().unwrap();
        prop_assert_eq!((read.trace_id(), read.span_id().get()), (trace, span));
        prop_assert_eq!(read.to_string(), text);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,70}", at in 0_usize..56, with in any::<char>()) {
        let _ = text.parse::<TraceContext>();
        let mut near = TRACEPARENT.to_owned();
        near.insert(at.min(near.len()), with);
        prop_assert!(near.parse::<TraceContext>().is_err() || near.len() < 55);
    }
}

#[test]
fn a_context_that_nobody_has_kept_is_made_new() {
    let late = Deadline::from(Instant::from_nanos(2_000));
    let parent = TaskContext::new()
        .with_deadline(Instant::from_nanos(1_000))
        .with_baggage("tenant", "acme")
        .unwrap();
    let mut cx = TaskContext::new();
    let token = std::ptr::from_ref(cx.cancellation());
    assert!(cx.renew(Some(&parent), late));
    assert_eq!(cx.deadline(), parent.deadline());
    assert_eq!(cx.baggage("tenant"), Some("acme"));
    // Nothing is left of that, and the token is the same one.
    assert!(cx.renew(None, late));
    assert_eq!((cx.deadline(), cx.baggage_items().count()), (late, 0));
    assert!(cx.renew(None, Deadline::NONE));
    assert_eq!(cx.deadline(), Deadline::NONE);
    assert_eq!(std::ptr::from_ref(cx.cancellation()), token);

    // Kept: the context, its token, a child of that.
    let kept = cx.clone();
    assert!(!cx.renew(Some(&parent), late));
    assert_eq!(cx.deadline(), Deadline::NONE, "nothing was changed");
    drop(kept);
    let kept = cx.cancellation().clone();
    assert!(!cx.renew(None, late));
    drop(kept);
    let kept = cx.child();
    assert!(!cx.renew(None, late));
    drop(kept);
    assert!(cx.renew(None, late));
    cx.cancellation().cancel();
    assert!(!cx.renew(None, late));
}

#[test]
fn a_context_under_a_token_makes_its_own_when_it_is_asked_for() {
    let service = CancellationToken::new();
    let mut cx = TaskContext::under_token(service.clone());
    let parent = TaskContext::new().with_baggage("tenant", "acme").unwrap();
    let child = parent.child_under_token(service.clone());
    assert!(!cx.is_cancelled() && !child.is_cancelled());
    assert!(cx.renew(None, Deadline::NONE));
    assert_eq!(service.child_count(), 0, "nobody has asked");

    // Not to print it, or to look at it.
    let printed = format!("{cx:?}");
    assert!(
        printed.contains("cancelled: false, reason: None"),
        "{printed}"
    );
    assert_eq!(service.child_count(), 0);

    // One token for the context and its clones, as good as new when nobody has it any more.
    let clone = cx.clone().with_deadline(START);
    assert!(cx.cancellation() == clone.cancellation());
    assert_eq!(service.child_count(), 1);
    drop(clone);
    assert!(cx.renew(None, Deadline::NONE));

    // It goes alone; with it what was started from it.
    let part = cx.child();
    cx.cancellation().cancel_with("this one");
    assert!(cx.is_cancelled() && part.is_cancelled());
    assert_eq!(part.cancellation().reason().as_deref(), Some("this one"));
    assert!(!cx.renew(None, Deadline::NONE));
    assert!(!service.is_cancelled() && !child.is_cancelled());

    // The other goes with its token, asked or not, and not with its parent.
    parent.cancellation().cancel();
    assert!(!child.is_cancelled());
    assert_eq!(child.baggage("tenant"), Some("acme"));
    service.cancel_with("all");
    assert!(child.is_cancelled());
    let printed = format!("{child:?} {cx:?}");
    assert!(
        printed.contains("cancelled: true, reason: Some(\"all\")"),
        "{printed}"
    );
    assert!(
        printed.contains("cancelled: true, reason: Some(\"this one\")"),
        "{printed}"
    );
    assert_eq!(child.cancellation().reason().as_deref(), Some("all"));
}

#[test]
fn a_context_moves_into_its_place_and_back() {
    let mut slot = Some(TaskContext::new().with_baggage("tenant", "acme").unwrap());
    let tenant = || {
        let current = TaskContext::current()?;
        current.baggage("tenant").map(str::to_owned)
    };
    let outer = TaskContext::new().with_baggage("tenant", "outer").unwrap();
    outer.enter(|| {
        let inner = TaskContext::enter_from(&mut slot, tenant);
        assert_eq!(inner.as_deref(), Some("acme"));
        assert_eq!(tenant().as_deref(), Some("outer"));
        // Without one there is none, and a panic puts everything back.
        assert_eq!(TaskContext::enter_from(&mut None, tenant), None);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            TaskContext::enter_from(&mut slot, || panic!("inside"));
        }));
        assert!(panicked.is_err());
        assert_eq!(tenant().as_deref(), Some("outer"));
    });
    assert_eq!(slot.unwrap().baggage("tenant"), Some("acme"));
}
