//! The command line that all benches share.

use std::time::Duration;

use lexopt::Arg;

/// What a bench was asked to do.
#[derive(Debug, Default)]
pub(crate) struct Args {
    pub(crate) quick: bool,
    pub(crate) check: bool,
    pub(crate) instructions: bool,
    pub(crate) filter: Option<String>,
    /// Run one contender this often and end: what is counted.
    pub(crate) fixed: Option<Fixed>,
}

#[derive(Debug)]
pub(crate) struct Fixed {
    pub(crate) row: String,
    pub(crate) contender: String,
    pub(crate) batches: u64,
}

pub(crate) const HELP: &str = "\
Options:
      --quick         short rounds and few of them; writes no report
      --check         exit with 1 and name the rows that miss their target
      --filter TEXT   only the rows whose name contains TEXT; writes no report
      --instructions  also count instructions with valgrind's callgrind, which gungraun-runner
                      starts; `cargo xtask bench --instructions` installs both
      --fixed ROW CONTENDER COUNT
                      run one contender (`flow` or a peer) that many batches, and end
  -h, --help          print this";

impl Args {
    /// `None` if help was asked for.
    pub(crate) fn parse() -> Result<Option<Self>, lexopt::Error> {
        let mut args = Self::default();
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Short('h') | Arg::Long("help") => return Ok(None),
                Arg::Long("quick") => args.quick = true,
                Arg::Long("check") => args.check = true,
                Arg::Long("instructions") => args.instructions = true,
                Arg::Long("filter") => args.filter = Some(text(&mut parser)?),
                Arg::Long("fixed") => {
                    args.fixed = Some(Fixed {
                        row: text(&mut parser)?,
                        contender: text(&mut parser)?,
                        batches: text(&mut parser)?
                            .parse()
                            .map_err(|_| "--fixed takes a row, a contender and a whole number")?,
                    });
                }
                // What `cargo bench` adds for libtest.
                Arg::Long("bench") => {}
                other => return Err(other.unexpected()),
            }
        }
        Ok(Some(args))
    }

    /// How long one contender runs in one round.
    pub(crate) fn round(&self) -> Duration {
        Duration::from_millis(if self.quick { 3 } else { 40 })
    }

    /// How many rounds there are.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 3 } else { 15 }
    }

    /// Whether what is measured may be quoted, and so is written to the report.
    pub(crate) fn is_complete(&self) -> bool {
        !self.quick && self.filter.is_none()
    }
}

fn text(parser: &mut lexopt::Parser) -> Result<String, lexopt::Error> {
    Ok(parser.value()?.to_string_lossy().into_owned())
}
