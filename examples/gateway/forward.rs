//! The way to the upstream: kept connections, and what a request loses and gains on it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flow_rt::Handle;
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE, UPGRADE};
use hyper::{Request, Response, Uri};

use crate::net::Net;
use crate::options::Upstream;
use crate::progress::{Progress, Upload};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Sender = client::SendRequest<Upload>;

/// Idle connections kept to the upstream.
const IDLE_CONNECTIONS: usize = 64;

/// Headers that are about one connection, and end with it.
static HOP_BY_HOP: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    UPGRADE,
];

/// The upstream, and the connections to it.
pub(crate) struct Forwarder {
    net: Net,
    rt: Handle,
    upstream: Upstream,
    /// The upstream's name, as requests to it carry it.
    host: HeaderValue,
    idle: Mutex<Vec<Sender>>,
}

impl Forwarder {
    pub(crate) fn new(net: Net, rt: &Handle, upstream: Upstream) -> Result<Self, Failure> {
        Ok(Self {
            net,
            rt: rt.clone(),
            host: HeaderValue::from_str(&upstream.authority)?,
            upstream,
            idle: Mutex::new(Vec::new()),
        })
    }

    /// Forgets connections that the upstream has closed: they would lie here until the next request.
    pub(crate) fn forget_closed(&self) {
        self.idle().retain(|sender| !sender.is_closed());
    }

    /// Asks the upstream; ready when its answer begins.
    pub(crate) async fn forward(
        &self,
        mut request: Request<Incoming>,
        progress: &Arc<Progress>,
    ) -> Result<Response<Incoming>, Failure> {
        let prefix = &self.upstream.prefix;
        if !prefix.is_empty() || request.uri().authority().is_some() {
            let path = request.uri().path_and_query();
            let path = path.map_or("/", |path| path.as_str());
            *request.uri_mut() = Uri::try_from(format!("{prefix}{path}"))?;
        }
        let headers = request.headers_mut();
        end_hop(headers);
        headers.insert(HOST, self.host.clone());
        let request = request.map(|body| Upload::new(body, progress.clone()));
        let (mut response, sender) = self.send(request).await?;
        end_hop(response.headers_mut());
        let mut idle = self.idle();
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(sender);
        }
        Ok(response)
    }

    /// Sends over a kept connection, and over a new one if the upstream had closed that.
    async fn send(
        &self,
        request: Request<Upload>,
    ) -> Result<(Response<Incoming>, Sender), Failure> {
        let Some(mut sender) = self.kept() else {
            return Box::pin(self.send_anew(request)).await;
        };
        match sender.try_send_request(request).await {
            Ok(response) => Ok((response, sender)),
            Err(mut failed) => match failed.take_message() {
                // Nothing of it was sent.
                Some(request) => Box::pin(self.send_anew(request)).await,
                None => Err(failed.into_error().into()),
            },
        }
    }

    /// Boxed by the caller: it is rare, and its many states would be room in every request.
    async fn send_anew(
        &self,
        request: Request<Upload>,
    ) -> Result<(Response<Incoming>, Sender), Failure> {
        let connection = self.net.connect(&self.upstream.authority).await?;
        let (mut sender, driver) = client::handshake(connection).await?;
        self.rt.spawn(driver).detach();
        Ok((sender.send_request(request).await?, sender))
    }

    /// A connection whose last answer has been read.
    fn kept(&self) -> Option<Sender> {
        let mut idle = self.idle();
        idle.retain(|sender| !sender.is_closed());
        let ready = idle.iter().position(client::SendRequest::is_ready)?;
        Some(idle.swap_remove(ready))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Sender>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes out what ends with a hop: the headers above, and those that `connection` names.
fn end_hop(headers: &mut HeaderMap) {
    // One look at the few names there are costs less than five searches.
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
    let mut named = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for name in value.as_bytes().split(|byte| *byte == b',') {
            named.extend(HeaderName::from_bytes(name.trim_ascii()));
        }
    }
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}
