//! A bar chart of gains, as SVG: to the right flow is cheaper, to the left the peer is.

use std::fmt::Write as _;

use crate::measured::{Measured, Peer};
use crate::table::figure;
use crate::targets::Target;

const LABELS: f64 = 430.0;
const BARS: f64 = 460.0;
const VALUES: f64 = 70.0;
const LINE: f64 = 22.0;
const TOP: f64 = 58.0;

/// Draws one bar per row and peer, on a logarithmic axis, with a mark at each target.
pub(crate) fn svg(name: &str, rows: &[Measured], targets: &[Target]) -> String {
    let bars: Vec<(&Measured, &Peer)> = rows
        .iter()
        .flat_map(|row| row.peers.iter().map(move |peer| (row, peer)))
        .filter(|(_, peer)| peer.gain().is_finite() && peer.gain() > 0.0)
        .collect();
    let axis = Axis::over(bars.iter().map(|(_, peer)| peer.gain()), targets);
    let height = TOP + LINE * bars.len() as f64 + 12.0;
    let width = LABELS + BARS + VALUES;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{}: how many times \
         cheaper flow is than its peer</text>\n",
        escape(name)
    );
    for power in axis.low..=axis.high {
        let tick = 10f64.powi(power);
        let x = axis.x(tick);
        let colour = if power == 0 { "#333" } else { "#ddd" };
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{tick}x</text>",
            height - 12.0,
            TOP - 8.0,
        );
    }
    for (index, (row, peer)) in bars.iter().enumerate() {
        let y = TOP + LINE * index as f64;
        bar(&mut out, &axis, y, row, peer, targets);
    }
    out.push_str("</svg>\n");
    out
}

fn bar(out: &mut String, axis: &Axis, y: f64, row: &Measured, peer: &Peer, targets: &[Target]) {
    let targets: Vec<&Target> = targets
        .iter()
        .filter(|target| target.is_for(row, peer))
        .collect();
    let missed = targets
        .iter()
        .any(|target| target.is_met(row, peer) == Some(false));
    let colour = if missed { "#c0504d" } else { "#4a7ebb" };
    let (one, end) = (axis.x(1.0), axis.x(peer.gain()));
    let (left, right) = (one.min(end), one.max(end));
    let middle = y + LINE / 2.0 + 4.0;
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{} / {}</text>\
         <rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\
         <text x=\"{:.1}\" y=\"{middle:.1}\">{}x</text>",
        LABELS - 10.0,
        escape(&row.row),
        escape(&peer.name),
        y + 4.0,
        (right - left).max(1.0),
        LINE - 8.0,
        right + 6.0,
        figure(peer.gain()),
    );
    for target in targets {
        let Some(gain) = target.gain() else {
            continue;
        };
        let x = axis.x(gain);
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"#000\" \
             stroke-width=\"2\"><title>{}</title></line>",
            y + 2.0,
            y + LINE - 2.0,
            escape(&target.text()),
        );
    }
}

/// Powers of ten, from the smallest gain to the largest.
struct Axis {
    low: i32,
    high: i32,
}

impl Axis {
    fn over(gains: impl Iterator<Item = f64>, targets: &[Target]) -> Self {
        let mut axis = Self { low: -1, high: 1 };
        for gain in gains.chain(targets.iter().filter_map(Target::gain)) {
            axis.low = axis.low.min(gain.log10().floor() as i32);
            axis.high = axis.high.max(gain.log10().ceil() as i32);
        }
        axis
    }

    fn x(&self, gain: f64) -> f64 {
        let span = f64::from(self.high - self.low);
        LABELS + BARS * (gain.log10() - f64::from(self.low)) / span
    }
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
