//! Many streams into one.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};

use futures_core::stream::{FusedStream, Stream};

/// The items of several streams, as they come.
///
/// Sources of the same priority take turns: after each item the next source is asked first, so
/// none is starved however fast the others are. Sources of a higher priority are always asked
/// before those of a lower one, which starve if the higher ones never pause. A source that has
/// ended is dropped; the merged stream ends with the last of them, and one without sources is at
/// its end.
///
/// Streams of different types are merged as `Pin<Box<dyn Stream<Item = T> + Send>>`, which is also
/// how to merge streams that are not `Unpin`. Receivers can be merged as they are.
///
/// # Cancel safety
/// An item is returned by the poll that took it from its source: nothing is kept in here, and
/// dropping a `next()` loses nothing.
///
/// # Cost
/// Each poll asks sources until one has an item: all of them where none has. No allocation but for
/// the list of sources.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_stream::{Channel, Merge};
/// use futures_util::StreamExt;
///
/// let (orders, rx) = Channel::bounded(8)?;
/// let (urgent, urgent_rx) = Channel::bounded(8)?;
/// let mut merged = Merge::new().with(rx).with_priority(1, urgent_rx);
/// orders.try_send("order")?;
/// urgent.try_send("cancel it")?;
/// drop((orders, urgent));
/// let all: Vec<_> = flow_rt::block_on(merged.by_ref().collect())?;
/// assert_eq!(all, ["cancel it", "order"]);
/// # Ok(())
/// # }
/// ```
pub struct Merge<S> {
    /// In the order in which they are asked.
    groups: Vec<Group<S>>,
    /// As a stream it has said that no more will come, and no source was added since.
    ended: bool,
}

/// Sources of one priority.
struct Group<S> {
    priority: u32,
    sources: Vec<S>,
    /// Whose turn it is.
    next: usize,
}

impl<S> Merge<S> {
    /// No sources yet.
    pub const fn new() -> Self {
        Self {
            groups: Vec::new(),
            ended: false,
        }
    }

    /// Adds a source of priority 0.
    #[must_use]
    pub fn with(mut self, source: S) -> Self {
        self.push(0, source);
        self
    }

    /// Adds a source; a greater `priority` is asked earlier.
    #[must_use]
    pub fn with_priority(mut self, priority: u32, source: S) -> Self {
        self.push(priority, source);
        self
    }

    /// Adds a source, also while others are being received from.
    pub fn push(&mut self, priority: u32, source: S) {
        self.ended = false;
        let at = self
            .groups
            .partition_point(|group| group.priority > priority);
        match self.groups.get_mut(at) {
            Some(group) if group.priority == priority => group.sources.push(source),
            _ => self.groups.insert(
                at,
                Group {
                    priority,
                    sources: vec![source],
                    next: 0,
                },
            ),
        }
    }

    /// How many sources have not ended.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.sources.len()).sum()
    }

    /// Whether all sources have ended.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The sources that have not ended, those of the highest priority first.
    pub fn into_sources(self) -> impl Iterator<Item = S> {
        self.groups.into_iter().flat_map(|group| group.sources)
    }
}

impl<S> Default for Merge<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> FromIterator<S> for Merge<S> {
    fn from_iter<I: IntoIterator<Item = S>>(sources: I) -> Self {
        sources.into_iter().fold(Self::new(), Self::with)
    }
}

impl<S: Stream + Unpin> Stream for Merge<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        for group in &mut self.groups {
            if let Some(item) = group.poll(cx) {
                return Poll::Ready(Some(item));
            }
        }
        self.groups.retain(|group| !group.sources.is_empty());
        self.ended = self.groups.is_empty();
        if self.ended {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let sources = self.groups.iter().flat_map(|group| &group.sources);
        sources
            .map(Stream::size_hint)
            .fold((0, Some(0)), |sum, of| {
                let most = sum.1.zip(of.1).and_then(|(sum, of)| sum.checked_add(of));
                (sum.0.saturating_add(of.0), most)
            })
    }
}

impl<S: Stream + Unpin> Group<S> {
    /// Asks each source once, beginning with the one whose turn it is.
    fn poll(&mut self, cx: &mut Context<'_>) -> Option<S::Item> {
        let mut left = self.sources.len();
        while left > 0 {
            left -= 1;
            if self.next >= self.sources.len() {
                self.next = 0;
            }
            match Pin::new(&mut self.sources[self.next]).poll_next(cx) {
                Poll::Ready(Some(item)) => {
                    self.next += 1;
                    return Some(item);
                }
                // The one behind it is at its place now.
                Poll::Ready(None) => drop(self.sources.remove(self.next)),
                Poll::Pending => self.next += 1,
            }
        }
        None
    }
}

impl<S: Stream + Unpin> FusedStream for Merge<S> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl<S> fmt::Debug for Merge<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.groups.iter();
        let sources = sources.map(|group| (group.priority, group.sources.len()));
        f.debug_struct("Merge")
            .field("sources_by_priority", &sources.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
