//! `--redis`, against a real server.

#![allow(
    clippy::disallowed_methods,
    reason = "another process's time is the machine's"
)]

use std::time::Instant;

use crate::redis_server::Server;
use crate::support::{Serving, run, signed, text};

#[test]
fn every_count_agrees_time_after_time() {
    let server = Server::start();
    // A slow rate and a large burst: what the first run leaves empty stays so for a while.
    for _ in 0..2 {
        let run = run(&[
            "--redis",
            &server.url(),
            "--duration",
            "1s",
            "--clients",
            "2",
            "--rate",
            "20",
            "--burst",
            "50",
        ]);
        let (out, err) = (text(&run.stdout), text(&run.stderr));
        assert!(run.status.success(), "{out}{err}");
        assert!(out.contains("every count agrees"), "{out}");
    }
}

#[test]
fn gateways_that_serve_share_their_clients() {
    let server = Server::start();
    let args = ["--redis", &server.url(), "--rate", "1", "--burst", "20"];
    let since = Instant::now();
    let mut admitted = 0;
    for runtime in ["tokio", "smol"] {
        let serving = Serving::start(runtime, &args);
        for _ in 0..20 {
            let answer = serving.ask("/", &signed("/", "one"));
            admitted += u64::from(answer.starts_with("HTTP/1.1 200"));
        }
    }
    let supplied = 20 + since.elapsed().as_secs() + 1;
    assert!(
        (20..=supplied).contains(&admitted),
        "{admitted} of {supplied}"
    );
}

#[test]
fn a_server_that_is_away_gets_a_sentence() {
    let url = Server::away().url().replace("//", "//user:secret@");
    let run = run(&["--redis", &url]);
    let err = text(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{err}");
    assert!(err.contains("no server answers there"), "{err}");
    assert!(!err.contains("secret"), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
}
