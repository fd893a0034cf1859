//! Who is collected from, and for how long.
//!
//! # Invariants
//! 1. Every name in the catalogue is one that a registered collector declares, and all of them
//!    declare it alike.
//! 2. A collector is called with no lock held: it may register, unregister and collect.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::collect::{Collect, Sink};
use crate::counter::Counter;
use crate::desc::{self, Desc};
use crate::error::{RegisterError, RegistryError};
use crate::gather::Gather;
use crate::publish::Published;
use crate::snapshot::Snapshot;

/// Collectors, with the names they use. Clones are the same registry; two registries have
/// nothing in common.
///
/// Series that two collectors hand over with the same name and labels are added together
/// (of ratios, the larger counts), so give each primitive its own name.
///
/// See the [crate's example](crate).
#[derive(Clone)]
pub struct Registry(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    /// With its `_`, or empty.
    prefix: String,
    base_labels: Arc<[(String, String)]>,
    pub(crate) max_series: usize,
    state: Mutex<State>,
    rejected: Counter,
    panics: Counter,
    pub(crate) published: Published,
}

#[derive(Default)]
struct State {
    collectors: BTreeMap<u64, Entry>,
    /// Each name, and how many collectors declare it.
    catalogue: HashMap<&'static str, (&'static Desc, usize)>,
    next: u64,
}

/// A collector, and what it said it collects: it is asked once.
struct Entry {
    collector: Arc<dyn Collect>,
    descriptions: &'static [Desc],
}

impl Registry {
    /// A registry without prefix and base labels.
    pub fn new() -> Self {
        Self::with(String::new(), Arc::default(), DEFAULT_MAX_SERIES)
    }

    /// A registry with settings.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    fn with(prefix: String, base_labels: Arc<[(String, String)]>, max_series: usize) -> Self {
        Self(Arc::new(Shared {
            prefix,
            base_labels,
            max_series,
            state: Mutex::default(),
            rejected: Counter::new(),
            panics: Counter::new(),
            published: Published::default(),
        }))
    }

    /// Adds a collector until the registration is dropped.
    ///
    /// # Errors
    /// [`RegisterError`] if a description breaks a rule, or uses a name that is in use with
    /// another kind or other labels. The registry is then as it was.
    pub fn register(&self, collector: Arc<dyn Collect>) -> Result<Registration, RegisterError> {
        let descriptions = collector.descriptions();
        let mut state = self.0.state();
        for (at, desc) in descriptions.iter().enumerate() {
            desc.check()?;
            for (label, _) in self.0.base_labels.iter() {
                if let Some(label) = desc.labels().iter().find(|name| *name == label) {
                    let name = desc.name();
                    return Err(RegisterError::BaseLabel { name, label });
                }
            }
            let before = descriptions[..at].iter().chain(OWN);
            let registered = state.catalogue.get(desc.name()).map(|(desc, _)| *desc);
            let same_name = |other: &&Desc| other.name() == desc.name();
            if let Some(registered) = registered.or_else(|| before.into_iter().find(same_name))
                && (registered.kind(), registered.labels()) != (desc.kind(), desc.labels())
            {
                let given = desc;
                return Err(RegisterError::Conflict { given, registered });
            }
        }
        for desc in descriptions {
            state.catalogue.entry(desc.name()).or_insert((desc, 0)).1 += 1;
        }
        let id = state.next;
        state.next += 1;
        let entry = Entry {
            collector,
            descriptions,
        };
        state.collectors.insert(id, entry);
        Ok(Registration {
            registry: Arc::downgrade(&self.0),
            id,
        })
    }

    /// Asks every collector for its values of now.
    ///
    /// Two metrics are the registry's own: `flow_metrics_rejected_samples_total` counts samples
    /// that did not fit the catalogue or were beyond the limit of series, and
    /// `flow_metrics_collector_panics_total` counts collectors that panicked; what such a one
    /// had handed over before stays in.
    ///
    /// # Cost
    /// That of the collectors, and an allocation or two per series: for every few seconds.
    pub fn collect(&self) -> Snapshot {
        let (collectors, mut gather) = {
            let state = self.0.state();
            let entries = state.collectors.iter();
            let collectors: Vec<_> = entries
                .map(|(id, entry)| (*id, entry.collector.clone(), entry.descriptions))
                .collect();
            let catalogue = state.catalogue.values().map(|(desc, _)| *desc).chain(OWN);
            (collectors, Gather::new(catalogue, self.0.max_series))
        };
        let mut asked = BTreeSet::from([Gather::REGISTRY]);
        for (id, collector, descriptions) in collectors {
            asked.insert(id);
            gather.from(id);
            // The sink is sound after a panic: it holds whole samples only.
            let collected = catch_unwind(AssertUnwindSafe(|| collector.collect(&mut gather)));
            if collected.is_err() {
                self.0.panics.increment();
                gather.cut_short(descriptions);
            }
        }
        self.0.rejected.add(gather.take_rejected());
        gather.from(Gather::REGISTRY);
        gather.counter(&OWN[0], &[], self.0.rejected.get());
        gather.counter(&OWN[1], &[], self.0.panics.get());
        Snapshot {
            incomplete: gather.incomplete(&self.0.prefix),
            families: gather.finish(&self.0.prefix),
            collectors: asked,
            base_labels: self.0.base_labels.clone(),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No statement under the lock can panic half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unregister(&self, id: u64) {
        let removed = {
            let mut state = self.state();
            let removed = state.collectors.remove(&id);
            for desc in removed.iter().flat_map(|gone| gone.descriptions) {
                if let Some((_, users)) = state.catalogue.get_mut(desc.name()) {
                    *users -= 1;
                    if *users == 0 {
                        state.catalogue.remove(desc.name());
                    }
                }
            }
            removed
        };
        // Its own drop may come back here: no lock is held.
        drop(removed);
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (collectors, names) = {
            let state = self.0.state();
            (state.collectors.len(), state.catalogue.len())
        };
        f.debug_struct("Registry")
            .field("prefix", &self.0.prefix)
            .field("base_labels", &self.0.base_labels)
            .field("max_series", &self.0.max_series)
            .field("collectors", &collectors)
            .field("names", &names)
            .finish()
    }
}

/// A collector's place in a registry, given up on drop.
#[must_use = "dropping it takes the collector out of the registry"]
pub struct Registration {
    registry: Weak<Shared>,
    id: u64,
}

impl Registration {
    /// Leaves the collector in the registry for good.
    pub fn forget(mut self) {
        self.registry = Weak::new();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.unregister(self.id);
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`Registry`].
///
/// ```
/// use flow_metrics::Registry;
///
/// let registry = Registry::builder().prefix("shop").label("region", "eu").build()?;
/// # Ok::<(), flow_metrics::RegistryError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RegistryBuilder {
    prefix: String,
    labels: Vec<(String, String)>,
    max_series: usize,
}

impl Default for RegistryBuilder {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            labels: Vec::new(),
            max_series: DEFAULT_MAX_SERIES,
        }
    }
}

impl RegistryBuilder {
    /// Puts `prefix` and an underscore before every name. Default: nothing.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Adds a label to every series.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// At most this many series per name; samples for more are counted as rejected. Default:
    /// 1,000. It keeps a label that somebody feeds with client data from filling the memory.
    pub fn max_series(mut self, max_series: usize) -> Self {
        self.max_series = max_series;
        self
    }

    /// The registry.
    ///
    /// # Errors
    /// [`RegistryError`] if the prefix or a label's name cannot be exported, a label is given
    /// twice, or `max_series` is 0.
    pub fn build(self) -> Result<Registry, RegistryError> {
        let mut prefix = self.prefix;
        if !prefix.is_empty() {
            if !desc::is_snake_case(&prefix) {
                return Err(RegistryError::Prefix { prefix });
            }
            prefix.push('_');
        }
        for (at, (label, _)) in self.labels.iter().enumerate() {
            let twice = self.labels[..at].iter().any(|(before, _)| before == label);
            let problem = desc::label_problem(label).or(twice.then_some("is given twice"));
            if let Some(problem) = problem {
                let label = label.clone();
                return Err(RegistryError::Label { label, problem });
            }
        }
        if self.max_series == 0 {
            return Err(RegistryError::ZeroMaxSeries);
        }
        Ok(Registry::with(prefix, self.labels.into(), self.max_series))
    }
}

/// What a registry says of itself.
static OWN: &[Desc] = &[
    Desc::counter(
        "flow_metrics_rejected_samples_total",
        "Samples left out: not in the catalogue, or beyond the limit of series.",
        &[],
    ),
    Desc::counter(
        "flow_metrics_collector_panics_total",
        "Collections cut short by a panic of a collector.",
        &[],
    ),
];

const DEFAULT_MAX_SERIES: usize = 1_000;
