//! What is going on inside flow's primitives: the types of the catalogue, cells to count in, a
//! registry, and two ways out: Prometheus text and the `metrics` facade.
//!
//! A primitive counts in its own cells and publishes when somebody collects, so an update costs
//! one atomic operation and a primitive that nobody collects from costs nothing more.
//!
//! ```
//! use std::sync::Arc;
//! use flow_metrics::{Collect, Counter, Desc, Registry, Sink};
//!
//! static CATALOGUE: &[Desc] =
//!     &[Desc::counter("shop_orders_total", "Orders taken.", &["shop"])];
//!
//! #[derive(Default)]
//! struct Shop {
//!     orders: Counter,
//! }
//!
//! impl Collect for Shop {
//!     fn descriptions(&self) -> &'static [Desc] {
//!         CATALOGUE
//!     }
//!     fn collect(&self, out: &mut dyn Sink) {
//!         out.counter(&CATALOGUE[0], &[("shop", "paris")], self.orders.get());
//!     }
//! }
//!
//! # fn main() -> Result<(), flow_metrics::RegisterError> {
//! let shop = Arc::new(Shop::default());
//! let registry = Registry::new();
//! let _registered = registry.register(shop.clone())?;
//!
//! shop.orders.add(3);
//! let now = registry.collect();
//! assert_eq!(now.counter("shop_orders_total", &[("shop", "paris")]), Some(3));
//! # Ok(())
//! # }
//! ```
//!
//! | item | for |
//! |---|---|
//! | [`Desc`], [`Kind`], [`Unit`] | one entry of a crate's catalogue, a constant |
//! | [`Collect`], [`Sink`] | how a primitive hands over its values |
//! | [`Counter`], [`Gauge`], [`Histogram`] | cells to count in |
//! | [`Registry`], [`Registration`] | who is collected from, and for how long |
//! | [`Snapshot`], [`Family`], [`Series`] | everything, as it was at one collection |
//!
//! # Features
//! - `prometheus`: `Snapshot::to_prometheus`, the text exposition format 0.0.4.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod collect;
mod counter;
mod desc;
mod error;
mod gather;
mod histogram;
#[cfg(feature = "prometheus")]
mod prometheus;
mod publish;
mod registry;
mod snapshot;
mod stripe;

pub use collect::{Collect, Labels, Sink};
pub use counter::{Counter, Gauge};
pub use desc::{Desc, Kind, Unit};
pub use error::{BoundsError, DescError, RegisterError, RegistryError};
pub use histogram::{Histogram, HistogramSnapshot};
#[cfg(feature = "prometheus")]
pub use prometheus::CONTENT_TYPE;
pub use registry::{Registration, Registry, RegistryBuilder};
pub use snapshot::{Family, Series, Snapshot, Value};
