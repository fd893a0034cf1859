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

/// By the names as they are kept: most are a number, and compared as one.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

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

    /// Asks the upstream, over a kept connection if there is one; ready when its answer begins.
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
        let mut response = match self.kept() {
            None => Box::pin(self.send_anew(request)).await?,
            Some(mut sender) => match sender.try_send_request(request).await {
                Ok(response) => {
                    self.keep(sender);
                    response
                }
                // The upstream had closed the connection: nothing of the request was sent.
                Err(mut failed) => match failed.take_message() {
                    Some(request) => Box::pin(self.send_anew(request)).await?,
                    None => return Err(failed.into_error().into()),
                },
            },
        };
        end_hop(response.headers_mut());
        Ok(response)
    }

    /// Sends over a new connection.
    ///
    /// Boxed by the caller: it is rare, and its many states would be room in every request.
    async fn send_anew(&self, request: Request<Upload>) -> Result<Response<Incoming>, Failure> {
        let connection = self.net.connect(&self.upstream.authority).await?;
        let (mut sender, driver) = client::handshake(connection).await?;
        self.rt.spawn(driver).detach();
        let response = sender.send_request(request).await?;
        self.keep(sender);
        Ok(response)
    }

    /// Keeps a connection whose answer has begun, for the next request.
    fn keep(&self, sender: Sender) {
        let mut idle = self.idle();
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(sender);
        }
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
    if !headers.keys().any(is_hop_by_hop) {
        // As most of the time.
        return;
    }
    let ends = headers.keys().filter(|name| is_hop_by_hop(name));
    let mut ends: Vec<HeaderName> = ends.cloned().collect();
    for value in headers.get_all(CONNECTION) {
        for name in value.as_bytes().split(|byte| *byte == b',') {
            ends.extend(HeaderName::from_bytes(name.trim_ascii()));
        }
    }
    for name in ends {
        headers.remove(name);
    }
}
