//! The gateway as a person starts it: its own check, its options, its stop on a signal.

mod draining;
mod files;
mod forwarding;
mod key;
mod redis;
#[path = "../../../crates/flow-redis/tests/behaviour/server.rs"]
#[allow(dead_code, reason = "a gateway's server neither hangs nor comes back")]
mod redis_server;
mod serving;
#[path = "../../gateway/signature.rs"]
#[allow(dead_code, reason = "a test signs, and checks nothing")]
mod signature;
mod stuck;
mod support;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use support::{Folder, RUNTIMES, gateway, refusal, run, text};

#[test]
fn every_count_agrees_on_every_runtime() {
    for runtime in RUNTIMES {
        let run = run(&[
            "--runtime",
            runtime,
            "--duration",
            "1500ms",
            "--clients",
            "4",
            "--rate",
            "20",
            "--burst",
            "10",
        ]);
        let (out, err) = (text(&run.stdout), text(&run.stderr));
        assert!(run.status.success(), "{runtime}: {out}{err}");
        assert!(out.contains("every count agrees"), "{runtime}: {out}");
        assert!(
            out.contains("polite-0") && out.contains("abusive-3"),
            "{out}"
        );
    }
}

/// With a limit that follows the upstream, by the command line and by a file.
#[test]
fn every_count_agrees_under_an_adaptive_limit() {
    let file = std::env::temp_dir().join(format!("flow-adaptive-{}.toml", std::process::id()));
    std::fs::write(&file, "adaptive = true\n").expect("it is written");
    let file_name = file.to_str().expect("UTF-8");
    let load = "--duration 1500ms --clients 4 --rate 20 --burst 10";
    let load: Vec<&str> = load.split(' ').collect();
    for args in [&["--adaptive"][..], &["--config", file_name]] {
        let run = run(&[args, &load].concat());
        let (out, err) = (text(&run.stdout), text(&run.stderr));
        assert!(run.status.success(), "{out}{err}");
        assert!(out.contains("every count agrees"), "{out}");
    }
    std::fs::remove_file(&file).expect("it is there");
}

#[test]
fn wrong_values_get_a_sentence_and_exit_code_2() {
    for (args, sentence) in [
        (
            &["--runtime", "glommio"][..],
            "takes tokio, smol or async-std",
        ),
        (&["--rate", "0"], "a whole number from 1 to 1000000"),
        (&["--rate", "-1"], "a whole number from 1 to 1000000"),
        (&["--burst", "many"], "a whole number from 1 to 1000000"),
        (&["--clients", "1"], "a whole number from 2 to 1000"),
        (&["--duration", "10"], "such as 10s"),
        (&["--serve", "nowhere"], "such as 127.0.0.1:8080"),
        (&["--upstream", "ftp://x"], "such as http://127.0.0.1:9000"),
        (&["--upstream", "http://127.0.0.1:9"], "needs --serve"),
        (
            &["--upstream", "http://user:pw@h", "--serve", "127.0.0.1:0"],
            "without user, query and fragment",
        ),
        (&["--upstream", "http://h/x?y"], "\"http://h/x?y\""),
        (&["--upstream", "http://h:99999"], "\"http://h:99999\""),
        (&["--redis", "localhost"], "such as redis://127.0.0.1:6379"),
        (&["--redis", "rediss://h"], "no TLS, cluster or sentinel"),
        (&["--redis", "redis-sentinel://h"], "no TLS"),
        (&["--redis", "redis://"], "--redis is \"redis://\": "),
        (
            &["--redis", "redis://:bad:port"],
            "--redis is \"redis://:bad:port\": ",
        ),
        (&["--access-log", "/nonexistent/x"], "\"/nonexistent/x\""),
        // An address of a network for documentation is nobody's.
        (&["--serve", "192.0.2.1:80"], "--serve is 192.0.2.1:80"),
        (
            &["--serve", "127.0.0.1:0", "--duration", "5s"],
            "--duration does not go with --serve",
        ),
        (
            &["--clients", "5", "--serve", "127.0.0.1:0"],
            "--clients does not go with --serve",
        ),
        (&["--timeout", "5s"], "--timeout needs --serve"),
        (&["--timeout", "0s"], "a time from 1ms to 3600s"),
        (&["--timeout", "forever"], "a time from 1ms to 3600s"),
        (&["--drain", "5"], "such as 10s"),
        (&["--drain", "3601s"], "a time from 1ms to 3600s"),
        (
            &["--adaptive=no"],
            "unexpected argument for option '--adaptive'",
        ),
        (&["--config", "/nonexistent.toml"], "/nonexistent.toml"),
        (&["--rate"], "needs a value"),
        (&["--bogus"], "--bogus"),
        (&["surplus"], "surplus"),
        (&["two\nlines"], "two lines is not an option"),
    ] {
        let err = refusal(gateway().args(args));
        assert!(err.contains(sentence), "{args:?}: {err}");
    }
}

#[test]
fn what_is_no_text_gets_a_sentence_and_exit_code_2() {
    let raw = OsStr::from_bytes(b"\xff");
    for option in ["--rate", "--config", "--access-log"] {
        let err = refusal(gateway().arg(option).arg(raw));
        assert!(err.contains(&format!("{option} is not UTF-8")), "{err}");
    }
    for surplus in [raw, OsStr::from_bytes(b"--\xff")] {
        let err = refusal(gateway().arg(surplus));
        assert!(err.contains("see --help"), "{err}");
    }
}

#[test]
fn wrong_files_get_a_sentence_and_exit_code_2() {
    let folder = Folder::new();
    let path = folder.file("wrong.toml");
    for (written, sentence) in [
        (&b"rate = "[..], "line 1: "),
        (b"rate = 5\n\nburst 5\n", "line 3: "),
        (b"rate = 5\nrate = 6\n", "line 2: duplicate key"),
        (b"redis = \"redis:", "line 1: "),
        (b"rate = \xff", "UTF-8"),
        (b"rates = 30", "there is no option \"rates\""),
        (b"rate = 0", "a whole number from 1 to 1000000"),
        (b"rate = 1.5", "rate is of type float"),
        (b"burst = true", "burst is of type boolean"),
        (b"clients = [2]", "clients is of type array"),
        (b"[redis]", "redis is of type table"),
        (b"adaptive = \"maybe\"", "it takes true or false"),
        (b"adaptive = 1", "it takes true or false"),
        (b"timeout = \"5\"", "a time from 1ms to 3600s"),
        (b"jobs = \"@daily\"", "jobs is of type string"),
        (b"[[jobs]]", "jobs is of type array"),
    ] {
        std::fs::write(&path, written).unwrap();
        let err = refusal(gateway().args(["--config", &path]));
        assert!(err.contains(sentence) && err.contains(&path), "{err}");
    }
}

#[test]
fn help_names_every_option() {
    let long = run(&["--help"]);
    let out = text(&long.stdout);
    assert!(long.status.success());
    let short = run(&["-h"]);
    assert!(short.status.success() && short.stdout == long.stdout);
    for option in [
        "runtime",
        "serve",
        "upstream",
        "duration",
        "clients",
        "rate",
        "burst",
        "redis",
        "access-log",
        "adaptive",
        "timeout",
        "drain",
        "config",
        "help",
    ] {
        assert!(
            out.contains(&format!("--{option}")),
            "--{option} is not in --help"
        );
    }
    for rest in [
        "-h, ",
        "FLOW_GATEWAY_KEY",
        "\"demonstration\"",
        "130 or 143",
        "at least 200ms",
        "from 1ms to 3600s",
    ] {
        assert!(out.contains(rest), "{rest} is not in --help");
    }
}

#[test]
fn the_configuration_file_has_the_same_names_and_the_command_line_wins() {
    let folder = Folder::new();
    let path = folder.file("good.toml");
    std::fs::write(
        &path,
        "rate = 5\nburst = 9\nclients = 2\nduration = \"300ms\"\nruntime = \"smol\"\n",
    )
    .unwrap();
    let good = run(&["--config", &path, "--burst", "1"]);
    let out = text(&good.stdout);
    assert!(good.status.success(), "{out}{}", text(&good.stderr));
    assert!(
        out.contains("on smol") && out.contains("5/s and a burst of 1"),
        "{out}"
    );
}

/// Jobs by cron: one each second, and one that never comes in the test.
#[test]
fn the_configuration_file_has_jobs_by_cron() {
    let dir = std::env::temp_dir();
    let file = dir.join(format!("flow-gateway-jobs-{}.toml", std::process::id()));
    let path = file.to_str().unwrap();
    let jobs = "duration = \"2500ms\"\nclients = 2\nrate = 10\nburst = 10\n\
                [jobs]\nreport = \"* * * * * *\"\n\
                forget-closed = \"TZ=Europe/Berlin 0 0 29 2 *\"\n";
    std::fs::write(&file, jobs).unwrap();
    let good = run(&["--config", path]);
    let out = text(&good.stdout);
    assert!(good.status.success(), "{out}{}", text(&good.stderr));
    assert!(out.contains("report: "), "{out}");
    for (wrong, told) in [
        (
            "report = \"0 24 * * *\"",
            "jobs.report: 24 does not fit the hour field of \"0 >24< * * *\"; allowed are 0 to 23",
        ),
        ("reports = \"@daily\"", "there is no job \"reports\""),
        ("report = 5", "jobs.report is of type integer"),
    ] {
        std::fs::write(&file, format!("[jobs]\n{wrong}\n")).unwrap();
        let bad = run(&["--config", path]);
        assert_eq!(bad.status.code(), Some(2));
        let err = text(&bad.stderr);
        assert!(err.contains(told) && err.contains(path), "{err}");
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_load_that_limits_nobody_shows_nothing() {
    let run = run(&[
        "--duration",
        "300ms",
        "--clients",
        "2",
        "--rate",
        "1000000",
        "--burst",
        "1000000",
    ]);
    let err = text(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{err}");
    assert!(
        err.contains("could not drive abusive-1 above its rate"),
        "{err}"
    );
}
