//! What all commands share: how they fail, and how they read flags.

use lexopt::{Arg, Parser};

/// What a command comes to.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line was wrong: exit code 2.
    Usage(String),
    /// Something did not hold: exit code 1.
    Failed(String),
    /// The same, and the report on the screen has said so.
    Told,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// The sentence for a table of results.
    pub(crate) fn sentence(&self) -> &str {
        match self {
            Self::Usage(message) | Self::Failed(message) => message,
            Self::Told => "see above",
        }
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(format!("{error}."))
    }
}

/// Reads a command line of flags only. `None` if it asked for help, which has then been printed.
pub(crate) fn flags<const N: usize>(
    mut parser: Parser,
    help: &str,
    names: [&str; N],
) -> Outcome<Option<[bool; N]>> {
    let mut set = [false; N];
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => {
                println!("{help}");
                return Ok(None);
            }
            Arg::Long(name) if names.contains(&name) => {
                for (flag, known) in set.iter_mut().zip(names) {
                    *flag |= known == name;
                }
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(set))
}
