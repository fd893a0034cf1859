//! Rows as data: what was measured, and its form as JSON.

use serde_json::{Value, json};

/// One row: flow's figure, and its peers'.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) row: String,
    /// Of the figures; lower is better.
    pub(crate) unit: String,
    /// Median of the rounds.
    pub(crate) flow: f64,
    pub(crate) flow_instructions: Option<f64>,
    pub(crate) peers: Vec<Peer>,
}

/// One peer, and how flow compares with it.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) name: String,
    /// Median of the rounds.
    pub(crate) value: f64,
    /// Median of flow's figure divided by the peer's, round by round.
    pub(crate) cost: f64,
    /// The quartiles of the same.
    pub(crate) quartiles: [f64; 2],
    /// Median of flow's figure less the peer's, round by round.
    pub(crate) more: f64,
    pub(crate) instructions: Option<f64>,
}

impl Measured {
    /// Puts samples together that were taken in the same rounds.
    pub(crate) fn from_rounds(
        row: &str,
        unit: &str,
        flow: &[f64],
        peers: &[(String, Vec<f64>)],
    ) -> Self {
        let peers = peers
            .iter()
            .map(|(name, samples)| {
                let pairs = flow.iter().zip(samples);
                let ratios: Vec<f64> = pairs
                    .clone()
                    .map(|(flow, peer)| ratio(*flow, *peer))
                    .collect();
                let differences: Vec<f64> = pairs.map(|(flow, peer)| flow - peer).collect();
                Peer {
                    name: name.clone(),
                    value: quartile(samples, 2),
                    cost: quartile(&ratios, 2),
                    quartiles: [quartile(&ratios, 1), quartile(&ratios, 3)],
                    more: quartile(&differences, 2),
                    instructions: None,
                }
            })
            .collect();
        Self {
            row: row.to_owned(),
            unit: unit.to_owned(),
            flow: quartile(flow, 2),
            flow_instructions: None,
            peers,
        }
    }

    /// How far the quartiles of a cost are from each other at most, as a share of it.
    pub(crate) fn spread(&self) -> f64 {
        let spread = |peer: &Peer| (peer.quartiles[1] - peer.quartiles[0]) / peer.cost;
        self.peers.iter().map(spread).fold(0.0, f64::max)
    }

    pub(crate) fn to_json(&self) -> Value {
        let peers: Vec<Value> = self
            .peers
            .iter()
            .map(|peer| {
                json!({
                    "name": peer.name,
                    "value": peer.value,
                    "cost": peer.cost,
                    "quartiles": peer.quartiles,
                    "more": peer.more,
                    "instructions": peer.instructions,
                })
            })
            .collect();
        json!({
            "row": self.row,
            "unit": self.unit,
            "flow": self.flow,
            "instructions": self.flow_instructions,
            "peers": peers,
        })
    }
}

impl Peer {
    /// How many times cheaper flow is.
    pub(crate) fn gain(&self) -> f64 {
        1.0 / self.cost
    }

    /// Flow's instructions divided by the peer's.
    pub(crate) fn instruction_cost(&self, flow: Option<f64>) -> Option<f64> {
        Some(flow? / self.instructions?)
    }
}

/// What flow costs of what the peer costs: as much, if neither costs anything.
fn ratio(flow: f64, peer: f64) -> f64 {
    let ratio = flow / peer;
    if ratio.is_nan() { 1.0 } else { ratio }
}

/// The value below which so many quarters of the samples lie, between neighbours in proportion.
fn quartile(samples: &[f64], quarters: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let (below, rest) = (quarters * last / 4, quarters * last % 4);
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * rest as f64 / 4.0
}
