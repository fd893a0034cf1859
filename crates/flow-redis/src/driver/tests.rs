//! The driver's times, in tokio's paused time: with a server in the same runtime, behind a unix
//! socket, whose bytes are there as soon as they are written, so that no timer overtakes them.
#![expect(
    clippy::disallowed_methods,
    reason = "the driver runs on tokio, and here on tokio's paused time"
)]

use core::time::Duration;
use std::path::PathBuf;
use std::sync::Arc;

use fred::interfaces::ClientLike;
use fred::types::config::Server;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::session::FIRST_RECONNECT;
use super::{CONNECT_TIMEOUT, Link, Request, config, stay_connected, with_nodes};
use crate::error::RedisError;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Where a server listens; gone on drop.
struct Socket(PathBuf);

impl Socket {
    fn bind(name: &str) -> (Self, UnixListener) {
        let name = format!("flow-redis-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        (Self(path), listener)
    }

    /// A driver's link to it, which is kept connected from now on.
    fn connect(&self) -> Arc<Link> {
        let config = config(&format!("redis+unix://{}", self.0.display())).unwrap();
        let link = Arc::new(Link::new(config, TIMEOUT));
        tokio::spawn(stay_connected(link.clone()));
        link
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Answers what a client greets with, and leaves a script unanswered.
async fn serve(stream: UnixStream) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Some(head) = lines.next_line().await.unwrap() {
        let parts: usize = head.strip_prefix('*').unwrap().parse().unwrap();
        let mut words = Vec::new();
        for _ in 0..parts {
            let _length = lines.next_line().await.unwrap();
            words.extend(lines.next_line().await.unwrap());
        }
        let answer: &[u8] = match words[0].as_str() {
            "EVALSHA" => continue,
            "PING" => b"+PONG\r\n",
            _ => b"-ERR what is that\r\n",
        };
        write.write_all(answer).await.unwrap();
    }
}

fn request(command: &'static str) -> Request {
    Request {
        command,
        slot: None,
        node: None,
        args: Vec::new(),
        deadline: Instant::now() + TIMEOUT,
    }
}

#[tokio::test(start_paused = true)]
async fn connecting_is_part_of_the_timeout() {
    // Within what connecting may take.
    let greeting = CONNECT_TIMEOUT.mul_f32(0.8);
    let (socket, listener) = Socket::bind("slow");
    let link = socket.connect();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::time::sleep(greeting).await;
        serve(stream).await;
    });
    let start = Instant::now();
    let error = link.send(request("EVALSHA")).await.unwrap_err();
    assert!(*link.settled.borrow() && link.session().client.is_connected());
    assert_eq!(error, RedisError::Timeout { after: TIMEOUT });
    // Not another two seconds from when it was connected; a timer's tick is a millisecond.
    let took = start.elapsed();
    assert!(
        (TIMEOUT..TIMEOUT + Duration::from_millis(5)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_made_anew_is_used_at_once() {
    let (socket, listener) = Socket::bind("anew");
    let link = socket.connect();
    let close = Arc::new(Notify::new());
    let closed = close.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::select! {
                biased;
                () = closed.notified() => {}
                () = serve(stream) => {}
            }
        }
    });
    link.send(request("PING")).await.unwrap();
    for _ in 0..20 {
        close.notify_one();
        let start = Instant::now();
        let mut missed = false;
        while let Err(error) = link.send(request("PING")).await {
            assert!(
                !matches!(error, RedisError::Timeout { .. }),
                "it waits for a connection"
            );
            missed = true;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(missed);
        // Until then a connection that has broken is not asked, unless there is a new one.
        let took = start.elapsed();
        assert!(took < FIRST_RECONNECT, "{took:?}");
    }
}

#[test]
fn the_next_session_begins_with_every_node_but_the_silent_one() {
    let nodes = ["a:1", "b:2", "c:3"].map(|node| Server::try_from(node).unwrap());
    let [named, silent, other] = &nodes;
    let begins = |url: &str, known: &[Server], silent: Option<&Server>| {
        let mut hosts = with_nodes(config(url).unwrap(), known, silent)
            .server
            .hosts();
        hosts.sort();
        hosts.dedup();
        hosts
    };
    let url = "redis-cluster://a:1";
    assert_eq!(begins(url, &nodes, None), nodes);
    assert_eq!(
        begins(url, &nodes, Some(silent)),
        [named.clone(), other.clone()]
    );
    assert_eq!(begins(url, &nodes, Some(named)), nodes[1..]);
    // The only one there is.
    assert_eq!(begins(url, &nodes[..1], Some(named)), nodes[..1]);
    // There is nothing to know outside of a cluster.
    assert_eq!(begins("redis://a:1", &nodes, Some(named)), nodes[..1]);
}
