//! The sink of a collection: checks each sample against the catalogue and adds equal series up.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::collect::{Labels, Sink};
use crate::desc::{Desc, Kind, Unit};
use crate::histogram::HistogramSnapshot;
use crate::snapshot::{Family, Series, Value};

/// Takes samples from one collector after another.
pub(crate) struct Gather {
    families: BTreeMap<&'static str, Gathered>,
    max_series: usize,
    rejected: u64,
    /// Names of which samples are missing.
    incomplete: BTreeSet<&'static str>,
}

struct Gathered {
    desc: &'static Desc,
    series: BTreeMap<Vec<String>, Value>,
}

impl Gather {
    pub(crate) fn new(catalogue: impl Iterator<Item = &'static Desc>, max_series: usize) -> Self {
        let empty = |desc: &'static Desc| {
            let series = BTreeMap::new();
            (desc.name(), Gathered { desc, series })
        };
        Self {
            families: catalogue.map(empty).collect(),
            max_series,
            rejected: 0,
            incomplete: BTreeSet::new(),
        }
    }

    /// A collector of these was cut short.
    pub(crate) fn cut_short(&mut self, descriptions: &'static [Desc]) {
        self.incomplete.extend(descriptions.iter().map(Desc::name));
    }

    /// All names in the catalogue, with the prefix.
    pub(crate) fn names(&self, prefix: &str) -> BTreeSet<String> {
        with_prefix(prefix, self.families.keys())
    }

    /// Those of which samples are missing.
    pub(crate) fn incomplete(&self, prefix: &str) -> BTreeSet<String> {
        with_prefix(prefix, &self.incomplete)
    }

    /// Samples left out since the last call.
    pub(crate) fn take_rejected(&mut self) -> u64 {
        core::mem::take(&mut self.rejected)
    }

    pub(crate) fn finish(self, prefix: &str) -> Vec<Family> {
        self.families
            .into_values()
            .filter(|family| !family.series.is_empty())
            .map(|family| Family {
                name: format!("{prefix}{}", family.desc.name()),
                desc: family.desc,
                series: family
                    .series
                    .into_iter()
                    .map(|(label_values, value)| Series {
                        label_values,
                        value,
                    })
                    .collect(),
            })
            .collect()
    }

    fn add(&mut self, desc: &'static Desc, kind: Kind, labels: Labels<'_>, value: Value) {
        if self.try_add(desc, kind, labels, value).is_none() {
            self.rejected += 1;
            self.incomplete.insert(desc.name());
        }
    }

    fn try_add(
        &mut self,
        desc: &'static Desc,
        kind: Kind,
        labels: Labels<'_>,
        value: Value,
    ) -> Option<()> {
        let family = self.families.get_mut(desc.name())?;
        if family.desc.kind() != kind || family.desc.labels().len() != labels.len() {
            return None;
        }
        let values: Option<Vec<String>> = family
            .desc
            .labels()
            .iter()
            .map(|name| labels.iter().find(|(given, _)| given == name))
            .map(|pair| pair.map(|(_, value)| (*value).to_owned()))
            .collect();
        let room = family.series.len() < self.max_series;
        match family.series.entry(values?) {
            Entry::Vacant(entry) if room => {
                entry.insert(value);
            }
            Entry::Vacant(_) => return None,
            Entry::Occupied(mut entry) => match (entry.get_mut(), value) {
                (Value::Counter(sum), Value::Counter(value)) => *sum = sum.wrapping_add(value),
                // Two ratios do not add up to one; the larger is the one to worry about.
                (Value::Gauge(sum), Value::Gauge(value)) if family.desc.unit() == Unit::Ratio => {
                    *sum = sum.max(value);
                }
                (Value::Gauge(sum), Value::Gauge(value)) => *sum += value,
                (Value::Histogram(sum), Value::Histogram(value)) => {
                    return sum.merge(&value).then_some(());
                }
                _ => return None,
            },
        }
        Some(())
    }
}

fn with_prefix<'a>(
    prefix: &str,
    names: impl IntoIterator<Item = &'a &'static str>,
) -> BTreeSet<String> {
    let names = names.into_iter();
    names.map(|name| format!("{prefix}{name}")).collect()
}

impl Sink for Gather {
    fn counter(&mut self, desc: &'static Desc, labels: Labels<'_>, value: u64) {
        self.add(desc, Kind::Counter, labels, Value::Counter(value));
    }

    fn gauge(&mut self, desc: &'static Desc, labels: Labels<'_>, value: f64) {
        self.add(desc, Kind::Gauge, labels, Value::Gauge(value));
    }

    fn histogram(&mut self, desc: &'static Desc, labels: Labels<'_>, value: &HistogramSnapshot) {
        self.add(
            desc,
            Kind::Histogram,
            labels,
            Value::Histogram(value.clone()),
        );
    }
}
