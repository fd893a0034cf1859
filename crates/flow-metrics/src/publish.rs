//! Export through the `metrics` facade, on collection.
//!
//! A cached handle of the facade costs 12 ns per update, more than a limiter's decision. So
//! nothing is sent when something happens: whoever exports calls [`Registry::publish`] every few
//! seconds, and the recorder gets what has changed since.
//!
//! # Invariant
//! What was sent for a series is what it showed when it was last collected whole: one publication
//! runs at a time, each with a younger snapshot.

use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use metrics::{Key, KeyName, Label, Level, Metadata};

use crate::desc::{Desc, Unit};
use crate::histogram::HistogramSnapshot;
use crate::registry::Registry;
use crate::snapshot::{Family, Series, Snapshot, Value};

/// What the recorder has been told.
#[derive(Default)]
pub(crate) struct Published {
    running: AtomicBool,
    told: Mutex<HashMap<Key, Last>>,
}

/// What was told of a series.
struct Last {
    value: Told,
    /// Who handed it over.
    collector: u64,
    /// For how many publications it has been missing.
    missing: u32,
}

/// The last value sent of a series of which differences are sent.
enum Told {
    Counter(u64),
    Histogram(HistogramSnapshot),
}

impl Registry {
    /// Collects, and sends the `metrics` facade what has changed since the last time: counters
    /// as increments, gauges as values, histograms as samples.
    ///
    /// A histogram's samples are placed in their bucket so that their sum is the recorded sum; a
    /// recorder with the same bounds shows the same buckets. A counter that fell, because its
    /// primitive was replaced, counts from zero again, and so does one whose collector was gone at
    /// a publication; one that was missing for a while, because its collector panicked or left it
    /// out, does not. Install the recorder before the first publication: what is sent without one
    /// is gone.
    ///
    /// Returns `false`, having sent nothing, if another thread is publishing right now.
    ///
    /// ```
    /// let registry = flow_metrics::Registry::new();
    /// assert!(registry.publish());
    /// ```
    pub fn publish(&self) -> bool {
        let published = &self.0.published;
        if published.running.swap(true, Ordering::Acquire) {
            return false;
        }
        let _running = Running(&published.running);
        let snapshot = self.collect();
        let updates = published.updates(&snapshot, self.0.max_series);
        metrics::with_recorder(|recorder| {
            for family in &snapshot.families {
                describe(recorder, family);
            }
            for update in &updates {
                update.send(recorder);
            }
        });
        true
    }
}

impl Published {
    /// The differences between the snapshot and what was told, which is then the snapshot, and
    /// what it does not show but may show again: for each name, the `max_series` series that it
    /// showed last.
    fn updates(&self, snapshot: &Snapshot, max_series: usize) -> Vec<Update> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = core::mem::take(&mut *told);
        told.reserve(before.len());
        let mut updates = Vec::new();
        for family in &snapshot.families {
            let incomplete = snapshot.incomplete.contains(&family.name);
            for series in &family.series {
                let key = key(snapshot, family, series);
                let last = before.remove(&key).map(|last| last.value);
                let (change, now) = match &series.value {
                    Value::Gauge(value) => (Change::Gauge(*value), None),
                    Value::Counter(value) => {
                        let (more, value) = match last {
                            Some(Told::Counter(last)) if last <= *value => (value - last, *value),
                            // What was not handed over is not gone.
                            Some(Told::Counter(last)) if incomplete => (0, last),
                            _ => (*value, *value),
                        };
                        (Change::Counter(more), Some(Told::Counter(value)))
                    }
                    Value::Histogram(value) => {
                        let (samples, value) = match last {
                            Some(Told::Histogram(last)) if grew(&last, value) => {
                                (samples(Some(&last), value), value.clone())
                            }
                            Some(Told::Histogram(last)) if incomplete => (Vec::new(), last),
                            _ => (samples(None, value), value.clone()),
                        };
                        (Change::Histogram(samples), Some(Told::Histogram(value)))
                    }
                };
                if let Some(value) = now {
                    let last = Last {
                        value,
                        collector: series.collector,
                        missing: 0,
                    };
                    told.insert(key.clone(), last);
                }
                updates.push(Update { key, change });
            }
        }
        // Whose collector has gone starts from zero should it come back.
        let mut missing: HashMap<String, Vec<(Key, Last)>> = HashMap::new();
        for (key, mut last) in before {
            if snapshot.collectors.contains(&last.collector) {
                last.missing = last.missing.saturating_add(1);
                let name = key.name().to_owned();
                missing.entry(name).or_default().push((key, last));
            }
        }
        for mut series in missing.into_values() {
            series.sort_by_key(|(_, last)| last.missing);
            series.truncate(max_series);
            told.extend(series);
        }
        updates
    }
}

struct Update {
    key: Key,
    change: Change,
}

enum Change {
    Counter(u64),
    Gauge(f64),
    /// Values, and how often each.
    Histogram(Vec<(f64, usize)>),
}

impl Update {
    fn send(&self, recorder: &dyn metrics::Recorder) {
        match &self.change {
            Change::Counter(more) => recorder
                .register_counter(&self.key, &METADATA)
                .increment(*more),
            Change::Gauge(value) => recorder.register_gauge(&self.key, &METADATA).set(*value),
            Change::Histogram(samples) => {
                let histogram = recorder.register_histogram(&self.key, &METADATA);
                for (value, times) in samples {
                    histogram.record_many(*value, *times);
                }
            }
        }
    }
}

fn describe(recorder: &dyn metrics::Recorder, family: &Family) {
    let name = KeyName::from(family.name.clone());
    let desc: &'static Desc = family.desc;
    let unit = Some(match desc.unit() {
        Unit::Seconds => metrics::Unit::Seconds,
        Unit::Bytes => metrics::Unit::Bytes,
        // The facade knows no fraction of one.
        Unit::Count | Unit::Ratio => metrics::Unit::Count,
    });
    match desc.kind() {
        crate::Kind::Counter => recorder.describe_counter(name, unit, desc.help().into()),
        crate::Kind::Gauge => recorder.describe_gauge(name, unit, desc.help().into()),
        crate::Kind::Histogram => recorder.describe_histogram(name, unit, desc.help().into()),
    }
}

fn key(snapshot: &Snapshot, family: &Family, series: &Series) -> Key {
    let base = snapshot
        .base_labels()
        .map(|(name, value)| Label::new(name.to_owned(), value.to_owned()));
    let own = family
        .labels(series)
        .map(|(name, value)| Label::new(name.to_owned(), value.to_owned()));
    Key::from_parts(family.name.clone(), base.chain(own).collect::<Vec<_>>())
}

/// Whether a histogram may have come from another by recording.
fn grew(before: &HistogramSnapshot, now: &HistogramSnapshot) -> bool {
    let mut counts = before.counts().iter().zip(now.counts());
    before.bounds() == now.bounds() && counts.all(|(before, now)| before <= now)
}

/// The values recorded since `before`, from which `now` grew, made up so that each lies in its
/// bucket and, where the buckets allow, all add up to the sum.
///
/// All finite buckets place theirs at the same fraction of their width; values above the last
/// bound take up what is then missing in the sum, so that the fraction leaves enough for them.
fn samples(before: Option<&HistogramSnapshot>, now: &HistogramSnapshot) -> Vec<(f64, usize)> {
    let zero = vec![0; now.counts().len()];
    let (counts, sum) = before.map_or((&*zero, 0.0), |b| (b.counts(), b.sum()));
    let sum = now.sum() - sum;
    let new: Vec<u64> = now
        .counts()
        .iter()
        .zip(counts)
        .map(|(now, before)| now.saturating_sub(*before))
        .collect();
    let bounds = now.bounds();
    let above = new[bounds.len()];
    let lower = |bucket: usize| match bucket {
        0 => bounds[0].min(0.0),
        bucket => bounds[bucket - 1],
    };
    let width = |bucket: usize| bounds[bucket] - lower(bucket);

    let total = |part: &dyn Fn(usize) -> f64| -> f64 {
        (0..bounds.len()).map(|b| new[b] as f64 * part(b)).sum()
    };
    let (floor, room) = (total(&lower), total(&width));
    let fraction = if room <= 0.0 {
        0.5
    } else {
        let most = if above > 0 { 0.5 } else { 1.0 };
        let last = bounds[bounds.len() - 1];
        // Above 0: the lower bound belongs to the bucket below.
        ((sum - floor - above as f64 * last) / room).clamp(1e-9, most)
    };

    let mut samples = Vec::new();
    for (bucket, &count) in new.iter().enumerate() {
        let value = if bucket < bounds.len() {
            (lower(bucket) + fraction * width(bucket)).min(bounds[bucket])
        } else {
            let missing = sum - floor - fraction * room;
            (missing / above as f64).max(bounds[bucket - 1].next_up())
        };
        if count > 0 {
            samples.push((value, usize::try_from(count).unwrap_or(usize::MAX)));
        }
    }
    samples
}

/// Ends a publication, also by a panic of the recorder.
struct Running<'a>(&'a AtomicBool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

static METADATA: Metadata<'static> = Metadata::new("flow", Level::INFO, None);
