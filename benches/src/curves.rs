//! Curves over time, as SVG.

use std::fmt::Write as _;

use crate::plot::escape;

const LEFT: f64 = 60.0;
const TOP: f64 = 64.0;
const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 360.0;
const COLOURS: [&str; 6] = [
    "#333", "#4a7ebb", "#c0504d", "#5a9e4b", "#8064a2", "#d98b2b",
];

/// A curve of a plot: a value for each equal step of time.
#[derive(Debug, Clone)]
pub struct Curve {
    name: String,
    values: Vec<f64>,
}

impl Curve {
    /// A curve with such values.
    pub fn new(name: impl Into<String>, values: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            values,
        }
    }
}

/// Draws the curves over one another, from 0 to the largest value.
pub(crate) fn svg(title: &str, curves: &[Curve]) -> String {
    let largest = curves.iter().flat_map(|curve| &curve.values).copied();
    let largest = largest.fold(1.0, f64::max);
    let steps = curves.iter().map(|curve| curve.values.len()).max();
    let steps = steps.unwrap_or_default().max(2);
    let (width, height) = (LEFT + WIDTH + 20.0, TOP + HEIGHT + 30.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{}</text>\n",
        escape(title)
    );
    for tick in 0..=4 {
        let (part, of) = (f64::from(tick) / 4.0, largest * f64::from(tick) / 4.0);
        let y = TOP + HEIGHT * (1.0 - part);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{of:.0}</text>",
            LEFT + WIDTH,
            LEFT - 8.0,
            y + 4.0,
        );
        let x = LEFT + WIDTH * part;
        let _ = writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{:.0}</text>",
            TOP + HEIGHT + 18.0,
            steps as f64 * part,
        );
    }
    for (index, curve) in curves.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let mut points = String::new();
        for (step, value) in curve.values.iter().enumerate() {
            let x = LEFT + WIDTH * step as f64 / (steps - 1) as f64;
            let y = TOP + HEIGHT * (1.0 - value / largest);
            let _ = write!(points, "{x:.1},{y:.1} ");
        }
        let x = LEFT + 210.0 * index as f64;
        let _ = writeln!(
            out,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" \
             stroke-width=\"1.5\"/>\
             <text x=\"{x:.1}\" y=\"42\" fill=\"{colour}\">{}</text>",
            escape(&curve.name),
        );
    }
    out.push_str("</svg>\n");
    out
}
