//! A socket that is read when its runtime has said that there may be something to read.
//!
//! hyper tries to read whenever its connection's task is polled: after each part of an answer, and
//! when the upstream or the pool has answered. The sockets of smol and async-std ask the system each
//! time, into a buffer that was filled with zeros for it; that is most of the reads of a request.
//! tokio's know by themselves that there is nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};
use smol_hyper::rt::FuturesIo;

use crate::alarm::Alarm;

pub(crate) struct Told<S> {
    socket: FuturesIo<S>,
    /// What the socket wakes when it may be read.
    readable: Alarm,
}

impl<S> Told<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self {
            socket: FuturesIo::new(socket),
            readable: Alarm::default(),
        }
    }
}

impl<S: AsyncRead + Unpin> Read for Told<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { socket, readable } = &mut *self;
        readable.poll(cx.waker(), |cx| Pin::new(socket).poll_read(cx, buffer))
    }
}

impl<S: AsyncWrite + Unpin> Write for Told<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
