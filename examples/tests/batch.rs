//! The batch as a process: what it prints, and how it ends.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The example's binary, beside this test's.
fn batch(args: &[&str]) -> Command {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    let binary: PathBuf = path.join("examples").join("batch");
    assert!(
        binary.exists(),
        "{} is missing: build it with `cargo build -p flow-examples --examples`",
        binary.display()
    );
    let mut command = Command::new(binary);
    command.args(args);
    command
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = batch(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// The counts of a report's line, in its order.
fn counts(report: &str) -> Vec<u64> {
    report
        .split([',', ';'])
        .filter_map(|part| part.split_whitespace().next()?.parse().ok())
        .collect()
}

#[test]
fn a_batch_is_done_with_all_its_retries() {
    let (code, out, err) = run(&["--items", "70", "--each", "1ms", "--attempts", "20"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("7 of 70 items, 10 %\n"), "{out}");
    assert!(out.contains("70 of 70 items, 100 %\n"), "{out}");
    let report = counts(out.lines().last().unwrap());
    // Every seventh attempt fails, and takes another one.
    assert_eq!(report, [70, 0, 0, 0, 81], "{out}");
}

#[test]
fn items_that_fail_for_good_are_named() {
    let args = [
        "--items",
        "4",
        "--each",
        "1ms",
        "--hopeless",
        "2",
        "--attempts",
        "3",
    ];
    let (code, out, err) = run(&args);
    assert_eq!(code, Some(1), "{out}{err}");
    for item in [0, 2] {
        assert!(
            out.contains(&format!("item {item} was given up\n")),
            "{out}"
        );
    }
    assert_eq!(counts(out.lines().last().unwrap())[1], 2, "{out}");
}

#[test]
fn an_empty_batch_is_done() {
    let (code, out, _) = run(&["--items", "0"]);
    let report = counts(out.lines().last().unwrap());
    assert_eq!((code, report), (Some(0), vec![0; 5]));
}

#[test]
fn a_signal_lets_what_has_begun_finish() {
    let args = ["--items", "100000", "--each", "2ms", "--slots", "4"];
    for signal in ["-INT", "-TERM"] {
        let mut child = batch(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        // Once it says so, it listens to signals.
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        assert_eq!(first, "100000 items, 4 at a time\n");
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{text}");
        let report = counts(text.lines().last().unwrap());
        assert_eq!(report[..4].iter().sum::<u64>(), 100_000, "{text}");
    }
}

#[test]
fn wrong_options_are_refused() {
    for (args, why) in [
        (
            ["--slots", "0"],
            "0 is out of bounds: 1 to 1000 are allowed",
        ),
        (["--each", "0ms"], "`0ms` is no time"),
        (["--each", "5"], "`5` is no time"),
        (["--items", "many"], "cannot parse"),
        (["--colour", "red"], "--colour"),
    ] {
        let (code, _, err) = run(&args);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(why), "{err}");
    }
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("Exit codes:"));
}
