//! The fields of HTTP that tell of limits: written by servers, read and obeyed by clients.
//!
//! | field | says | since |
//! |---|---|---|
//! | `RateLimit-Policy` | what a client is allowed: `"api";q=100;w=60` | draft-ietf-httpapi-ratelimit-headers-11 |
//! | `RateLimit` | what is left of it: `"api";r=42;t=35` | the same |
//! | `Retry-After` | when to come back | RFC 9110 |
//! | `x-ratelimit-limit`, `-remaining`, `-reset` | the same in the old way, only if [asked for](Fields::legacy) | custom |
//!
//! | item | for |
//! |---|---|
//! | [`Fields`], [`Policy`] | a server's responses; the layers of the feature `tower` write them by themselves |
//! | [`TrustedProxies`], [`by_header`] | who a request is from |
//! | [`service_limits`], [`quota_policies`], [`retry_after`] | what a response says |
//! | [`Pace`] | a client that keeps to it |
//!
//! Numbers are whole, and times whole seconds that are rounded up: who waits as long as they say has
//! waited long enough. A token bucket is told of as a quota of its burst, and as window the time in
//! which that comes again; what is left, with the time until the bucket is full. The limits of a
//! `MultiBucket` are told of one by one: [`Policy::of_each`].
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use flow_ratelimit::TokenBucket;
//! use flow_ratelimit::fields::{Fields, Policy, service_limits};
//! use http::HeaderMap;
//!
//! let bucket = TokenBucket::builder().rate("1/s").burst(10).build()?;
//! let fields = Fields::new().policy(Policy::of("api", &bucket)?);
//!
//! let mut headers = HeaderMap::new();
//! fields.add_granted(&bucket.try_acquire()?, &mut headers);
//! assert_eq!(headers["ratelimit-policy"], "\"api\";q=10;w=10");
//! assert_eq!(headers["ratelimit"], "\"api\";r=9;t=1");
//! assert_eq!(service_limits(&headers)[0].available, 9);
//! # Ok(())
//! # }
//! ```

mod client;
mod date;
mod each;
mod item;
mod named;
mod origin;
mod pace;
mod policy;
#[cfg(feature = "tower")]
pub(crate) mod problem;
mod server;
mod structured;

pub use client::{QuotaPolicy, ServiceLimit, quota_policies, retry_after, service_limits};
pub(crate) use each::Stand;
pub use origin::{ProxyError, TrustedProxies, by_header};
pub use pace::Pace;
pub use policy::{Advertise, Policy, PolicyError};
pub use server::Fields;
#[cfg(feature = "tower")]
pub(crate) use server::retry_after_field;

use http::HeaderName;

static RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
