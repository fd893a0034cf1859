//! The table of a bench, for a terminal and for Markdown.

use std::fmt::Write as _;

use crate::measured::{Measured, Peer};
use crate::targets::Target;

const HEAD: [&str; 8] = [
    "row",
    "flow",
    "peer",
    "its figure",
    "cost",
    "gain",
    "quartiles of cost",
    "target",
];

/// Aligned columns.
pub(crate) fn text(rows: &[Measured], targets: &[Target]) -> String {
    let lines = cells(rows, targets);
    let mut widths = HEAD.map(|title| title.chars().count());
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for line in core::iter::once(&HEAD.map(str::to_owned)).chain(&lines) {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            if is_number(column) {
                let _ = write!(out, "{cell:>width$}  ");
            } else {
                let _ = write!(out, "{cell:<width$}  ");
            }
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// A Markdown table.
pub(crate) fn markdown(rows: &[Measured], targets: &[Target]) -> String {
    let mut out = format!("| {} |\n|", HEAD.join(" | "));
    for column in 0..HEAD.len() {
        out.push_str(if is_number(column) { "---:|" } else { "---|" });
    }
    out.push('\n');
    for line in cells(rows, targets) {
        let _ = writeln!(out, "| {} |", line.join(" | "));
    }
    out
}

/// A number with three digits that matter.
pub(crate) fn figure(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        medium if medium >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

fn cells(rows: &[Measured], targets: &[Target]) -> Vec<[String; HEAD.len()]> {
    let mut lines = Vec::new();
    for row in rows {
        if row.peers.is_empty() {
            let mut alone = [const { String::new() }; HEAD.len()];
            alone[0].clone_from(&row.row);
            alone[1] = with_instructions(row.flow, &row.unit, row.flow_instructions);
            lines.push(alone);
        }
        for (index, peer) in row.peers.iter().enumerate() {
            let once = |text: String| if index == 0 { text } else { String::new() };
            lines.push([
                once(row.row.clone()),
                once(with_instructions(
                    row.flow,
                    &row.unit,
                    row.flow_instructions,
                )),
                peer.name.clone(),
                with_instructions(peer.value, &row.unit, peer.instructions),
                figure(peer.cost),
                figure(peer.gain()),
                peer.quartiles.map(figure).join(" to "),
                verdicts(row, peer, targets),
            ]);
        }
    }
    lines
}

fn with_instructions(value: f64, unit: &str, instructions: Option<f64>) -> String {
    match instructions {
        Some(count) => format!("{} {unit}, {count:.0} instr.", figure(value)),
        None => format!("{} {unit}", figure(value)),
    }
}

fn verdicts(row: &Measured, peer: &Peer, targets: &[Target]) -> String {
    targets
        .iter()
        .filter(|target| target.is_for(row, peer))
        .map(|target| {
            let verdict = match target.is_met(row, peer) {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "not counted",
            };
            format!("{}: {verdict}", target.text())
        })
        .collect::<Vec<_>>()
        .join("; ")
}

fn is_number(column: usize) -> bool {
    matches!(column, 1 | 3 | 4 | 5 | 6)
}
