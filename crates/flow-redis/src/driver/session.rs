//! One client of fred's, from its first attempt to connect until it ends or is given up.
//!
//! fred's own check for a silent server starts anew with every command written, so that under
//! steady traffic it never fires and each command takes its whole timeout; and while a full
//! socket keeps fred from writing, it checks nothing and hears nothing. So we watch for answers
//! ourselves, and end a silent client from outside: its connections are closed with it, and what
//! waits in its queue is dropped unsent. The next session begins with another client, which is
//! told the nodes of the cluster, without the silent one.
//!
//! # Silence
//! It is counted by node: the nodes of a cluster that answer say nothing of one that hangs. It
//! begins with the first command that timed out since the node's last answer.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fred::interfaces::{ClientLike, ClusterInterface, EventInterface};
use fred::prelude::Client;
use fred::types::cluster::ClusterRouting;
use fred::types::config::Server;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::Link;

pub(super) struct Session {
    pub(super) client: Client,
    /// Told once when the session is to end.
    pub(super) given_up: Notify,
    state: Mutex<State>,
}

/// No statement under its lock can panic.
#[derive(Default)]
struct State {
    /// Which node has which slots; none outside of a cluster.
    routes: Option<Arc<ClusterRouting>>,
    /// The node of a cluster that the session is given up for.
    avoided: Option<Server>,
    answers: HashMap<Node, Answers>,
    /// When the connection was last seen to break, until there is another one.
    broken: Option<Instant>,
}

/// Whom a command goes to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// The server, where there is one.
    Only,
    /// One of a cluster's.
    Of(Server),
}

#[derive(Default)]
struct Answers {
    last: Option<Instant>,
    /// When the first command was sent that timed out since then.
    silent_since: Option<Instant>,
}

impl Session {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            given_up: Notify::new(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node that a slot's commands go to, if that is known.
    pub(super) fn node(&self, slot: Option<u16>) -> Option<Node> {
        if !self.client.is_clustered() {
            return Some(Node::Only);
        }
        let owner = self.routes()?.get_server(slot?)?.clone();
        Some(Node::Of(owner))
    }

    pub(super) fn routes(&self) -> Option<Arc<ClusterRouting>> {
        self.state().routes.clone()
    }

    /// Notes a node that the next session is not to begin with.
    pub(super) fn avoid(&self, node: Server) {
        self.state().avoided = Some(node);
    }

    pub(super) fn avoided(&self) -> Option<Server> {
        self.state().avoided.clone()
    }

    pub(super) fn answered(&self, node: Option<Node>) {
        if let Some(node) = node {
            let now = Instant::now();
            let answers = Answers {
                last: Some(now),
                silent_since: None,
            };
            self.state().answers.insert(node, answers);
        }
    }

    /// A command that was sent at `start` was not answered: whether its node has now been silent
    /// for as long as `limit`. After a yes, the count begins anew.
    pub(super) fn is_silent(&self, node: &Node, start: Instant, limit: Duration) -> bool {
        let mut state = self.state();
        let answers = state.answers.entry(node.clone()).or_default();
        let first = start.max(answers.last.unwrap_or(start));
        let silent = answers.silent_since.get_or_insert(first).elapsed() >= limit;
        if silent {
            answers.silent_since = None;
        }
        silent
    }

    /// Whether the client may not yet say itself that the connection is gone: until its first
    /// attempt at another one it takes commands, which then wait in its queue.
    ///
    /// In a cluster it is one of several connections, and the others go on.
    pub(super) fn has_just_broken(&self) -> bool {
        let broken = self.state().broken;
        broken.is_some_and(|broken| broken.elapsed() < FIRST_RECONNECT)
            && !self.client.is_clustered()
    }

    /// Keeps when the last connection broke, and what with, and where slots went.
    pub(super) async fn watch(&self, link: &Link) {
        let mut errors = self.client.error_rx();
        let mut connected = self.client.reconnect_rx();
        let mut moved = self.client.cluster_change_rx();
        loop {
            // Errors first: a connection is made after the one before it broke.
            tokio::select! {
                biased;
                error = errors.recv() => match error {
                    Ok((error, _)) => {
                        self.state().broken = Some(Instant::now());
                        link.failed(&error);
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                // Lagged or not, there is a connection.
                _ = connected.recv() => self.state().broken = None,
                _ = moved.recv() => self.learn_routes(),
            }
        }
    }

    pub(super) fn learn_routes(&self) {
        if self.client.is_clustered() {
            let routes = self.client.cached_cluster_state().map(Arc::new);
            self.state().routes = routes;
        }
    }
}

/// By then the client has tried to connect anew: after 10 ms, and less than 50 of jitter.
pub(super) const FIRST_RECONNECT: Duration = Duration::from_millis(100);
