//! The command line.

use std::time::Duration;

use lexopt::{Arg, Error, Parser, ValueExt};

pub(crate) const HELP: &str = "\
Processes a batch of items on a worker pool, with progress, retries and a clean Ctrl-C. The items
are made up: each takes a while, and some of their attempts fail.

Usage: batch [OPTIONS]

Options:
  --items N       how many items, up to 1000000                   [default: 200]
  --slots N       how many at a time, 1 to 1000                   [default: 8]
  --each TIME     how long an attempt takes, e.g. 5ms or 2s       [default: 5ms]
  --attempts N    attempts per item before it is given up, from 1 [default: 5]
  --hopeless N    every Nth item fails whatever is tried; 0: none [default: 0]
  --help          print this text

Exit codes: 0 every item is done; 1 some were given up, or a failure; 2 a wrong option; 130 it was
stopped by a signal, and what had begun was finished first.";

#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) items: u64,
    pub(crate) slots: usize,
    pub(crate) each: Duration,
    pub(crate) attempts: u32,
    pub(crate) hopeless: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            items: 200,
            slots: 8,
            each: Duration::from_millis(5),
            attempts: 5,
            hopeless: 0,
        }
    }
}

/// `None` if help is wanted.
pub(crate) fn parse(mut parser: Parser) -> Result<Option<Options>, Error> {
    let mut options = Options::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("items") => options.items = number(&mut parser, 0, 1_000_000)?,
            Arg::Long("slots") => {
                // Fits: it is small.
                options.slots = number(&mut parser, 1, 1_000)? as usize;
            }
            Arg::Long("each") => options.each = parser.value()?.parse_with(time)?,
            Arg::Long("attempts") => {
                options.attempts = number(&mut parser, 1, 1_000)? as u32;
            }
            Arg::Long("hopeless") => options.hopeless = number(&mut parser, 0, u64::MAX)?,
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

fn number(parser: &mut Parser, min: u64, max: u64) -> Result<u64, Error> {
    let given: u64 = parser.value()?.parse()?;
    if (min..=max).contains(&given) {
        return Ok(given);
    }
    Err(format!("{given} is out of bounds: {min} to {max} are allowed").into())
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: 1ms and more, such as 20ms or 2s, are allowed");
    let (digits, millis) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => (text.strip_suffix('s').ok_or_else(wrong)?, 1_000),
    };
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    let millis = count.checked_mul(millis).filter(|millis| *millis > 0);
    millis.map(Duration::from_millis).ok_or_else(wrong)
}
