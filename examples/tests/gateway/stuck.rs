//! Clients and upstreams that stand still: nobody waits for them without end.

#![allow(
    clippy::disallowed_methods,
    reason = "another process's time is the machine's"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::{RUNTIMES, Serving, read_head, signed, signed_get, text, upstream};

const CUT_OFF: &str = "; 1 connections did not end within 300ms and were cut off\n";

/// A stop that finds the one connection stuck.
fn stops(serving: Serving, signal: &str, what: &str) {
    let (code, rest) = serving.signal(signal);
    assert_eq!(code, Some(0), "{what}: {rest}");
    assert!(rest.contains("draining\n"), "{what}: {rest}");
    assert!(rest.ends_with(CUT_OFF), "{what}: {rest}");
}

#[test]
fn a_stop_does_not_wait_for_half_a_request() {
    for runtime in RUNTIMES {
        for signal in ["-INT", "-TERM"] {
            let serving = Serving::start(runtime, &["--drain", "300ms"]);
            let mut stuck = serving.connect();
            stuck.write_all(b"GET / HT").unwrap();
            // Connections are accepted in turn, so the first one is there, too.
            assert!(serving.get("/healthz").starts_with("HTTP/1.1 200"));
            stops(serving, signal, runtime);
        }
    }
}

/// An upstream that takes a request and then keeps still until the connection breaks.
fn silent_upstream(head: &'static str) -> (String, mpsc::Receiver<()>) {
    let (asked, is_asked) = mpsc::channel();
    let (url, _) = upstream(move |stream, _| {
        stream.write_all(head.as_bytes()).unwrap();
        asked.send(()).unwrap();
        let _ = stream.read(&mut [0]);
    });
    (url, is_asked)
}

#[test]
fn a_stop_does_not_wait_for_an_upstream_that_never_answers() {
    for runtime in RUNTIMES {
        for signal in ["-INT", "-TERM"] {
            let (url, asked) = silent_upstream("");
            let serving = Serving::start(runtime, &["--drain", "300ms", "--upstream", &url]);
            let mut client = serving.connect();
            client.write_all(signed_get().as_bytes()).unwrap();
            asked.recv().unwrap();
            stops(serving, signal, runtime);
        }
    }
}

#[test]
fn a_stop_does_not_wait_for_a_body_that_never_ends() {
    for runtime in RUNTIMES {
        let (url, _) = upstream(|stream, _| {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head).unwrap();
            while stream.write_all(b"5\r\nhello\r\n").is_ok() {}
        });
        let serving = Serving::start(runtime, &["--drain", "300ms", "--upstream", &url]);
        let mut client = serving.connect();
        client.write_all(signed_get().as_bytes()).unwrap();
        assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
        // It is taken as fast as it comes.
        std::thread::spawn(move || std::io::copy(&mut client, &mut std::io::sink()));
        stops(serving, "-TERM", runtime);
    }
}

const TIMEOUT: Duration = Duration::from_millis(300);

/// What comes until the gateway closes the connection; not before its time.
fn closed(mut client: TcpStream, since: Instant) -> String {
    let mut rest = Vec::new();
    // A connection that is reset is closed as well.
    let _ = client.read_to_end(&mut rest);
    assert!(since.elapsed() >= TIMEOUT);
    text(&rest)
}

#[test]
fn a_client_that_does_not_go_on_is_cut_off() {
    for runtime in RUNTIMES {
        let serving = Serving::start(runtime, &["--timeout", "300ms"]);
        for sent in ["", "GET / HTTP/1.1\r\nhost"] {
            let since = Instant::now();
            let mut client = serving.connect();
            client.write_all(sent.as_bytes()).unwrap();
            closed(client, since);
        }
        // The same after an answer.
        let mut client = serving.connect();
        let since = Instant::now();
        client.write_all(signed_get().as_bytes()).unwrap();
        assert!(closed(client, since).starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn an_upstream_that_does_not_answer_gives_504() {
    for runtime in RUNTIMES {
        let (url, _asked) = silent_upstream("");
        let serving = Serving::start(runtime, &["--timeout", "300ms", "--upstream", &url]);
        let since = Instant::now();
        let answer = serving.ask("/", &signed("/", "tester"));
        assert!(since.elapsed() >= TIMEOUT);
        assert!(answer.starts_with("HTTP/1.1 504"), "{runtime}: {answer}");
        serving.metrics_come_to("flow_gateway_requests_total{outcome=\"timed_out\"} 1");
        let (code, rest) = serving.signal("-TERM");
        assert_eq!(code, Some(0), "{rest}");
        assert!(rest.contains("stopped; 1 requests logged\n"), "{rest}");
    }
}

const NONE_IN_FLIGHT: &str = "flow_ratelimit_in_flight_permits{limiter=\"in-flight\"} 0";

#[test]
fn a_body_is_in_flight_until_its_end() {
    for runtime in RUNTIMES {
        let (end, is_due) = mpsc::channel();
        let (url, _) = upstream(move |stream, _| {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
            stream.write_all(head).unwrap();
            is_due.recv().unwrap();
            stream.write_all(b"world").unwrap();
        });
        let serving = Serving::start(runtime, &["--upstream", &url]);
        let mut client = serving.connect();
        client.write_all(signed_get().as_bytes()).unwrap();
        assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
        let metrics = serving.get("/metrics");
        let held = NONE_IN_FLIGHT.replace("} 0", "} 1\n");
        assert!(metrics.contains(&held), "{runtime}: {metrics}");
        end.send(()).unwrap();
        client.read_exact(&mut [0; 10]).unwrap();
        serving.metrics_come_to(NONE_IN_FLIGHT);
    }
}

#[test]
fn a_body_that_stands_still_is_cut_off() {
    for runtime in RUNTIMES {
        let (url, _asked) = silent_upstream("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
        let serving = Serving::start(runtime, &["--timeout", "300ms", "--upstream", &url]);
        let mut client = serving.connect();
        let since = Instant::now();
        client.write_all(signed_get().as_bytes()).unwrap();
        let answer = closed(client, since);
        assert!(answer.ends_with("hello"), "{runtime}: {answer}");
        serving.metrics_come_to(NONE_IN_FLIGHT);
    }
}
