//! Targets: ratios and differences that a row must reach, as data.

use std::fs;

use toml::{Table, Value};

use crate::machine;
use crate::measured::{Measured, Peer};

/// One line of `targets.toml`.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) row: String,
    pub(crate) peer: String,
    limit: Limit,
    of: Of,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Limit {
    Ratio(Op, f64),
    /// Flow costs at most so much more than the peer: for what flow adds to the peer's work.
    More(f64),
    /// Flow costs at most so much, whatever the peer does.
    Figure(f64),
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
        let number = |name: &str| {
            let value = item.get(name)?;
            let whole = value.as_integer().map(|whole| whole as f64);
            value.as_float().or(whole)
        };
        let positive = |name: &str| number(name).filter(|number| *number > 0.0);
        let op = match text("op")?.as_str() {
            "<=" => Op::AtMost,
            ">=" => Op::AtLeast,
            other => return Err(format!("`op` is \"<=\" or \">=\", not \"{other}\"")),
        };
        Ok(Self {
            row: text("row")?,
            peer: text("peer")?,
            limit: match (positive("ratio"), positive("more"), number("figure"), op) {
                (Some(ratio), None, None, op) => Limit::Ratio(op, ratio),
                (None, Some(more), None, Op::AtMost) => Limit::More(more),
                (None, None, Some(figure), Op::AtMost) if figure >= 0.0 => Limit::Figure(figure),
                _ => {
                    return Err(format!(
                        "a [[target]] has one number above 0, `ratio` or, with `op` \"<=\", \
                         `more`, or `figure`, which may be 0: {item:?}"
                    ));
                }
            },
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
        match self.limit {
            Limit::Ratio(Op::AtMost, ratio) => format!("cost ≤ {ratio}{of}"),
            Limit::Ratio(Op::AtLeast, ratio) => format!("gain ≥ {ratio}{of}"),
            Limit::More(more) => format!("≤ {more} more{of}"),
            Limit::Figure(figure) => format!("≤ {figure}{of}"),
        }
    }

    /// The least gain that meets the target, if it is one of gain.
    pub(crate) fn gain(&self) -> Option<f64> {
        match self.limit {
            Limit::Ratio(Op::AtMost, ratio) => Some(1.0 / ratio),
            Limit::Ratio(Op::AtLeast, ratio) => Some(ratio),
            Limit::More(_) | Limit::Figure(_) => None,
        }
    }

    /// Whether a row meets this target; `None` if it was not measured.
    pub(crate) fn is_met(&self, row: &Measured, peer: &Peer) -> Option<bool> {
        let Cost { flow, ratio, more } = self.measured(row, peer)?;
        Some(match self.limit {
            Limit::Ratio(Op::AtMost, most) => ratio <= most,
            Limit::Ratio(Op::AtLeast, least) => 1.0 / ratio >= least,
            Limit::More(most) => more <= most,
            Limit::Figure(most) => flow <= most,
        })
    }

    /// What to tell about this target, if it is not met: also if instructions were to be counted
    /// and could not be.
    pub(crate) fn shortfall(&self, rows: &[Measured], counting: bool) -> Option<String> {
        let found = rows
            .iter()
            .flat_map(|row| row.peers.iter().map(move |peer| (row, peer)))
            .find(|(row, peer)| self.is_for(row, peer));
        let label = format!("{} / {}: {}", self.row, self.peer, self.text());
        let Some((row, peer)) = found else {
            return Some(format!("{label}, but there is no such row"));
        };
        let Some(Cost { flow, ratio, more }) = self.measured(row, peer) else {
            return counting.then(|| format!("{label}, but it was not counted"));
        };
        if self.is_met(row, peer)? {
            return None;
        }
        let measured = match self.limit {
            Limit::Ratio(Op::AtMost, _) => ratio,
            Limit::Ratio(Op::AtLeast, _) => 1.0 / ratio,
            Limit::More(_) => more,
            Limit::Figure(_) => flow,
        };
        Some(format!("{label}, measured {measured:.2}"))
    }

    /// What the target is about; `None` if it was not measured.
    fn measured(&self, row: &Measured, peer: &Peer) -> Option<Cost> {
        match self.of {
            Of::Figure => Some(Cost {
                flow: row.flow,
                ratio: peer.cost,
                more: peer.more,
            }),
            Of::Instructions => {
                let flow = row.flow_instructions?;
                Some(Cost {
                    flow,
                    ratio: peer.instruction_cost(Some(flow))?,
                    more: flow - peer.instructions?,
                })
            }
        }
    }
}

/// What flow costs: by itself, as a part of what the peer costs, and beyond it.
struct Cost {
    flow: f64,
    ratio: f64,
    more: f64,
}
