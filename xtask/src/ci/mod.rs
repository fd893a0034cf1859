//! `cargo xtask ci`: every gate but the tests, with a table of what passed and how long it took.

mod direction;
mod gates;

use std::time::{Duration, Instant};

use lexopt::Arg;

use crate::cli::{Failure, Outcome};
use crate::workspace::Workspace;
use crate::{coverage, cron, docs, loom, mutate, narrow, overflow, sanitizer};

const HELP: &str = "\
Runs every gate but the tests and prints a table of them. All run, also after one has failed;
the exit code is 1 if any has.

Usage: cargo xtask ci [OPTIONS]

Options:
      --long        also the gates that take long: loom models with higher bounds, loom mutations,
                    thread sanitizer (needs nightly), overflow checks in a release build, 32-bit
                    x86, cron in all zones, the fuzz target, coverage, an empty clone
      --only GATE   only this gate; may be given several times
  -h, --help        print this

Gates:
  fmt        cargo fmt --check
  clippy     the lints, warnings denied, on the feature sets that users combine
  docs       the documentation builds without a warning
  deny       cargo-deny: bans, licenses, sources (built into target/tools if it is missing)
  direction  who may depend on whom; no runtime where none belongs; size of trees
  loom       the loom models, each with its own bound on preemptions, or none
  package    every published crate packages, with its metadata complete
  readme     the README's commands exist, and its features
With --long:
  deeper     the loom models with one preemption more, each for 30 seconds at the most
  mutate     each loom mutation is noticed
  tsan       the thread sanitizer on flow-sync and its users
  overflow   the tests in a release build with overflow checks (profile `checked`), of the crates
             that need no server
  32-bit     the tests on 32-bit x86, of the crates that need no server
  cron       cron patterns on every change of every zone's clock, and 100,000 texts of each kind
  fuzz       the fuzz target of cron patterns compiles
  coverage   at least 90 % of the lines of each crate
  clone      the README's two commands in an empty clone of the last commit";

struct Gate {
    name: &'static str,
    is_long: bool,
    run: fn(&Workspace) -> Outcome,
}

const GATES: &[Gate] = &[
    Gate::short("fmt", gates::fmt),
    Gate::short("direction", direction::check),
    Gate::short("readme", gates::readme),
    Gate::short("clippy", gates::clippy),
    Gate::short("docs", |workspace| docs::build(workspace, false)),
    Gate::short("deny", gates::deny),
    Gate::short("loom", |workspace| loom::run(workspace, &[])),
    Gate::short("package", gates::package),
    Gate::long("deeper", |workspace| loom::run_deeper(workspace, &[])),
    Gate::long("mutate", |_| mutate::run(&[], "")),
    Gate::long("tsan", sanitizer::run),
    Gate::long("overflow", overflow::run),
    Gate::long("32-bit", narrow::run),
    Gate::long("cron", cron::run),
    Gate::long("fuzz", cron::fuzz),
    Gate::long("coverage", |workspace| {
        coverage::run(workspace, coverage::DEFAULT_MIN, false)
    }),
    Gate::long("clone", gates::clone),
];

impl Gate {
    const fn short(name: &'static str, run: fn(&Workspace) -> Outcome) -> Self {
        let is_long = false;
        Self { name, is_long, run }
    }

    const fn long(name: &'static str, run: fn(&Workspace) -> Outcome) -> Self {
        let is_long = true;
        Self { name, is_long, run }
    }
}

pub(crate) fn main(mut parser: lexopt::Parser) -> Outcome {
    let mut long = false;
    let mut only = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => {
                println!("{HELP}");
                return Ok(());
            }
            Arg::Long("long") => long = true,
            Arg::Long("only") => only.push(gate_name(&parser.value()?.to_string_lossy())?),
            other => return Err(other.unexpected().into()),
        }
    }
    let chosen = GATES.iter().filter(|gate| {
        if only.is_empty() {
            long || !gate.is_long
        } else {
            only.contains(&gate.name)
        }
    });

    let workspace = Workspace::load()?;
    let mut rows = Vec::new();
    for gate in chosen {
        println!("\n== {}", gate.name);
        let start = Instant::now();
        let outcome = (gate.run)(&workspace);
        if let Err(failure) = &outcome {
            eprintln!("{}: {}", gate.name, failure.sentence());
        }
        rows.push((gate.name, outcome, start.elapsed()));
    }
    report(&rows)
}

fn gate_name(given: &str) -> Outcome<&'static str> {
    let names = || GATES.iter().map(|gate| gate.name);
    names().find(|name| *name == given).ok_or_else(|| {
        Failure::usage(format!(
            "there is no gate `{given}`; there are {}.",
            names().collect::<Vec<_>>().join(", ")
        ))
    })
}

fn report(rows: &[(&str, Outcome, Duration)]) -> Outcome {
    println!("\n{:<10} {:<7} {:>8}", "gate", "result", "seconds");
    let mut failed = 0;
    for (name, outcome, took) in rows {
        let seconds = took.as_secs_f64();
        match outcome {
            Ok(()) => println!("{name:<10} {:<7} {seconds:>8.1}", "ok"),
            Err(failure) => {
                failed += 1;
                let first = failure.sentence().lines().next().unwrap_or_default();
                println!("{name:<10} {:<7} {seconds:>8.1}  {first}", "FAILED");
            }
        }
    }
    let total: Duration = rows.iter().map(|(_, _, took)| *took).sum();
    println!(
        "{} gates passed, {failed} failed, in {:.0} s",
        rows.len() - failed,
        total.as_secs_f64()
    );
    if failed == 0 {
        Ok(())
    } else {
        Err(Failure::Told)
    }
}
