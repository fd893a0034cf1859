//! What the plain proxy takes from its runtime, natively: tasks and sockets.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use hyper_util::rt::TokioIo;

use crate::told::Told;

/// A runtime and its sockets.
pub(crate) trait Host: 'static {
    type Listener: Send + Sync;
    type Io: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static;

    /// Runs `main` on the runtime, with the workers that it has by default.
    fn run<F: Future>(main: F) -> io::Result<F::Output>;
    fn spawn(task: impl Future<Output = ()> + Send + 'static);
    fn bind(addr: SocketAddr) -> impl Future<Output = io::Result<(Self::Listener, SocketAddr)>>;
    fn accept(
        listener: &Self::Listener,
    ) -> impl Future<Output = io::Result<(Self::Io, SocketAddr)>> + Send;
    fn connect(authority: &str) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

/// The sockets of a runtime's crate: they differ in no more than in how hyper takes them.
macro_rules! sockets {
    ($runtime:ident, $io:ident) => {
        type Listener = $runtime::net::TcpListener;
        type Io = $io<$runtime::net::TcpStream>;

        async fn bind(addr: SocketAddr) -> io::Result<(Self::Listener, SocketAddr)> {
            let listener = Self::Listener::bind(addr).await?;
            let addr = listener.local_addr()?;
            Ok((listener, addr))
        }

        async fn accept(listener: &Self::Listener) -> io::Result<(Self::Io, SocketAddr)> {
            let (stream, peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(($io::new(stream), peer))
        }

        async fn connect(authority: &str) -> io::Result<Self::Io> {
            let stream = $runtime::net::TcpStream::connect(authority).await?;
            stream.set_nodelay(true)?;
            Ok($io::new(stream))
        }
    };
}

pub(crate) struct Tokio;

impl Host for Tokio {
    sockets!(tokio, TokioIo);

    fn run<F: Future>(main: F) -> io::Result<F::Output> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        Ok(runtime.block_on(main))
    }

    fn spawn(task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }
}

pub(crate) struct Smol;

impl Host for Smol {
    sockets!(smol, Told);

    fn run<F: Future>(main: F) -> io::Result<F::Output> {
        Ok(smol::block_on(main))
    }

    fn spawn(task: impl Future<Output = ()> + Send + 'static) {
        smol::spawn(task).detach();
    }
}

pub(crate) struct AsyncStd;

impl Host for AsyncStd {
    sockets!(async_std, Told);

    fn run<F: Future>(main: F) -> io::Result<F::Output> {
        Ok(async_std::task::block_on(main))
    }

    fn spawn(task: impl Future<Output = ()> + Send + 'static) {
        async_std::task::spawn(task);
    }
}
