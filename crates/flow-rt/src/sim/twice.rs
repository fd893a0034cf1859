//! Two runs of one seed, compared event by event.

use core::cell::RefCell;
use core::future::Future;
use core::panic::Location;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::config::SimBuilder;
use super::executor::{self, Extras};
use super::explore::Guide;
use super::history::{Difference, HASHED, History};
use super::{Failure, Report, Sim};

pub(super) fn run<F, Fut>(
    config: &SimBuilder,
    called_at: &'static Location<'static>,
    test: &F,
) -> Result<Report<Fut::Output>, Failure>
where
    F: Fn(Sim) -> Fut,
    Fut: Future,
{
    let record = |mut history: History| {
        let told = config.choices.clone().map(Guide::new).map(RefCell::new);
        let extras = Extras {
            guide: told.as_ref(),
            history: Some(&mut history),
        };
        let result = executor::run(config, extras, called_at, test);
        (result, history)
    };
    let (first, one) = record(History::default());
    let (second, two) = record(History::default());
    let difference = match one.parts_from(&two) {
        Some(at) if one.keeps(at) => between(&one, &two, at),
        // Another panic than the ones that both runs did without is no news.
        Some(at) => look_again(&one, &two, at, || {
            let again = AssertUnwindSafe(|| record(History::around(at)).1);
            catch_unwind(again).unwrap_or_default()
        }),
        None => match (&first, &second) {
            (Ok(first), Ok(second)) if first.trace != second.trace => behind_the_hashes(),
            _ => return first,
        },
    };
    Err(Failure::Nondeterministic(Box::new(difference)))
}

fn between(one: &History, two: &History, at: usize) -> Difference {
    Difference {
        at,
        before: one.before(at),
        first: one.after(at),
        second: two.after(at),
    }
}

/// The difference between two runs that have not kept their events so far: what two more do, which
/// keep those around it.
fn look_again(one: &History, two: &History, at: usize, record: impl Fn() -> History) -> Difference {
    let again = [record(), record()];
    let repeated = |run: &History| again.iter().find(|other| other.repeats(run, at));
    let (first, second) = (repeated(one), repeated(two));
    if (first.is_none() || second.is_none()) && again[0].parts_from(&again[1]) == Some(at) {
        // Never twice the same, and always from here on.
        return between(&again[0], &again[1], at);
    }
    let lines = |run: Option<&History>| match run {
        Some(run) => run.after(at),
        None => vec![
            "another run did not do the same, and this one's events were too many to keep"
                .to_owned(),
        ],
    };
    let start = again.iter().find(|other| other.has_the_start_of(one, at));
    Difference {
        at,
        before: start.map_or_else(Vec::new, |run| run.before(at)),
        first: lines(first),
        second: lines(second),
    }
}

/// For runs whose events are the same as far as their hashes were kept.
fn behind_the_hashes() -> Difference {
    let unknown =
        || vec!["all events up to here are the same; only the trace of all differs".to_owned()];
    Difference {
        at: HASHED,
        before: unknown(),
        first: unknown(),
        second: unknown(),
    }
}
