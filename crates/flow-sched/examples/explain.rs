//! Explains a cron pattern: what it means, and its next ten runs in any zone.
//!
//! ```text
//! cargo run -p flow-sched --example explain -- "30 2 * * *" Europe/Berlin
//! cargo run -p flow-sched --example explain -- "0 0 12 L-3 * ?" America/New_York quartz
//! ```
//!
//! Expect the pattern in English and in its normal form, then ten times with their offsets from
//! UTC; or what is wrong with the pattern, with the place marked, and the exit code 1.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for a terminal

use std::error::Error;
use std::process::ExitCode;
use std::time::SystemTime;

use chrono::DateTime;
use chrono_tz::Tz;
use flow_sched::{Cron, Dialect};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let told = match *words {
        [pattern] => explain(pattern, None, "flow"),
        [pattern, zone] => explain(pattern, Some(zone), "flow"),
        [pattern, zone, dialect] => explain(pattern, Some(zone), dialect),
        _ => Err("give a pattern in quotes, and perhaps a zone and a dialect".into()),
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn explain(pattern: &str, zone: Option<&str>, dialect: &str) -> Result<(), Box<dyn Error>> {
    let mut cron = Cron::parse_as(pattern, named(dialect)?)?;
    if let Some(zone) = zone {
        cron = cron.time_zone(zone)?;
    }
    println!("{}", cron.describe());
    println!("{cron}");
    #[allow(clippy::disallowed_methods)] // no runtime here that could be asked
    let now = SystemTime::now();
    let zone: Tz = cron.zone().parse()?;
    for run in cron.next_n(now, 10) {
        let run = DateTime::<chrono::Utc>::from(run).with_timezone(&zone);
        println!("  {}", run.format("%a %Y-%m-%d %H:%M:%S %:z"));
    }
    Ok(())
}

fn named(dialect: &str) -> Result<Dialect, String> {
    Ok(match dialect {
        "flow" => Dialect::Flow,
        "ocps" => Dialect::Ocps,
        "vixie" => Dialect::Vixie,
        "quartz" => Dialect::Quartz,
        "robfig" => Dialect::Robfig,
        "cronos" => Dialect::Cronos,
        "croner" => Dialect::Croner,
        other => {
            return Err(format!(
                "unknown dialect {other:?}; known are flow, ocps, vixie, quartz, robfig, cronos \
                 and croner"
            ));
        }
    })
}
