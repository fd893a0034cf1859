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
    /// Names of which shown series are not whole.
    incomplete: BTreeSet<&'static str>,
    /// Whose samples are coming.
    collector: u64,
}

struct Gathered {
    desc: &'static Desc,
    /// By label values: what was measured, and who handed it over.
    series: BTreeMap<Vec<String>, (Value, u64)>,
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
            collector: Self::REGISTRY,
        }
    }

    /// The collector that stands for the registry itself.
    pub(crate) const REGISTRY: u64 = u64::MAX;

    /// From here on samples come from this one.
    pub(crate) fn from(&mut self, collector: u64) {
        self.collector = collector;
    }

    /// A collector of these was cut short.
    pub(crate) fn cut_short(&mut self, descriptions: &'static [Desc]) {
        self.incomplete.extend(descriptions.iter().map(Desc::name));
    }

    /// Those of which shown series are not whole.
    pub(crate) fn incomplete(&self, prefix: &str) -> BTreeSet<String> {
        let names = self.incomplete.iter();
        names.map(|name| format!("{prefix}{name}")).collect()
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
                    .map(|(label_values, (value, collector))| Series {
                        label_values,
                        value,
                        collector,
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
                entry.insert((value, self.collector));
            }
            // Left out as a whole: those that are shown lack nothing.
            Entry::Vacant(_) => self.rejected += 1,
            Entry::Occupied(mut entry) => match (&mut entry.get_mut().0, value) {
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
