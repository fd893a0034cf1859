//! The client, on a thread of its own.
//!
//! fred needs tokio: to start its tasks, and to poll a command that has a timeout. So every
//! command is a task on a private runtime of one thread, and the caller awaits its join handle,
//! which works on any executor. That also keeps a caller who stops waiting from dropping the
//! command: a command dropped from outside while the server hangs is executed later (measured:
//! 5 of 5), one that ends by fred's own timeout is not (0 of 5).
//!
//! fred's defaults wait for ever, so that all of its limits are set here. Its check for a silent
//! server starts anew with every command written, so that under steady traffic it never fires
//! and each command takes its whole timeout; we watch for answers ourselves. One task keeps the
//! client connected for good: fred gives up after a failed first attempt, and on errors it takes
//! for final, a wrong password among them, that an operator may mend while we run.
//!
//! # Invariants
//! 1. Nothing is sent while there is no connection, save that commands wait for the end of the
//!    first attempt: `settled` goes from false to true once.
//! 2. `unanswered` is zero, or the time of a command since which no answer came.
//! 3. A command is written at most once: it is never repeated after a broken connection. Only a
//!    script that the server did not know, and so did not run, is sent again, as text.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface};
use fred::prelude::{Builder, Client, Config, ReconnectPolicy};
use fred::types::config::{Options, UnresponsiveConfig};
use fred::types::{ClusterHash, CustomCommand, Value};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{ConnectError, RedisError};
use crate::store::{Reply, Script, Store};

/// The private runtime, and the client on it.
pub(crate) struct Driver {
    /// Taken out on drop only.
    runtime: Option<Runtime>,
    link: Link,
    started: Once,
}

/// What a command needs.
#[derive(Clone)]
struct Link {
    client: Client,
    timeout: Duration,
    /// Whether the first attempt to connect has ended.
    settled: Arc<watch::Sender<bool>>,
    /// What the last connection failed with.
    failure: Arc<Mutex<Option<Box<str>>>>,
    /// When the first command was sent since the last answer, in milliseconds of `epoch`.
    unanswered: Arc<AtomicU64>,
    /// When the connection was last seen to break, in milliseconds of `epoch`; or 0.
    broken: Arc<AtomicU64>,
    epoch: Instant,
}

impl Driver {
    /// Starts the thread. The client connects at the first command.
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self, ConnectError> {
        let config = config(url)?;
        let client = client(config, timeout).map_err(|error| bad_url(&error))?;
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
            link: Link {
                client,
                timeout,
                settled: Arc::new(watch::Sender::new(false)),
                failure: Arc::default(),
                unanswered: Arc::default(),
                broken: Arc::default(),
                epoch: Instant::now(),
            },
            started: Once::new(),
        })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.link.client.is_connected()
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.link.timeout
    }

    /// Hosts and ports.
    pub(crate) fn servers(&self) -> Vec<String> {
        let servers = self.link.client.client_config().server.hosts();
        servers.iter().map(ToString::to_string).collect()
    }

    /// Runs a command as a task of the private runtime.
    fn run<T, F>(&self, command: impl FnOnce(Link) -> F) -> Reply<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RedisError>> + Send + 'static,
    {
        let Some(runtime) = &self.runtime else {
            return Box::pin(core::future::ready(Err(RedisError::Stopped)));
        };
        self.started.call_once(|| {
            runtime.spawn(remember_failures(self.link.clone()));
            runtime.spawn(stay_connected(self.link.clone()));
        });
        let runtime = runtime.handle().clone();
        let command = command(self.link.clone());
        Box::pin(async move {
            // A task is cancelled only by the end of its runtime.
            let answer = runtime.spawn(command).await;
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
        self.run(move |link| async move {
            let args = |script: Value| {
                let head = [script, 1.into(), key.clone().into()];
                let args = args.iter().map(|arg| Value::Integer(*arg));
                head.into_iter().chain(args).collect()
            };
            let answer = match link.send("EVALSHA", KEY_OF_EVAL, args(sha.into())).await {
                Err(RedisError::Refused { reply }) if reply.starts_with("NOSCRIPT") => {
                    link.send("EVAL", KEY_OF_EVAL, args(text.into())).await?
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
        self.run(move |link| async move {
            let args = vec![key.into()];
            link.send("DEL", ClusterHash::FirstKey, args).await?;
            Ok(())
        })
    }

    fn ping(&self) -> Reply<()> {
        self.run(move |link| async move {
            link.send("PING", ClusterHash::Random, Vec::new()).await?;
            Ok(())
        })
    }
}

/// The name under which a server keeps a script.
pub(crate) fn script_name(text: &str) -> String {
    fred::util::sha1_hash(text)
}

impl Link {
    async fn send(
        &self,
        command: &'static str,
        hash: ClusterHash,
        args: Vec<Value>,
    ) -> Result<Value, RedisError> {
        if !*self.settled.borrow() {
            // Nothing was sent yet, so that giving up here leaves nothing behind.
            let mut settled = self.settled.subscribe();
            let first_attempt = settled.wait_for(|settled| *settled);
            if tokio::time::timeout(self.timeout, first_attempt)
                .await
                .is_err()
            {
                return Err(self.not_connected());
            }
        }
        if self.has_just_broken() {
            return Err(self.not_connected());
        }
        let options = Options {
            max_attempts: Some(1),
            timeout: Some(self.timeout),
            fail_fast: true,
            // The client looks for it here only: of a command's own it takes nothing but a slot.
            cluster_hash: Some(hash.clone()),
            ..Options::default()
        };
        let command = CustomCommand::new_static(command, hash, false);
        let client = self.client.with_options(&options);
        self.asked();
        let answer = client.custom(command, args).await;
        let error = match answer {
            Ok(answer) => {
                self.answered();
                return Ok(answer);
            }
            Err(error) => error,
        };
        Err(match error.kind() {
            ErrorKind::Timeout => {
                self.silent();
                RedisError::Timeout {
                    after: self.timeout,
                }
            }
            // What fails fast is cancelled before it is sent.
            ErrorKind::Canceled => self.not_connected(),
            ErrorKind::IO => RedisError::ConnectionLost {
                reason: error.details().into(),
            },
            _ => {
                self.answered();
                RedisError::Refused {
                    reply: error.details().into(),
                }
            }
        })
    }

    /// Milliseconds, never 0.
    fn now(&self) -> u64 {
        1 + self.epoch.elapsed().as_millis() as u64
    }

    fn asked(&self) {
        let relaxed = Ordering::Relaxed;
        // If it fails, another one has been waiting for longer.
        let _ = self
            .unanswered
            .compare_exchange(0, self.now(), relaxed, relaxed);
    }

    fn answered(&self) {
        self.unanswered.store(0, Ordering::Relaxed);
    }

    /// Whether the client may not yet say itself that the connection is gone: until its first
    /// attempt at another one it takes commands, which then wait in its queue.
    ///
    /// In a cluster it is one of several connections, and the others go on.
    fn has_just_broken(&self) -> bool {
        let broken = self.broken.load(Ordering::Relaxed);
        broken != 0
            && Duration::from_millis(self.now().saturating_sub(broken)) < FIRST_RECONNECT
            && !self.client.is_clustered()
    }

    /// A command timed out: connects anew if no other has been answered for too long. Until
    /// there is a connection again, commands then fail at once.
    fn silent(&self) {
        let since = self.unanswered.load(Ordering::Relaxed);
        let silence = Duration::from_millis(self.now().saturating_sub(since));
        if since == 0 || silence < unresponsive(self.timeout) {
            return;
        }
        // One of many that time out together does it.
        let relaxed = Ordering::Relaxed;
        if self
            .unanswered
            .compare_exchange(since, 0, relaxed, relaxed)
            .is_ok()
        {
            let link = self.clone();
            #[expect(
                clippy::disallowed_methods,
                reason = "a command runs on our own tokio thread"
            )]
            tokio::spawn(async move {
                *link.failure() = Some("the server does not answer".into());
                if let Err(error) = link.client.force_reconnection().await {
                    link.failed(&error);
                }
            });
        }
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

    fn failed(&self, error: &Error) {
        *self.failure() = Some(error.details().into());
    }
}

/// Connects, and again whenever the client has given up.
async fn stay_connected(link: Link) {
    loop {
        match link.client.init().await {
            Ok(connection) => {
                link.settled.send_replace(true);
                // Ends when the client gives up reconnecting by itself.
                if let Ok(Err(error)) = connection.await {
                    link.failed(&error);
                }
            }
            Err(error) => {
                link.failed(&error);
                link.settled.send_replace(true);
            }
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "this task runs on our own tokio thread"
        )]
        tokio::time::sleep(RETRY).await;
    }
}

/// Keeps when the last connection broke, and what with.
async fn remember_failures(link: Link) {
    use tokio::sync::broadcast::error::RecvError;

    let mut errors = link.client.error_rx();
    loop {
        match errors.recv().await {
            Ok((error, _)) => {
                link.broken.store(link.now(), Ordering::Relaxed);
                link.failed(&error);
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
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
    Ok(config)
}

fn client(config: Config, timeout: Duration) -> Result<Client, Error> {
    let mut builder = Builder::from_config(config);
    builder
        .with_performance_config(|performance| performance.default_command_timeout = timeout)
        .with_connection_config(|connection| {
            connection.connection_timeout = CONNECT_TIMEOUT;
            connection.internal_command_timeout = CONNECT_TIMEOUT;
            connection.max_command_attempts = 1;
            connection.max_command_buffer_len = MAX_QUEUED;
            connection.unresponsive = UnresponsiveConfig {
                max_timeout: Some(unresponsive(timeout)),
                interval: UNRESPONSIVE / 5,
            };
        })
        .set_policy(ReconnectPolicy::new_exponential(0, 10, 500, 2));
    builder.build()
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

/// Where the key stands among the arguments of EVAL and EVALSHA.
const KEY_OF_EVAL: ClusterHash = ClusterHash::Offset(2);

/// Between attempts to connect after the client has given up.
const RETRY: Duration = Duration::from_millis(200);

/// How long the thread that resolves names stays for more.
const RESOLVER_IDLE: Duration = Duration::from_secs(1);

/// By then the client has tried to connect anew: after 10 ms, and 50 of jitter at the most.
const FIRST_RECONNECT: Duration = Duration::from_millis(100);

/// How long connecting and greeting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The least silence after which a connection is given up. Until then each command takes its
/// timeout; after that they fail at once.
const UNRESPONSIVE: Duration = Duration::from_secs(1);

/// Commands on their way to the socket.
const MAX_QUEUED: usize = 10_000;
