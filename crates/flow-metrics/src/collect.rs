//! How a primitive hands over its values.

use crate::desc::Desc;
use crate::histogram::HistogramSnapshot;

/// Label names and values of one series: every label that the [`Desc`] declares, in any order.
///
/// Values come from what an operator configured, such as the limiter's name; never from a
/// client, whose inventiveness would become the number of series.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

/// Something that has values to show.
///
/// A registry calls it from whichever thread collects, under no lock of the registry's; a panic
/// in it is contained and counted.
pub trait Collect: Send + Sync {
    /// The catalogue entries this may hand over, checked at registration.
    fn descriptions(&self) -> &'static [Desc];

    /// Hands over the values of now.
    ///
    /// A sample whose [`Desc`] is not among the descriptions, is of another kind or lacks a
    /// label is left out and counted in `flow_metrics_rejected_samples_total`.
    fn collect(&self, out: &mut dyn Sink);
}

/// What takes the values at a collection.
pub trait Sink {
    /// A number that only grows.
    fn counter(&mut self, desc: &'static Desc, labels: Labels<'_>, value: u64);

    /// A number that goes up and down.
    fn gauge(&mut self, desc: &'static Desc, labels: Labels<'_>, value: f64);

    /// A distribution.
    fn histogram(&mut self, desc: &'static Desc, labels: Labels<'_>, value: &HistogramSnapshot);
}
