//! A hyper service behind the layers, on smol's sockets: no runtime but smol, and no framework.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use flow_ratelimit::fields::{Policy, PolicyError, TrustedProxies};
use flow_ratelimit::{ConcurrencyLayer, ConcurrencyLimiter, KeyedLimiter, RateLimitLayer};
use flow_rt::Handle;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use smol::net::TcpListener;
use smol_hyper::rt::FuturesIo;
use tower::{Service, ServiceBuilder, ServiceExt};

/// Where a connection comes from, as its requests carry it.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Says hello, to each client as often as the limiter has it, and to 100 at once.
pub(crate) fn hello(
    per_client: &KeyedLimiter<std::net::IpAddr>,
    proxies: TrustedProxies,
) -> Result<
    impl Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static,
    PolicyError,
> {
    let policy = Policy::of("client", per_client)?;
    let client = move |request: &Request<Incoming>| {
        let Peer(peer) = request.extensions().get()?;
        proxies.client(peer.ip(), request.headers())
    };
    let at_once = ConcurrencyLimiter::new(100).expect("neither zero nor too large");
    Ok(ServiceBuilder::new()
        .layer(
            RateLimitLayer::keyed(per_client, client)
                .policy(policy)
                .problem_json(),
        )
        .layer(ConcurrencyLayer::new(&at_once))
        .service(tower::service_fn(async |_: Request<Incoming>| {
            Ok::<_, Infallible>(Response::new(Full::from("hello\n")))
        })))
}

/// Serves for ever.
pub(crate) async fn serve<S>(rt: Handle, listener: TcpListener, service: S) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    loop {
        let (stream, addr) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service.clone();
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(addr));
            service.clone().oneshot(request)
        });
        let connection = http1::Builder::new().serve_connection(FuturesIo::new(stream), answer);
        // A client that breaks off harms nobody else.
        rt.spawn(async move { drop(connection.await) }).detach();
    }
}
