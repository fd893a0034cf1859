//! A stop that finds a request on its way, and one that is asked for again.

use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use crate::support::{RUNTIMES, Serving, signed_get, upstream};

/// More than any test takes: nothing is cut off.
const PATIENT: [&str; 4] = ["--drain", "600s", "--timeout", "600s"];

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";

#[test]
fn a_request_on_its_way_is_answered_in_full() {
    for runtime in RUNTIMES {
        for (before, after) in [
            (String::new(), format!("{HEAD}helloworld")),
            (format!("{HEAD}hello"), "world".to_owned()),
        ] {
            // Two at once are one stop: `timeout` sends two.
            for signals in [&["-TERM"][..], &["-INT"], &["-TERM", "-INT"]] {
                let (asked, is_asked) = mpsc::channel();
                let (signalled, is_signalled) = mpsc::channel();
                let (before, after) = (before.clone(), after.clone());
                let (url, _) = upstream(move |stream, _| {
                    stream.write_all(before.as_bytes()).unwrap();
                    asked.send(()).unwrap();
                    is_signalled.recv().unwrap();
                    stream.write_all(after.as_bytes()).unwrap();
                });
                let args = [&PATIENT[..], &["--upstream", &url]].concat();
                let mut serving = Serving::start(runtime, &args);
                let mut client = serving.connect();
                client.write_all(signed_get().as_bytes()).unwrap();
                is_asked.recv().unwrap();
                serving.send(signals);
                assert_eq!(serving.next_line(), "draining\n", "{runtime}, {signals:?}");
                signalled.send(()).unwrap();
                let mut answer = String::new();
                client.read_to_string(&mut answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{runtime}: {answer}");
                assert!(
                    answer.ends_with("\r\n\r\nhelloworld"),
                    "{runtime}: {answer}"
                );
                let (code, rest) = serving.end();
                assert_eq!(code, Some(0), "{runtime}, {signals:?}: {rest}");
                assert_eq!(rest, "stopped; 1 requests logged\n", "{runtime}");
            }
        }
    }
}

#[test]
fn a_later_signal_ends_it_at_once() {
    for runtime in RUNTIMES {
        let mut serving = Serving::start(runtime, &PATIENT);
        let mut stuck = serving.connect();
        stuck.write_all(b"GET / HT").unwrap();
        // Connections are accepted in turn, so the first one is there, too.
        assert!(serving.get("/healthz").starts_with("HTTP/1.1 200"));
        serving.send(&["-INT"]);
        assert_eq!(serving.next_line(), "draining\n", "{runtime}");
        // The first of these may come too soon; the connection breaks when the process has ended.
        stuck
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let is_open = |error: std::io::Error| {
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
        };
        loop {
            serving.send(&["-TERM"]);
            if !stuck.read(&mut [0]).is_err_and(is_open) {
                break;
            }
        }
        let (code, rest) = serving.end();
        assert_eq!(code, Some(143), "{runtime}: {rest}");
    }
}
