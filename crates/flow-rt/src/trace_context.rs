//! The identity of a request in a distributed trace, in the form of the header `traceparent`.

use core::fmt;
use core::num::{NonZeroU64, NonZeroU128};
use core::str::FromStr;

/// Which trace, and which span of it, a task belongs to: the header `traceparent` as a value.
///
/// flow carries it from task to task and starts no spans; whoever does replaces the span by
/// [`with_span_id`](Self::with_span_id) and sends the text on.
///
/// ```
/// use flow_rt::TraceContext;
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let trace: TraceContext = header.parse()?;
/// assert!(trace.is_sampled());
/// assert_eq!(trace.span_id().get(), 0x00f0_67aa_0ba9_02b7);
/// assert_eq!(trace.to_string(), header);
/// # Ok::<_, flow_rt::TraceContextError>(())
/// ```
///
/// # Source
/// [W3C Trace Context](https://www.w3.org/TR/trace-context/), section *traceparent header*. Parsing is
/// strict, as it demands: lower-case digits only, no zero ids, no version `ff`. A version above
/// 00 is read as far as version 00 goes, and written as 00. Of the flags, *sampled* and *random*
/// are kept; the others are undefined and cleared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    // Halves, so that the whole is no more aligned than a word.
    trace_id: [u64; 2],
    span_id: NonZeroU64,
    flags: u8,
}

impl TraceContext {
    /// A span of a trace, with no flag set.
    pub const fn new(trace_id: NonZeroU128, span_id: NonZeroU64) -> Self {
        let trace_id = trace_id.get();
        Self {
            trace_id: [(trace_id >> 64) as u64, trace_id as u64],
            span_id,
            flags: 0,
        }
    }

    /// The same trace, in another span: what a child is sent.
    pub const fn with_span_id(mut self, span_id: NonZeroU64) -> Self {
        self.span_id = span_id;
        self
    }

    /// The same span, recorded or not.
    pub const fn with_sampled(mut self, sampled: bool) -> Self {
        self.flags = self.flags & !SAMPLED | if sampled { SAMPLED } else { 0 };
        self
    }

    /// The trace, never zero.
    pub const fn trace_id(&self) -> u128 {
        (self.trace_id[0] as u128) << 64 | self.trace_id[1] as u128
    }

    /// The span; the header calls it *parent-id*.
    pub const fn span_id(&self) -> NonZeroU64 {
        self.span_id
    }

    /// Whether the caller may have recorded the trace.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The flags that are defined: bit 0 *sampled*, bit 1 *random*.
    pub const fn flags(&self) -> u8 {
        self.flags
    }
}

impl FromStr for TraceContext {
    type Err = TraceContextError;

    fn from_str(text: &str) -> Result<Self, TraceContextError> {
        if let Some((at, given)) = text.char_indices().find(|(_, c)| !c.is_ascii()) {
            return Err(TraceContextError::Character { at, given });
        }
        let length = TraceContextError::Length { given: text.len() };
        if text.len() < LENGTH {
            return Err(length);
        }
        let bytes = text.as_bytes();
        let version = digits(bytes, 0, 2)?;
        let trace_id = [digits(bytes, 3, 16)?, digits(bytes, 19, 16)?];
        let span_id = digits(bytes, 36, 16)?;
        let flags = digits(bytes, 53, 2)?;
        let more = (text.len() > LENGTH).then_some(LENGTH);
        for at in [2, 35, 52].into_iter().chain(more) {
            if bytes[at] != b'-' {
                return Err(TraceContextError::Character {
                    at,
                    given: char::from(bytes[at]),
                });
            }
        }
        match version {
            0xFF => return Err(TraceContextError::Version),
            0 if more.is_some() => return Err(length),
            _ => {}
        }
        if trace_id == [0, 0] {
            return Err(TraceContextError::ZeroTraceId);
        }
        Ok(Self {
            trace_id,
            span_id: NonZeroU64::new(span_id).ok_or(TraceContextError::ZeroSpanId)?,
            flags: flags as u8 & (SAMPLED | RANDOM),
        })
    }
}

/// The number at `from`, of so many lower-case hexadecimal digits.
fn digits(bytes: &[u8], from: usize, count: usize) -> Result<u64, TraceContextError> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().enumerate().skip(from).take(count) {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => {
                return Err(TraceContextError::Character {
                    at,
                    given: char::from(byte),
                });
            }
        };
        value = value << 4 | u64::from(digit);
    }
    Ok(value)
}

impl fmt::Display for TraceContext {
    /// The header's value, in version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [high, low] = self.trace_id;
        let (span, flags) = (self.span_id, self.flags);
        write!(f, "00-{high:016x}{low:016x}-{span:016x}-{flags:02x}")
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({self})")
    }
}

/// Why a text is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceContextError {
    /// It is too short, or version 00 goes on after its end.
    Length {
        /// Its length in bytes.
        given: usize,
    },
    /// A character is not the digit or the dash that belongs there.
    Character {
        /// Where, in bytes from the start.
        at: usize,
        /// What stands there.
        given: char,
    },
    /// The version is `ff`, which is forbidden.
    Version,
    /// The trace id is zero.
    ZeroTraceId,
    /// The span id is zero.
    ZeroSpanId,
}

impl fmt::Display for TraceContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { given } => write!(
                f,
                "a traceparent has {LENGTH} characters (more only in versions above 00), given \
                 were {given}"
            ),
            Self::Character { at, given } => write!(
                f,
                "{given:?} at byte {at} of a traceparent: it has the form \
                 version-trace-parent-flags, in hexadecimal digits 0-9 and a-f"
            ),
            Self::Version => f.write_str("version ff of a traceparent is forbidden"),
            Self::ZeroTraceId => f.write_str("the trace id of a traceparent must not be zero"),
            Self::ZeroSpanId => f.write_str("the parent id of a traceparent must not be zero"),
        }
    }
}

impl std::error::Error for TraceContextError {}

const LENGTH: usize = 55;
const SAMPLED: u8 = 0b01;
const RANDOM: u8 = 0b10;
