//! The client, on a thread of its own.
//!
//! fred needs tokio: to start its tasks, and to poll a command that has a timeout. So every
//! command is a task on a private runtime of one thread, and the caller awaits its join handle,
//! which works on any executor. That also keeps a caller who stops waiting from dropping the
//! command: a command dropped from outside while the server hangs is executed later (measured:
//! 5 of 5), one that ends by fred's own timeout is not (0 of 5).
//!
//! fred's defaults wait for ever, so that all of its limits are set here. One task keeps a client
//! connected for good, by one [`Session`] after another: fred gives up after a failed first
//! attempt, and on errors it takes for final, a wrong password among them, that an operator may
//! mend while we run; and it never gives up a server that hangs under traffic.
//!
//! In a cluster, the nodes that the address names are where we begin. From then on every node
//! that was heard of is asked for the others, by a session that reconnects and by the next one:
//! the node named may be the one that is lost.
//!
//! # Invariants
//! 1. Nothing is sent while there is no connection, save that commands wait for the end of the
//!    first attempt: `settled` goes from false to true once.
//! 2. A command is carried out at most once: it is never repeated after a broken connection.
//!    Only what a server says it did not run is sent again: a script that it did not know, as
//!    text; and once, what belongs to another node of a cluster.

mod session;

use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, RwLock};

use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike;
use fred::prelude::{
    Client, Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, ServerConfig,
};
use fred::types::cluster::ClusterRouting;
use fred::types::config::{ClusterDiscoveryPolicy, Options, Server, UnresponsiveConfig};
use fred::types::{ClusterHash, CustomCommand, Resp3Frame, Value};
use fred::util::redis_keyslot;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::Instant;

use self::session::{Node, Session};
use crate::error::{ConnectError, RedisError};
use crate::store::{Reply, Script, Store};

/// The private runtime, and what commands need of it.
pub(crate) struct Driver {
    /// Taken out on drop only.
    runtime: Option<Runtime>,
    link: Arc<Link>,
    started: Once,
}

/// What a command needs.
struct Link {
    /// The present one; locked to exchange it only.
    session: RwLock<Arc<Session>>,
    /// What the address says.
    config: Config,
    timeout: Duration,
    /// Whether the first attempt to connect has ended.
    settled: watch::Sender<bool>,
    /// What the last connection failed with.
    failure: Mutex<Option<Box<str>>>,
}

/// A command, and until when it may take.
#[derive(Clone)]
struct Request {
    command: &'static str,
    /// The hash slot of its key, if it has one.
    slot: Option<u16>,
    /// The node of a cluster that it goes to instead of the slot's.
    node: Option<Server>,
    args: Vec<Value>,
    deadline: Instant,
}

impl Driver {
    /// Starts the thread. The client connects at the first command.
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self, ConnectError> {
        let config = config(url)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("flow-redis")
            // One more thread resolves host names, and goes when it has nothing to do.
            .max_blocking_threads(1)
            .thread_keep_alive(RESOLVER_IDLE)
            .enable_all()
            .build()
            .map_err(ConnectError::Thread)?;
        Ok(Self {
            runtime: Some(runtime),
            link: Arc::new(Link::new(config, timeout)),
            started: Once::new(),
        })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.link.session().client.is_connected()
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.link.timeout
    }

    /// Hosts and ports.
    pub(crate) fn servers(&self) -> Vec<String> {
        let servers = self.link.config.server.hosts();
        servers.iter().map(ToString::to_string).collect()
    }

    /// Runs a command as a task of the private runtime, to end by the given time.
    fn run<T, F>(&self, command: impl FnOnce(Arc<Link>, Instant) -> F + Send + 'static) -> Reply<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RedisError>> + Send + 'static,
    {
        let Some(runtime) = &self.runtime else {
            return Box::pin(core::future::ready(Err(RedisError::Stopped)));
        };
        self.started.call_once(|| {
            runtime.spawn(stay_connected(self.link.clone()));
        });
        let runtime = runtime.handle().clone();
        let link = self.link.clone();
        Box::pin(async move {
            let deadline = Instant::now() + link.timeout.min(LONGEST);
            // A task is cancelled only by the end of its runtime.
            let answer = runtime.spawn(command(link, deadline)).await;
            answer.unwrap_or(Err(RedisError::Stopped))
        })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A plain drop of a runtime panics inside another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Store for Driver {
    fn eval(&self, script: &Script, key: String, args: Vec<i64>) -> Reply<i64> {
        let (text, sha) = (script.text, script.sha.clone());
        self.run(move |link, deadline| async move {
            let request = |command, script: Value| {
                let head = [script, 1.into(), key.clone().into()];
                let args = args.iter().map(|arg| Value::Integer(*arg));
                Request {
                    command,
                    slot: Some(redis_keyslot(key.as_bytes())),
                    node: None,
                    args: head.into_iter().chain(args).collect(),
                    deadline,
                }
            };
            let answer = match link.send(request("EVALSHA", sha.into())).await {
                Err(RedisError::Refused { reply }) if reply.starts_with("NOSCRIPT") => {
                    link.send(request("EVAL", text.into())).await?
                }
                answer => answer?,
            };
            match answer {
                Value::Integer(number) => Ok(number),
                other => Err(RedisError::Refused {
                    reply: format!("a script answered {:?}, not a number", other.kind()).into(),
                }),
            }
        })
    }

    fn delete(&self, key: String) -> Reply<()> {
        self.run(move |link, deadline| async move {
            let request = Request {
                command: "DEL",
                slot: Some(redis_keyslot(key.as_bytes())),
                node: None,
                args: vec![key.into()],
                deadline,
            };
            link.send(request).await?;
            Ok(())
        })
    }

    fn ping(&self) -> Reply<()> {
        self.run(move |link, deadline| async move {
            let request = Request {
                command: "PING",
                slot: None,
                node: None,
                args: Vec::new(),
                deadline,
            };
            link.send(request).await?;
            Ok(())
        })
    }
}

/// The name under which a server keeps a script.
pub(crate) fn script_name(text: &str) -> String {
    fred::util::sha1_hash(text)
}

impl Link {
    fn new(config: Config, timeout: Duration) -> Self {
        let session = Session::new(client(config.clone(), timeout));
        Self {
            session: RwLock::new(Arc::new(session)),
            config,
            timeout,
            settled: watch::Sender::new(false),
            failure: Mutex::default(),
        }
    }

    async fn send(self: &Arc<Self>, request: Request) -> Result<Value, RedisError> {
        if !*self.settled.borrow() {
            // Nothing was sent yet, so that giving up here leaves nothing behind.
            let mut settled = self.settled.subscribe();
            let first_attempt = settled.wait_for(|settled| *settled);
            let end = tokio::time::timeout_at(request.deadline, first_attempt).await;
            if end.is_err() {
                return Err(self.not_connected());
            }
        }
        match self.send_once(request.clone()).await {
            // Nothing was done, and the client has asked the cluster anew who has the slot.
            Err(RedisError::Redirected) => self.send_once(request).await,
            answer => answer,
        }
    }

    async fn send_once(self: &Arc<Self>, request: Request) -> Result<Value, RedisError> {
        let session = self.session();
        let left = request.deadline.saturating_duration_since(Instant::now());
        if session.has_just_broken() {
            return Err(self.not_connected());
        }
        if left.is_zero() {
            // The client would take it for no limit.
            return Err(self.timed_out());
        }
        let options = Options {
            max_attempts: Some(1),
            timeout: Some(left),
            fail_fast: true,
            cluster_node: request.node,
            ..Options::default()
        };
        let hash = request
            .slot
            .map_or(ClusterHash::Random, ClusterHash::Custom);
        let command = CustomCommand::new_static(request.command, hash, false);
        let client = session.client.with_options(&options);
        let node = session.node(request.slot);
        let start = Instant::now();
        let error = match client.custom_raw(command, request.args).await {
            Ok(answer) => {
                session.answered(node);
                return read(answer);
            }
            Err(error) => error,
        };
        let details = || Box::from(error.details());
        Err(match error.kind() {
            ErrorKind::Timeout => {
                self.unanswered(session, node, request.slot, start);
                self.timed_out()
            }
            // The client cannot even write: that is silence too.
            ErrorKind::Backpressure => {
                self.unanswered(session, node, request.slot, start);
                RedisError::NotConnected {
                    reason: Some("the commands sent before wait to be written".into()),
                }
            }
            // The client follows no redirection.
            ErrorKind::Routing => {
                session.answered(node);
                RedisError::Redirected
            }
            // What fails fast is cancelled before it is sent.
            ErrorKind::Canceled => self.not_connected(),
            // The rest ends a connection with all that was sent on it: an error of the socket's,
            // or a server that is loading or a replica now.
            _ => RedisError::ConnectionLost { reason: details() },
        })
    }

    /// A command got no answer. If its node has been silent for too long, the session ends; in a
    /// cluster, if another node has its slots. Until there is a connection again, commands then
    /// fail at once.
    fn unanswered(
        self: &Arc<Self>,
        session: Arc<Session>,
        node: Option<Node>,
        slot: Option<u16>,
        start: Instant,
    ) {
        let Some(node) = node else { return };
        if !session.is_silent(&node, start, unresponsive(self.timeout)) {
            return;
        }
        match (node, slot) {
            (Node::Of(silent), Some(slot)) => {
                let link = self.clone();
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a command runs on our own tokio thread"
                )]
                tokio::spawn(async move {
                    if link.is_replaced(&session, &silent, slot).await {
                        session.avoid(silent);
                        link.give_up(&session);
                    }
                });
            }
            _ => self.give_up(&session),
        }
    }

    fn give_up(&self, session: &Session) {
        *self.failure() = Some("the server does not answer".into());
        session.given_up.notify_one();
    }

    /// Whether the other nodes say that a slot is no longer the silent one's; or none of them
    /// answers either, as when the client cannot write.
    async fn is_replaced(self: &Arc<Self>, session: &Session, silent: &Server, slot: u16) -> bool {
        let routes = session.routes();
        let nodes = routes.map(|routes| routes.unique_primary_nodes());
        let others = nodes.into_iter().flatten().filter(|node| node != silent);
        for node in others {
            let request = Request {
                command: "CLUSTER",
                slot: None,
                node: Some(node.clone()),
                args: vec!["SLOTS".into()],
                deadline: Instant::now() + self.timeout.min(LONGEST),
            };
            if let Ok(answer) = self.send_once(request).await
                && let Ok(routes) = ClusterRouting::from_cluster_slots(answer, node.host)
            {
                let owner = routes.get_server(slot);
                return owner
                    .is_some_and(|owner| (&owner.host, owner.port) != (&silent.host, silent.port));
            }
        }
        true
    }

    fn session(&self) -> Arc<Session> {
        let session = self.session.read();
        session.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Locked; no statement under the lock can panic.
    fn failure(&self) -> MutexGuard<'_, Option<Box<str>>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_connected(&self) -> RedisError {
        RedisError::NotConnected {
            reason: self.failure().clone(),
        }
    }

    fn timed_out(&self) -> RedisError {
        RedisError::Timeout {
            after: self.timeout,
        }
    }

    fn failed(&self, error: &Error) {
        *self.failure() = Some(error.details().into());
    }
}

/// A server's answer, or its words of refusal.
fn read(answer: Resp3Frame) -> Result<Value, RedisError> {
    // An error is one that the server sent.
    let refused = |error: Error| RedisError::Refused {
        reply: error.details().into(),
    };
    Value::try_from(answer).map_err(refused)
}

/// Connects, and again whenever the client has given up or is given up.
async fn stay_connected(link: Arc<Link>) {
    // The nodes of the cluster, as the last session that was connected knew them.
    let mut nodes = Vec::new();
    loop {
        let session = link.session();
        tokio::select! {
            () = session.watch(&link) => {}
            () = keep(&session, &link) => {}
        }
        if let Some(routes) = session.routes() {
            nodes = routes.unique_primary_nodes();
        }
        let config = with_nodes(link.config.clone(), &nodes, session.avoided().as_ref());
        let next = Session::new(client(config, link.timeout));
        *link.session.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        #[expect(
            clippy::disallowed_methods,
            reason = "this task runs on our own tokio thread"
        )]
        tokio::time::sleep(RETRY).await;
    }
}

/// Connects, and waits for the end of the session.
async fn keep(session: &Session, link: &Link) {
    let mut connection = match session.client.init().await {
        Ok(connection) => connection,
        Err(error) => {
            link.failed(&error);
            link.settled.send_replace(true);
            return;
        }
    };
    session.learn_routes();
    link.settled.send_replace(true);
    tokio::select! {
        // The client gave up reconnecting by itself.
        end = &mut connection => {
            if let Ok(Err(error)) = end {
                link.failed(&error);
            }
        }
        // Its sockets are closed with it; what it was doing on them may never end.
        () = session.given_up.notified() => connection.abort(),
    }
}

fn config(url: &str) -> Result<Config, ConnectError> {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    let (server, topology) = match scheme.split_once(['-', '+']) {
        Some((server, topology)) => (server, Some(topology)),
        None => (scheme, None),
    };
    let known = matches!(topology, None | Some("cluster" | "sentinel" | "unix"));
    if !known || !matches!(server, "redis" | "valkey" | "rediss" | "valkeys") {
        return Err(ConnectError::Url {
            reason: format!("{scheme:?} is no scheme of Redis or Valkey"),
        });
    }
    // The client panics on this one.
    if matches!(server, "rediss" | "valkeys") && cfg!(not(feature = "tls")) {
        return Err(ConnectError::TlsDisabled);
    }
    let mut config = Config::from_url(url).map_err(|error| bad_url(&error))?;
    // The first attempt is then made at once; `stay_connected` makes the next ones.
    config.fail_fast = true;
    if let ServerConfig::Clustered { policy, .. } = &mut config.server {
        *policy = ClusterDiscoveryPolicy::UseCache;
    }
    Ok(config)
}

/// To begin with further nodes of a cluster than the address names, and without the one that
/// does not answer, if there is another: to wait for it would take [`CONNECT_TIMEOUT`].
fn with_nodes(mut config: Config, nodes: &[Server], silent: Option<&Server>) -> Config {
    if let ServerConfig::Clustered { hosts, .. } = &mut config.server {
        hosts.extend_from_slice(nodes);
        if hosts.iter().any(|host| Some(host) != silent) {
            hosts.retain(|host| Some(host) != silent);
        }
    }
    config
}

fn client(config: Config, timeout: Duration) -> Client {
    let performance = PerformanceConfig {
        default_command_timeout: timeout,
        ..PerformanceConfig::default()
    };
    let connection = ConnectionConfig {
        connection_timeout: CONNECT_TIMEOUT,
        internal_command_timeout: CONNECT_TIMEOUT,
        max_command_attempts: 1,
        // Following one, it may take another command's answer for that of its ASKING.
        max_redirections: 0,
        max_command_buffer_len: MAX_QUEUED,
        unresponsive: UnresponsiveConfig {
            max_timeout: Some(unresponsive(timeout)),
            interval: UNRESPONSIVE / 5,
        },
        ..ConnectionConfig::default()
    };
    let mut reconnect = ReconnectPolicy::new_exponential(0, 10, 500, 2);
    // Its documentation says that this is the default, which is twice that.
    reconnect.set_jitter(50);
    Client::new(config, Some(performance), Some(connection), Some(reconnect))
}

/// How long a server may be silent before its connection is given up.
fn unresponsive(timeout: Duration) -> Duration {
    UNRESPONSIVE.max(timeout.saturating_mul(2))
}

fn bad_url(error: &Error) -> ConnectError {
    ConnectError::Url {
        reason: error.details().to_owned(),
    }
}

/// An instant so far from now can be told.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Between attempts to connect after the client has given up.
const RETRY: Duration = Duration::from_millis(200);

/// How long the thread that resolves names stays for more.
const RESOLVER_IDLE: Duration = Duration::from_secs(1);

/// How long connecting and greeting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The least silence after which a connection is given up. Until then each command takes its
/// timeout; after that they fail at once.
const UNRESPONSIVE: Duration = Duration::from_secs(1);

/// Commands on their way to the socket.
const MAX_QUEUED: usize = 10_000;

#[cfg(test)]
mod tests;
