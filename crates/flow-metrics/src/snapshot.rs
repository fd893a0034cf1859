//! Everything a registry's collectors handed over at one collection.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::desc::Desc;
use crate::histogram::HistogramSnapshot;

/// All families of one collection, by name, each with its series, by label values.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) families: Vec<Family>,
    pub(crate) base_labels: Arc<[(String, String)]>,
    /// Those of which shown series are not whole: a collector panicked, or a sample did not fit.
    pub(crate) incomplete: BTreeSet<String>,
    /// Those who were asked.
    pub(crate) collectors: BTreeSet<u64>,
}

/// A metric with all its series.
#[derive(Clone, Debug)]
pub struct Family {
    pub(crate) name: String,
    pub(crate) desc: &'static Desc,
    pub(crate) series: Vec<Series>,
}

/// One set of label values, and what was measured for it.
#[derive(Clone, Debug)]
pub struct Series {
    /// In the order in which the `Desc` declares the labels.
    pub(crate) label_values: Vec<String>,
    pub(crate) value: Value,
    /// Who handed it over, first if there were several.
    pub(crate) collector: u64,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Of a counter.
    Counter(u64),
    /// Of a gauge.
    Gauge(f64),
    /// Of a histogram.
    Histogram(HistogramSnapshot),
}

impl Snapshot {
    /// The families that have series, by name.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// The labels that the registry adds to every series.
    pub fn base_labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.base_labels.iter().map(|(k, v)| (&**k, &**v))
    }

    /// The value of one series: by the family's full name, and the values of its labels in any
    /// order, without the base labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<&Value> {
        let family = self.families.iter().find(|family| family.name == name)?;
        let found = family.series.iter().find(|series| {
            series.label_values.len() == labels.len()
                && family.labels(series).all(|pair| labels.contains(&pair))
        })?;
        Some(&found.value)
    }

    /// The value of a counter's series; see [`value`](Self::value).
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
        match self.value(name, labels)? {
            Value::Counter(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of a gauge's series; see [`value`](Self::value).
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        match self.value(name, labels)? {
            Value::Gauge(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of a histogram's series; see [`value`](Self::value).
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Option<&HistogramSnapshot> {
        match self.value(name, labels)? {
            Value::Histogram(value) => Some(value),
            _ => None,
        }
    }
}

impl Family {
    /// The name, with the registry's prefix.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The catalogue's entry.
    pub fn desc(&self) -> &'static Desc {
        self.desc
    }

    /// The series, by label values.
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// Names and values of the labels of one of the family's series.
    pub fn labels<'a>(
        &self,
        series: &'a Series,
    ) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let names = self.desc.labels().iter().copied();
        names.zip(series.label_values.iter().map(String::as_str))
    }
}

impl Series {
    /// What was measured.
    pub fn value(&self) -> &Value {
        &self.value
    }
}
