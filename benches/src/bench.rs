//! One bench: its rows, from the command line to the exit code.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::args::{self, Args, Fixed};
use crate::curves::{self, Curve};
use crate::goflow::Goflow;
use crate::instructions;
use crate::machine::{self, Machine};
use crate::measured::Measured;
use crate::row::Row;
use crate::targets::{self, Target};
use crate::{report, table};

/// A bench that is running; see [`run`].
pub struct Bench {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    args: Args,
    pub(crate) rows: Vec<Measured>,
    pub(crate) notes: Vec<String>,
    pub(crate) goflow: Goflow,
    /// Names and texts of plots beside that of the rows.
    pub(crate) plots: Vec<(String, String)>,
}

/// Runs a bench: reads the command line, lets `body` measure its rows, prints the table, writes
/// results and report, and checks the targets.
///
/// `packages` are the ones whose versions stand in the report.
pub fn run(
    name: &'static str,
    about: &'static str,
    packages: &[&str],
    body: impl FnOnce(&mut Bench),
) -> ExitCode {
    if instructions::is_harness() {
        return ExitCode::SUCCESS;
    }
    let args = match Args::parse() {
        Ok(Some(args)) => args,
        Ok(None) => {
            println!("{about}\n\nUsage: cargo bench -p flow-benches --bench {name} -- [OPTIONS]\n");
            println!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}.\nTry --help.");
            return ExitCode::from(2);
        }
    };
    let targets = match targets::load(name) {
        Ok(targets) => targets,
        Err(error) => {
            eprintln!("benches/targets.toml: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut bench = Bench {
        name,
        about,
        args,
        rows: Vec::new(),
        notes: Vec::new(),
        goflow: Goflow::default(),
        plots: Vec::new(),
    };
    body(&mut bench);
    if let Some(fixed) = bench.fixed() {
        eprintln!(
            "there is no contender `{}` in a row `{}`.",
            fixed.contender, fixed.row
        );
        return ExitCode::from(2);
    }
    bench.notes.extend(bench.goflow.note());
    bench.finish(&Machine::new(packages), &targets)
}

impl Bench {
    /// Begins a row. Its name is what targets refer to.
    pub fn row<'f>(&mut self, name: impl Into<String>) -> Row<'_, 'f> {
        Row::new(self, name.into())
    }

    /// Reports a row that was measured by other means: flow's samples and each peer's, one per
    /// round, in `unit`, of which less is better.
    pub fn record(&mut self, row: &str, unit: &str, flow: &[f64], peers: &[(&str, Vec<f64>)]) {
        if self.fixed().is_none() && self.wants(row) {
            let peers: Vec<_> = peers
                .iter()
                .map(|(name, samples)| ((*name).to_owned(), samples.clone()))
                .collect();
            self.push(Measured::from_rounds(row, unit, flow, &peers));
        }
    }

    /// A sentence below the table: what a reader must know to read it.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Curves over time, beside the plot of the rows: drawn by full runs, like that one.
    pub fn plot(&mut self, name: &str, title: &str, curves: &[Curve]) {
        let name = format!("{}-{name}", self.name);
        self.plots.push((name, curves::svg(title, curves)));
    }

    /// Whether this run only tries the bench out.
    pub fn is_quick(&self) -> bool {
        self.args.quick
    }

    /// Whether a row is asked for, so that a bench may skip what only prepares it.
    pub fn wants(&self, row: &str) -> bool {
        let filter = self.args.filter.as_deref();
        let fixed = self.fixed().map(|fixed| &*fixed.row);
        filter.is_none_or(|text| row.contains(text)) && fixed.is_none_or(|wanted| row == wanted)
    }

    /// How long one contender runs in one round.
    pub fn round(&self) -> Duration {
        self.args.round()
    }

    /// How many rounds there are.
    pub fn rounds(&self) -> usize {
        self.args.rounds()
    }

    pub(crate) fn counts_instructions(&self) -> bool {
        self.args.instructions
    }

    /// Whether this process runs one contender a number of times and ends: what others have to
    /// prepare, they have.
    pub fn is_fixed(&self) -> bool {
        self.args.fixed.is_some()
    }

    pub(crate) fn fixed(&self) -> Option<&Fixed> {
        self.args.fixed.as_ref()
    }

    /// Takes a row in, and shows that the bench goes on.
    pub(crate) fn push(&mut self, measured: Measured) {
        let mut line = format!("{}: {}", measured.row, table::figure(measured.flow));
        for peer in &measured.peers {
            let _ = write!(line, ", {} {}", peer.name, table::figure(peer.value));
        }
        eprintln!("{line} {}", measured.unit);
        self.rows.push(measured);
    }

    fn finish(&self, machine: &Machine, targets: &[Target]) -> ExitCode {
        println!("\n{}: {}\n{}\n", self.name, self.about, machine.line());
        print!("{}", table::text(&self.rows, targets));
        for note in &self.notes {
            println!("{note}");
        }
        if let Err(error) = self.write(machine, targets) {
            eprintln!("cannot write the results: {error}");
            return ExitCode::FAILURE;
        }
        let short: Vec<String> = targets
            .iter()
            // A filtered run is not asked about rows it left out.
            .filter(|target| self.wants(&target.row))
            .filter_map(|target| target.shortfall(&self.rows, self.args.instructions))
            .collect();
        if short.is_empty() {
            return ExitCode::SUCCESS;
        }
        println!("\nshort of the target:");
        for row in short {
            println!("  {row}");
        }
        if self.args.check {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }

    fn write(&self, machine: &Machine, targets: &[Target]) -> io::Result<()> {
        let result = json!({
            "bench": self.name,
            "quick": self.args.quick,
            "date": machine.date,
            "machine": machine.line(),
            "rows": self.rows.iter().map(Measured::to_json).collect::<Vec<_>>(),
        });
        let folder = results_folder();
        fs::create_dir_all(&folder)?;
        let mut history = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("history.jsonl"))?;
        io::Write::write_all(&mut history, format!("{result}\n").as_bytes())?;
        if self.args.is_complete() {
            let pretty = serde_json::to_string_pretty(&result)?;
            fs::write(folder.join(format!("{}.json", self.name)), pretty)?;
            report::write(self, machine, targets)?;
        }
        Ok(())
    }
}

fn results_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| machine::workspace().join("target"), PathBuf::from)
        .join("bench")
}
