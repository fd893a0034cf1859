//! To and from plain threads, and with them the channels of std.

use flow_rt::BlockOnError;

use crate::channel::{Receiver, RecvBlockingError, SendBlockingError, Sender, SoleReceiver};

impl<T> Sender<T> {
    /// Sends every item of an iterator from a plain thread, which waits for room; gives how many.
    ///
    /// The receiver of a std channel is such an iterator, so this is the bridge from one:
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (std_tx, std_rx) = std::sync::mpsc::channel();
    /// let (tx, rx) = flow_stream::Channel::bounded(8)?;
    /// let bridge = std::thread::spawn(move || tx.send_all_blocking(std_rx));
    /// std_tx.send(1)?;
    /// drop(std_tx);
    /// assert_eq!((rx.recv_blocking(), rx.recv_blocking().is_err()), (Ok(1), true));
    /// assert_eq!(bridge.join().expect("it does not panic").expect("it is open"), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`send_blocking`](Self::send_blocking): the item that was refused comes back, and
    /// those behind it are in the iterator still, if that was passed with `by_ref`.
    ///
    /// # Panics
    /// Those of the iterator. What it gave before was sent.
    pub fn send_all_blocking(
        &self,
        items: impl IntoIterator<Item = T>,
    ) -> Result<u64, SendBlockingError<T>> {
        let mut sent = 0;
        for item in items {
            self.send_blocking(item)?;
            sent += 1;
        }
        Ok(sent)
    }
}

impl<T> Receiver<T> {
    /// Receives on a plain thread, which waits for items, until the channel is closed and empty,
    /// which gives `None`, or `take` refuses an item, which gives what it said.
    ///
    /// The bridge into a channel of std:
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (tx, rx) = flow_stream::Channel::bounded(8)?;
    /// let (std_tx, std_rx) = std::sync::mpsc::channel();
    /// let bridge = std::thread::spawn(move || rx.for_each_blocking(|item| std_tx.send(item)));
    /// tx.send_blocking(1)?;
    /// drop(tx);
    /// assert_eq!((std_rx.recv(), std_rx.recv().is_err()), (Ok(1), true));
    /// assert_eq!(bridge.join().expect("it does not panic")?, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// It had to wait, and the thread belongs to a runtime: nothing is lost, but what `take` has
    /// got.
    ///
    /// # Panics
    /// Those of `take`. The item that it was given goes with them; the others are in the channel
    /// still.
    pub fn for_each_blocking<E>(
        &self,
        mut take: impl FnMut(T) -> Result<(), E>,
    ) -> Result<Option<E>, BlockOnError> {
        loop {
            let item = match self.recv_blocking() {
                Ok(item) => item,
                Err(RecvBlockingError::Closed) => return Ok(None),
                Err(RecvBlockingError::MustNotBlock(refused)) => return Err(refused),
            };
            if let Err(ended) = take(item) {
                return Ok(Some(ended));
            }
        }
    }
}

impl<T> SoleReceiver<T> {
    /// Receives on a plain thread, which waits for items, until the channel is closed and empty,
    /// which gives `None`, or `take` refuses an item, which gives what it said.
    ///
    /// [`Receiver::for_each_blocking`] has an example.
    ///
    /// # Errors
    /// It had to wait, and the thread belongs to a runtime: nothing is lost, but what `take` has
    /// got.
    ///
    /// # Panics
    /// Those of `take`. The item that it was given goes with them; the others are in the channel
    /// still.
    pub fn for_each_blocking<E>(
        &mut self,
        take: impl FnMut(T) -> Result<(), E>,
    ) -> Result<Option<E>, BlockOnError> {
        self.0.for_each_blocking(take)
    }
}
