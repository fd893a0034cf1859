//! The client, on a thread of its own.
//!
//! fred needs tokio: to start its tasks, and to poll a command that has a timeout. So every
//! command is a task on a private runtime of one thread, and the caller awaits its join handle,
//! which works on any executor. That also keeps a caller who stops waiting from dropping the
//! command: a command dropped from outside while the server hangs is executed later (measured:
//! 5 of 5), one that ends by fred's own timeout is not (0 of 5).
//!
//! fred's defaults wait for ever, so that all of its limits are set here. One task keeps the
//! client connected for good: fred gives up after a failed first attempt, and on errors it takes
//! for final, a wrong password among them, that an operator may mend while we run.
//!
//! # Invariants
//! 1. Nothing is sent while there is no connection, save that commands wait for the end of the
//!    first attempt: `settled` goes from false to true once.
//! 2. A command is written at most once: it is never repeated after a broken connection. Only a
//!    script that the server did not know, and so did not run, is sent again, as text.

use core::time::Duration;
use std::sync::{Arc, Mutex, Once, PoisonError};

use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface};
use fred::prelude::{Builder, Client, Config, ReconnectPolicy};
use fred::types::config::{Options, UnresponsiveConfig};
use fred::types::{ClusterHash, CustomCommand, Value};
use tokio::runtime::Runtime;
use tokio::sync::watch;

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
}

impl Driver {
    /// Starts the thread. The client connects at the first command.
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self, ConnectError> {
        let config = config(url)?;
        let client = client(config, timeout).map_err(|error| bad_url(&error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("flow-redis")
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
    fn script(&self, text: &'static str) -> Script {
        Script {
            text,
            sha: fred::util::sha1_hash(text),
        }
    }

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
        let options = Options {
            max_attempts: Some(1),
            timeout: Some(self.timeout),
            fail_fast: true,
            ..Options::default()
        };
        let command = CustomCommand::new_static(command, hash, false);
        let client = self.client.with_options(&options);
        client.custom(command, args).await.map_err(|error| {
            match error.kind() {
                ErrorKind::Timeout => RedisError::Timeout {
                    after: self.timeout,
                },
                // What fails fast is cancelled before it is sent.
                ErrorKind::Canceled => self.not_connected(),
                ErrorKind::IO => RedisError::ConnectionLost {
                    reason: error.details().into(),
                },
                _ => RedisError::Refused {
                    reply: error.details().into(),
                },
            }
        })
    }

    fn not_connected(&self) -> RedisError {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        RedisError::NotConnected {
            reason: failure.clone(),
        }
    }

    fn failed(&self, error: &Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        *failure = Some(error.details().into());
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
        tokio::time::sleep(RETRY).await;
    }
}

/// Keeps what the last connection failed with, for messages.
async fn remember_failures(link: Link) {
    use tokio::sync::broadcast::error::RecvError;

    let mut errors = link.client.error_rx();
    loop {
        match errors.recv().await {
            Ok((error, _)) => link.failed(&error),
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
                max_timeout: Some(UNRESPONSIVE.max(timeout.saturating_mul(2))),
                interval: UNRESPONSIVE / 5,
            };
        })
        .set_policy(ReconnectPolicy::new_exponential(0, 10, 500, 2));
    builder.build()
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

/// How long connecting and greeting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection on which an answer is out for so long is closed. Until then each command takes
/// its timeout; after that they fail at once.
const UNRESPONSIVE: Duration = Duration::from_secs(1);

/// Commands on their way to the socket.
const MAX_QUEUED: usize = 10_000;
