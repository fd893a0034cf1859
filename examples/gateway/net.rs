//! Sockets of the runtime that was asked for: the one thing flow leaves to the host.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use flow_rt::Handle;
use hyper_util::rt::TokioIo;

use crate::told::Told;

/// A runtime by name, with its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Net {
    Tokio,
    Smol,
    AsyncStd,
}

/// A connection, as hyper takes it.
pub(crate) trait Io: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static {}
impl<T: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static> Io for T {}

/// A connection of whichever runtime.
pub(crate) type Connection = Box<dyn Io>;

/// A listening socket.
pub(crate) enum Listener {
    Tokio(tokio::net::TcpListener),
    Smol(smol::net::TcpListener),
    AsyncStd(async_std::net::TcpListener),
}

impl Net {
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        match name {
            "tokio" => Some(Self::Tokio),
            "smol" => Some(Self::Smol),
            "async-std" => Some(Self::AsyncStd),
            _ => None,
        }
    }

    /// Starts the runtime, makes it the process's default, and runs `main` on it.
    pub(crate) fn run<F, Fut>(self, main: F) -> Result<Fut::Output, Box<dyn std::error::Error>>
    where
        F: FnOnce(Handle) -> Fut,
        Fut: Future,
    {
        match self {
            Self::Tokio => {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .enable_all()
                    .build()?;
                let handle = Handle::tokio(runtime.handle().clone())?;
                handle.set_default()?;
                Ok(runtime.block_on(main(handle)))
            }
            Self::Smol => {
                let handle = Handle::smol();
                handle.set_default()?;
                Ok(smol::block_on(main(handle)))
            }
            Self::AsyncStd => {
                let handle = Handle::async_std();
                handle.set_default()?;
                Ok(async_std::task::block_on(main(handle)))
            }
        }
    }

    pub(crate) async fn bind(self, addr: SocketAddr) -> io::Result<Listener> {
        Ok(match self {
            Self::Tokio => Listener::Tokio(tokio::net::TcpListener::bind(addr).await?),
            Self::Smol => Listener::Smol(smol::net::TcpListener::bind(addr).await?),
            Self::AsyncStd => Listener::AsyncStd(async_std::net::TcpListener::bind(addr).await?),
        })
    }

    /// Connects to `host:port`.
    pub(crate) async fn connect(self, authority: &str) -> io::Result<Connection> {
        Ok(match self {
            Self::Tokio => {
                let stream = tokio::net::TcpStream::connect(authority).await?;
                stream.set_nodelay(true)?;
                Box::new(TokioIo::new(stream))
            }
            Self::Smol => {
                let stream = smol::net::TcpStream::connect(authority).await?;
                stream.set_nodelay(true)?;
                Box::new(Told::new(stream))
            }
            Self::AsyncStd => {
                let stream = async_std::net::TcpStream::connect(authority).await?;
                stream.set_nodelay(true)?;
                Box::new(Told::new(stream))
            }
        })
    }
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<(Connection, SocketAddr)> {
        Ok(match self {
            Self::Tokio(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                (Box::new(TokioIo::new(stream)), peer)
            }
            Self::Smol(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                (Box::new(Told::new(stream)), peer)
            }
            Self::AsyncStd(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                (Box::new(Told::new(stream)), peer)
            }
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tokio(listener) => listener.local_addr(),
            Self::Smol(listener) => listener.local_addr(),
            Self::AsyncStd(listener) => listener.local_addr(),
        }
    }
}
