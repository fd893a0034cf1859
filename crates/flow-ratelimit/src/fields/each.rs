//! The policies of several limits that decide together.

use core::time::Duration;
use std::sync::Arc;

use flow_rt::Clock;
use http::{HeaderMap, HeaderValue};

use super::named::{Named, quota_and_window};
use super::policy::PolicyError;
use super::server::available;
use super::{RATELIMIT, RATELIMIT_POLICY};
use crate::error::Denied;
use crate::granted::Granted;
use crate::multi_bucket::MultiBucket;
use crate::rate::Rate;

/// A name for each limit, and the limits.
#[derive(Clone)]
pub(super) struct Each {
    /// With the burst and the rate that it had first.
    items: Box<[(Named, (u64, Rate))]>,
    limits: Arc<dyn Limits>,
}

/// Several limits, of which it can be said how they stand.
pub(super) trait Limits: Send + Sync {
    /// How each stands, all at one instant, in their order.
    fn stand(&self) -> Vec<Stand>;
}

/// How one limit stands.
pub(crate) struct Stand {
    pub(crate) rate: Rate,
    /// What somebody would be told who had been granted nothing.
    pub(crate) left: Granted,
    /// When there is a token.
    pub(crate) next: Denied,
}

impl<C: Clock + 'static> Limits for MultiBucket<C> {
    fn stand(&self) -> Vec<Stand> {
        self.stand_of_each()
    }
}

impl Stand {
    fn quota(&self) -> (u64, Rate) {
        (self.left.limit(), self.rate)
    }
}

impl Each {
    pub(super) fn new(names: &[&str], limits: Arc<dyn Limits>) -> Result<Self, PolicyError> {
        let stand = limits.stand();
        if names.len() != stand.len() {
            return Err(PolicyError::NamesForLimits {
                given: names.len(),
                limits: stand.len(),
            });
        }
        let items = names.iter().zip(&stand).enumerate();
        let items = items.map(|(index, (&name, stand))| {
            if names[..index].contains(&name) {
                return Err(PolicyError::TwoOfOneName { name: name.into() });
            }
            let (quota, window) = quota_and_window(stand.quota());
            Ok((Named::new(name, quota, window)?, stand.quota()))
        });
        Ok(Self {
            items: items.collect::<Result<_, _>>()?,
            limits,
        })
    }

    /// The first one's.
    pub(super) fn name(&self) -> &str {
        self.items.first().map_or("", |(named, _)| named.name())
    }

    /// Tells of each limit by both fields; and returns the burst of the one with the least left.
    ///
    /// If somebody was denied, none are left of a limit until the next one comes, else until it is
    /// full.
    pub(super) fn add(&self, is_denied: bool, headers: &mut HeaderMap) -> Option<u64> {
        let stand = self.limits.stand();
        for ((named, first), stand) in self.items.iter().zip(&stand) {
            let left = stand.left.remaining();
            let reset = if is_denied && left == 0 {
                stand.next.retry_after().unwrap_or(Duration::MAX)
            } else {
                stand.left.reset_after()
            };
            if let Some(limit) = available(named.quoted(), left, reset) {
                headers.append(&RATELIMIT, limit);
            }
            if let Some(policy) = named.field_of(*first, stand.quota()) {
                headers.append(&RATELIMIT_POLICY, policy);
            }
        }
        let least = stand.iter().map(|stand| &stand.left);
        least
            .min_by_key(|left| left.remaining())
            .map(Granted::limit)
    }

    /// The names of the limits that have the least left: none, if somebody was denied just now.
    #[cfg(feature = "tower")]
    pub(super) fn violated(&self) -> Vec<&str> {
        let stand = self.limits.stand();
        let least = stand.iter().map(|stand| stand.left.remaining()).min();
        let items = self.items.iter().zip(&stand);
        let violated = items.filter(|(_, stand)| Some(stand.left.remaining()) == least);
        violated.map(|((named, _), _)| named.name()).collect()
    }

    /// The items of `RateLimit-Policy`.
    pub(super) fn fields(&self) -> Vec<Option<HeaderValue>> {
        let stand = self.limits.stand();
        let items = self.items.iter().zip(&stand);
        let fields = items.map(|((named, first), stand)| named.field_of(*first, stand.quota()));
        fields.collect()
    }
}
