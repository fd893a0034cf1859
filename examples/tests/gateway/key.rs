//! `FLOW_GATEWAY_KEY`: any bytes but none at all, and a word of warning without it.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use crate::support::{Folder, Serving, gateway, refusal, signed_with};

/// The key of the demonstration.
const DEMONSTRATION: &[u8] = b"demonstration";

/// A gateway that serves, and logs into this folder.
fn serving(folder: &Folder) -> Command {
    let mut command = gateway();
    command.args(["--serve", "127.0.0.1:0", "--access-log"]);
    command.arg(folder.file("log"));
    command
}

#[test]
fn it_is_bytes() {
    let folder = Folder::new();
    let key = b"\xff\xfe";
    let serving = Serving::run(serving(&folder).env("FLOW_GATEWAY_KEY", OsStr::from_bytes(key)));
    for (signed, status) in [(&key[..], "200"), (DEMONSTRATION, "401")] {
        let answer = serving.ask("/", &signed_with(signed, "/", "a"));
        let due = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&due), "{signed:?}: {answer}");
    }
}

#[test]
fn none_at_all_gets_a_sentence_and_exit_code_2() {
    let err = refusal(gateway().env("FLOW_GATEWAY_KEY", ""));
    assert!(err.contains("FLOW_GATEWAY_KEY is empty"), "{err}");
}

#[test]
fn a_gateway_that_serves_without_one_says_so() {
    let folder = Folder::new();
    let mut unset = serving(&folder);
    unset.env_remove("FLOW_GATEWAY_KEY");
    for (mut command, lines) in [(unset, 1), (serving(&folder), 0)] {
        let mut serving = Serving::run(command.stderr(Stdio::piped()));
        let answer = serving.ask("/", &signed_with(DEMONSTRATION, "/", "a"));
        assert_eq!(answer.starts_with("HTTP/1.1 200"), lines == 1, "{answer}");
        let mut stderr = serving.stderr();
        let (code, rest) = serving.signal("-TERM");
        assert_eq!(code, Some(0), "{rest}");
        let mut err = String::new();
        stderr.read_to_string(&mut err).unwrap();
        assert_eq!(err.lines().count(), lines, "{err}");
        assert_eq!(err.contains("FLOW_GATEWAY_KEY is not set"), lines == 1);
    }
}
