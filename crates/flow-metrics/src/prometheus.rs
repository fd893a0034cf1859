//! The Prometheus text exposition format, version 0.0.4.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>. Help escapes `\` and
//! line feeds; label values escape `"` too. The lines of a family stand together, and a
//! histogram's buckets are cumulative and end with `+Inf`, which equals its count.

use core::fmt::{self, Write as _};

use crate::desc::Kind;
use crate::histogram::HistogramSnapshot;
use crate::snapshot::{Family, Series, Snapshot, Value};

/// The content type under which the text is served.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Snapshot {
    /// This snapshot in the Prometheus text format, to be served as [`CONTENT_TYPE`].
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        // A String takes everything, and nothing here fails by itself.
        let _ = self.write_prometheus(&mut text);
        text
    }

    /// Writes this snapshot in the Prometheus text format.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_prometheus(&self, out: &mut impl fmt::Write) -> fmt::Result {
        for family in &self.families {
            let name = &family.name;
            let help = Escaped(family.desc.help(), false);
            writeln!(out, "# HELP {name} {help}")?;
            let kind = match family.desc.kind() {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            writeln!(out, "# TYPE {name} {kind}")?;
            for series in &family.series {
                let mut labels = String::new();
                self.write_labels(&mut labels, family, series)?;
                match &series.value {
                    Value::Counter(value) => writeln!(out, "{name}{} {value}", Braces(&labels))?,
                    Value::Gauge(value) => {
                        writeln!(out, "{name}{} {}", Braces(&labels), Number(*value))?;
                    }
                    Value::Histogram(value) => write_histogram(out, name, &labels, value)?,
                }
            }
        }
        Ok(())
    }

    /// The labels of one series without the braces.
    fn write_labels(&self, out: &mut String, family: &Family, series: &Series) -> fmt::Result {
        for (name, value) in self.base_labels().chain(family.labels(series)) {
            let comma = if out.is_empty() { "" } else { "," };
            write!(out, "{comma}{name}=\"{}\"", Escaped(value, true))?;
        }
        Ok(())
    }
}

fn write_histogram(
    out: &mut impl fmt::Write,
    name: &str,
    labels: &str,
    value: &HistogramSnapshot,
) -> fmt::Result {
    let comma = if labels.is_empty() { "" } else { "," };
    let infinity = [f64::INFINITY];
    let mut sum = 0_u64;
    for (bound, count) in value.bounds().iter().chain(&infinity).zip(value.counts()) {
        sum = sum.saturating_add(*count);
        let le = Number(*bound);
        writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{le}\"}} {sum}")?;
    }
    let labels = Braces(labels);
    writeln!(out, "{name}_sum{labels} {}", Number(value.sum()))?;
    writeln!(out, "{name}_count{labels} {sum}")
}

/// Labels in braces, or nothing.
struct Braces<'a>(&'a str);

impl fmt::Display for Braces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            labels => write!(f, "{{{labels}}}"),
        }
    }
}

/// Text with `\` and line feeds escaped, and quotes if so said.
struct Escaped<'a>(&'a str, bool);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.1 => f.write_str("\\\"")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A number as Go's `ParseFloat` reads it.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if value.is_nan() => f.write_str("NaN"),
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            value => value.fmt(f),
        }
    }
}
