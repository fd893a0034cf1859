//! The peer: the same proxy in hyper alone, as one writes it without flow.
//!
//! It checks the signature, limits nothing, forwards over kept connections and writes the log
//! line inline, through a buffer as large as what the gateway writes at once. It is this same
//! program under another name, a process of its own.

use std::convert::Infallible;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Instant, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1 as client;
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE, UPGRADE};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use sha2::Sha256;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

use crate::host::{AsyncStd, Host, Smol, Tokio};

/// The argument that makes this program the proxy; a runtime, the upstream's `host:port` and the
/// log's path come after it.
pub(crate) const COMMAND: &str = "serve-plain";

type Body = Either<Incoming, Full<Bytes>>;
type Failure = Box<dyn Error + Send + Sync>;

/// Serves until SIGTERM, and then writes what is left of the log.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let served = match arguments {
        [runtime, upstream, log] => match runtime.as_str() {
            "tokio" => serve::<Tokio>(upstream, log),
            "smol" => serve::<Smol>(upstream, log),
            "async-std" => serve::<AsyncStd>(upstream, log),
            other => Err(format!("there is no runtime {other:?}").into()),
        },
        _ => Err(format!("{COMMAND} takes RUNTIME UPSTREAM LOG").into()),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the plain proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Proxy {
    upstream: String,
    /// The upstream's name, as requests to it carry it.
    host: HeaderValue,
    key: Hmac<Sha256>,
    log: Mutex<BufWriter<File>>,
    idle: Mutex<Vec<client::SendRequest<Incoming>>>,
}

/// What the gateway's writer hands over at once.
const LOG_BUFFER: usize = 64 << 10;

/// Idle connections kept to the upstream, as many as the gateway keeps.
const IDLE_CONNECTIONS: usize = 64;

static X_CLIENT: HeaderName = HeaderName::from_static("x-client");
static X_SIGNATURE: HeaderName = HeaderName::from_static("x-signature");

static HOP_BY_HOP: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    UPGRADE,
];

fn serve<H: Host>(upstream: &str, log: &str) -> Result<(), Failure> {
    let secret = std::env::var("FLOW_GATEWAY_KEY")?;
    let proxy = Arc::new(Proxy {
        upstream: upstream.to_owned(),
        host: HeaderValue::from_str(upstream)?,
        key: Hmac::new_from_slice(secret.as_bytes())?,
        log: Mutex::new(BufWriter::with_capacity(LOG_BUFFER, File::create(log)?)),
        idle: Mutex::default(),
    });
    let mut signals = Signals::new([SIGTERM])?;
    let logged = proxy.clone();
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            // The load has ended: nothing is in flight.
            let written = logged.lock_log().flush();
            std::process::exit(i32::from(written.is_err()));
        }
    });
    H::run(async {
        let (listener, addr) = H::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        println!("listening on http://{addr} without flow");
        loop {
            let (connection, peer) = H::accept(&listener).await?;
            let proxy = proxy.clone();
            H::spawn(async move {
                let service = service_fn(|request| proxy.clone().answer::<H>(peer, request));
                let serve = server::Builder::new().serve_connection(connection, service);
                // A connection that breaks is the client's affair.
                let _ = serve.await;
            });
        }
    })?
}

impl Proxy {
    async fn answer<H: Host>(
        self: Arc<Self>,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let (started, at) = (Instant::now(), SystemTime::now());
        let client = match request.headers().get(&X_CLIENT).map(HeaderValue::to_str) {
            Some(Ok(name)) if !name.is_empty() && name.len() <= 128 => name.to_owned(),
            _ => peer.ip().to_string(),
        };
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let response = if self.is_signed(method.as_str(), uri.path(), &client, request.headers()) {
            match self.forward::<H>(request).await {
                Ok(response) => response.map(Either::Left),
                Err(error) => text(StatusCode::BAD_GATEWAY, format!("upstream: {error}\n")),
            }
        } else {
            text(
                StatusCode::UNAUTHORIZED,
                "x-signature is missing or wrong\n",
            )
        };
        let at = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        // A full disk is no reason to refuse the answer.
        let _ = writeln!(
            self.lock_log(),
            "{client} - - [{}.{:06}] \"{method} {} HTTP/1.1\" {} {}us",
            at.as_secs(),
            at.subsec_micros(),
            uri.path(),
            response.status().as_u16(),
            started.elapsed().as_micros()
        );
        Ok(response)
    }

    fn is_signed(&self, method: &str, path: &str, client: &str, headers: &HeaderMap) -> bool {
        let signature = headers.get(&X_SIGNATURE);
        let Some(raw) = signature.and_then(|hex| decode(hex.as_bytes())) else {
            return false;
        };
        mac(&self.key, method, path, client)
            .verify_slice(&raw)
            .is_ok()
    }

    async fn forward<H: Host>(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Failure> {
        *request.uri_mut() = match request.uri().path_and_query() {
            Some(path) => path.clone().into(),
            None => Uri::from_static("/"),
        };
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        for name in &HOP_BY_HOP {
            headers.remove(name);
        }
        let mut sender = self.connection::<H>().await?;
        let response = sender.send_request(request).await?;
        let mut idle = self.lock_idle();
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(sender);
        }
        Ok(response)
    }

    /// A connection whose last answer has been read, or a new one.
    async fn connection<H: Host>(&self) -> Result<client::SendRequest<Incoming>, Failure> {
        {
            let mut idle = self.lock_idle();
            idle.retain(|sender| !sender.is_closed());
            if let Some(ready) = idle.iter().position(client::SendRequest::is_ready) {
                return Ok(idle.swap_remove(ready));
            }
        }
        let connection = H::connect(&self.upstream).await?;
        let (sender, driver) = client::handshake(connection).await?;
        H::spawn(async {
            // Its requests fail with it.
            let _ = driver.await;
        });
        Ok(sender)
    }

    fn lock_log(&self) -> MutexGuard<'_, BufWriter<File>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<client::SendRequest<Incoming>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The code of a request, to be finished or verified.
pub(crate) fn mac(key: &Hmac<Sha256>, method: &str, path: &str, client: &str) -> Hmac<Sha256> {
    let mut mac = key.clone();
    for part in [method, " ", path, " ", client] {
        mac.update(part.as_bytes());
    }
    mac
}

fn decode(hex: &[u8]) -> Option<[u8; 32]> {
    let mut raw = [0; 32];
    if hex.len() != 64 {
        return None;
    }
    for (byte, pair) in raw.iter_mut().zip(hex.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high * 16 + low) as u8;
    }
    Some(raw)
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::new(body.into())));
    *response.status_mut() = status;
    response
}
