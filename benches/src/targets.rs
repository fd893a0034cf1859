//! Targets: ratios that a row must reach, as data.

use std::fs;

use toml::{Table, Value};

use crate::machine;
use crate::measured::{Measured, Peer};

/// One line of `targets.toml`.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) row: String,
    pub(crate) peer: String,
    op: Op,
    ratio: f64,
    of: Of,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    /// Flow costs at most so many times what the peer costs.
    AtMost,
    /// The peer costs at least so many times what flow costs.
    AtLeast,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Figure,
    Instructions,
}

/// The targets of one bench.
pub(crate) fn load(bench: &str) -> Result<Vec<Target>, String> {
    let path = machine::workspace().join("benches/targets.toml");
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let table: Table = text.parse().map_err(|error| format!("{error}"))?;
    let items = table.get("target").and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter(|item| item.get("bench").and_then(Value::as_str) == Some(bench))
        .map(Target::read)
        .collect()
}

impl Target {
    fn read(item: &Value) -> Result<Self, String> {
        let text = |name: &str| {
            let value = item.get(name).and_then(Value::as_str);
            value
                .map(str::to_owned)
                .ok_or_else(|| format!("a [[target]] has no text `{name}`: {item:?}"))
        };
        let ratio = item.get("ratio").and_then(|ratio| {
            let whole = ratio.as_integer().map(|ratio| ratio as f64);
            ratio.as_float().or(whole)
        });
        Ok(Self {
            row: text("row")?,
            peer: text("peer")?,
            op: match text("op")?.as_str() {
                "<=" => Op::AtMost,
                ">=" => Op::AtLeast,
                other => return Err(format!("`op` is \"<=\" or \">=\", not \"{other}\"")),
            },
            ratio: ratio
                .filter(|ratio| *ratio > 0.0)
                .ok_or_else(|| format!("a [[target]] has no number `ratio` above 0: {item:?}"))?,
            of: match item.get("of").and_then(Value::as_str) {
                None => Of::Figure,
                Some("instructions") => Of::Instructions,
                Some(other) => return Err(format!("`of` is \"instructions\", not \"{other}\"")),
            },
        })
    }

    pub(crate) fn is_for(&self, row: &Measured, peer: &Peer) -> bool {
        self.row == row.row && self.peer == peer.name
    }

    /// The target as people write it.
    pub(crate) fn text(&self) -> String {
        let of = match self.of {
            Of::Figure => "",
            Of::Instructions => " instr.",
        };
        match self.op {
            Op::AtMost => format!("cost ≤ {}{of}", self.ratio),
            Op::AtLeast => format!("gain ≥ {}{of}", self.ratio),
        }
    }

    /// The least gain that meets the target.
    pub(crate) fn gain(&self) -> f64 {
        match self.op {
            Op::AtMost => 1.0 / self.ratio,
            Op::AtLeast => self.ratio,
        }
    }

    /// Whether a row meets this target; `None` if it was not measured.
    pub(crate) fn is_met(&self, row: &Measured, peer: &Peer) -> Option<bool> {
        let cost = self.cost(row, peer)?;
        Some(match self.op {
            Op::AtMost => cost <= self.ratio,
            Op::AtLeast => 1.0 / cost >= self.ratio,
        })
    }

    /// What to tell about this target, if it is not met.
    pub(crate) fn shortfall(&self, rows: &[Measured]) -> Option<String> {
        let found = rows
            .iter()
            .flat_map(|row| row.peers.iter().map(move |peer| (row, peer)))
            .find(|(row, peer)| self.is_for(row, peer));
        let label = format!("{} / {}: {}", self.row, self.peer, self.text());
        let Some((row, peer)) = found else {
            return Some(format!("{label}, but there is no such row"));
        };
        // Instructions are counted on demand only.
        let cost = self.cost(row, peer)?;
        if self.is_met(row, peer)? {
            return None;
        }
        Some(match self.op {
            Op::AtMost => format!("{label}, measured {cost:.2}"),
            Op::AtLeast => format!("{label}, measured {:.2}", 1.0 / cost),
        })
    }

    /// What the target is about; `None` if it was not measured.
    fn cost(&self, row: &Measured, peer: &Peer) -> Option<f64> {
        match self.of {
            Of::Figure => Some(peer.cost),
            Of::Instructions => peer.instruction_cost(row.flow_instructions),
        }
    }
}
