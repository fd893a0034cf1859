//! What passes through, and what becomes of a connection that the upstream has closed.

use std::io::{Read, Write};

use crate::support::{Serving, read_head, signed, signed_get, upstream};

#[test]
fn headers_about_one_connection_end_with_it() {
    let (url, heads) = upstream(|stream, head| {
        let answer = b"HTTP/1.1 200 OK\r\nconnection: x-hop\r\nx-hop: 1\r\nx-end: 1\r\n\
                       content-length: 0\r\n\r\n";
        stream.write_all(answer).unwrap();
        head
    });
    let serving = Serving::start("tokio", &["--upstream", &url]);
    let headers = format!(
        "connection: X-Secret , te\r\nx-secret: 1\r\nte: trailers\r\nkeep-alive: 5\r\nx-kept: 1\r\n{}",
        signed("/", "tester")
    );
    let answer = serving.ask("/", &headers);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("x-end: 1"), "{answer}");
    assert!(!answer.contains("x-hop"), "{answer}");
    let head = heads.recv().unwrap().to_lowercase();
    assert!(head.contains("x-kept: 1"), "{head}");
    for gone in ["x-secret", "te: ", "keep-alive", "connection"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
}

#[test]
fn a_connection_that_the_upstream_has_closed_is_no_bad_gateway() {
    let (url, closed) = upstream(|stream, _| {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer).unwrap();
    });
    let serving = Serving::start("tokio", &["--upstream", &url]);
    let mut client = serving.connect();
    for _ in 0..45 {
        client.write_all(signed_get().as_bytes()).unwrap();
        let head = read_head(&mut client);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        client.read_exact(&mut [0; 2]).unwrap();
        // By now it is closed; the gateway may have noticed or not.
        closed.recv().unwrap();
    }
}

#[test]
fn the_upstream_is_asked_for_a_path_below_its_own() {
    for (below, asked, comes) in [
        ("", "/a?b", "GET /a?b HTTP/1.1"),
        ("", "http://else.where/a?b", "GET /a?b HTTP/1.1"),
        ("/below/", "/a?b", "GET /below/a?b HTTP/1.1"),
        ("/below", "http://else.where/a", "GET /below/a HTTP/1.1"),
    ] {
        let (url, heads) = upstream(|stream, head| {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).unwrap();
            head
        });
        let serving = Serving::start("tokio", &["--upstream", &format!("{url}{below}")]);
        let answer = serving.ask(asked, &signed("/a", "tester"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let head = heads.recv().unwrap();
        assert!(head.starts_with(comes), "{asked}: {head}");
        let host = format!("host: {}\r\n", url.trim_start_matches("http://"));
        assert!(head.contains(&host), "{head}");
    }
}
