//! `RESULTS.md`: one section per bench, each rewritten by that bench's full run alone.

use std::fmt::Write as _;
use std::fs;
use std::io;

use crate::bench::Bench;
use crate::machine::{self, Machine};
use crate::targets::Target;
use crate::{plot, table};

const PREAMBLE: &str = "\
# Results

Written by `cargo xtask bench`; do not edit. Each section has the machine, date and versions of
its own last full run.

*Cost* is flow's figure divided by the peer's (below 1: flow is cheaper), *gain* is the peer's
divided by flow's. Both are medians over interleaved rounds of one run; figures are medians too,
and only for orientation, but where a target is one (`≤ n`), of the machine named here. Targets stand in `targets.toml`.
";

/// Writes the section and the plot of one bench.
pub(crate) fn write(bench: &Bench, machine: &Machine, targets: &[Target]) -> io::Result<()> {
    let folder = machine::workspace().join("benches");
    let plots = folder.join("plots");
    fs::create_dir_all(&plots)?;
    let svg = plot::svg(bench.name, &bench.rows, targets);
    fs::write(plots.join(format!("{}.svg", bench.name)), svg)?;
    for (name, svg) in &bench.plots {
        fs::write(plots.join(format!("{name}.svg")), svg)?;
    }

    let path = folder.join("RESULTS.md");
    let before = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let mut sections = sections(&before);
    sections.retain(|(name, _)| name != bench.name);
    sections.push((bench.name.to_owned(), section(bench, machine, targets)));
    sections.sort();
    let mut text = PREAMBLE.to_owned();
    for (_, section) in &sections {
        text.push('\n');
        text.push_str(section);
    }
    fs::write(path, text)
}

fn section(bench: &Bench, machine: &Machine, targets: &[Target]) -> String {
    let mut text = format!(
        "## {}\n\n{}\n\n{}\n\n![gain of {}](plots/{}.svg)\n\n{}",
        bench.name,
        bench.about,
        machine.line(),
        bench.name,
        bench.name,
        table::markdown(&bench.rows, targets),
    );
    for note in &bench.notes {
        text.push('\n');
        text.push_str(note);
        text.push('\n');
    }
    for (name, _) in &bench.plots {
        let _ = write!(text, "\n![{name}](plots/{name}.svg)\n");
    }
    text
}

/// The sections of a report, by name.
fn sections(text: &str) -> Vec<(String, String)> {
    let text = format!("\n{text}");
    let mut parts = text.split("\n## ");
    parts.next();
    parts
        .map(|part| {
            let name = part.lines().next().unwrap_or_default().trim();
            (name.to_owned(), format!("## {}\n", part.trim_end()))
        })
        .collect()
}
