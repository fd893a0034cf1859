//! As a process: whose threads it uses, who may come in, what it shows and writes, what ends it.

use crate::support::{RUNTIMES, Serving, signed};

#[test]
fn threads_are_the_named_runtimes_own_and_signals_drain() {
    for runtime in RUNTIMES {
        for signal in ["-INT", "-TERM"] {
            let serving = Serving::start(runtime, &[]);
            assert!(serving.get("/healthz").starts_with("HTTP/1.1 200"));
            // Unsigned: refused, logged.
            assert!(serving.get("/").starts_with("HTTP/1.1 401"));
            let metrics = serving.get("/metrics");
            let counted = "flow_gateway_requests_total{outcome=\"unsigned\"} 1";
            assert!(metrics.contains(counted), "{metrics}");
            let names = serving.thread_names();
            // The kernel keeps 15 bytes of a name.
            for (name, owners) in [
                ("tokio-", &["tokio"][..]),
                ("smol-", &["smol"]),
                ("async-std/", &["async-std"]),
                ("async-io", &["smol", "async-std"]),
            ] {
                let is_there = names.iter().any(|thread| thread.starts_with(name));
                let is_due = owners.contains(&runtime);
                assert_eq!(is_there, is_due, "{name} on {runtime}: {names:?}");
            }
            let (code, rest) = serving.signal(signal);
            assert_eq!(code, Some(0), "{runtime} {signal}: {rest}");
            assert!(rest.contains("stopped; 1 requests logged\n"), "{rest}");
        }
    }
}

#[test]
fn a_signal_ends_the_check_of_itself_and_every_count_agrees() {
    for runtime in RUNTIMES {
        for signal in ["-INT", "-TERM"] {
            let mut checking = Serving::checking_itself(runtime);
            let progress = checking.next_line();
            assert!(progress.contains("admitted"), "{progress}");
            let (code, rest) = checking.signal(signal);
            assert_eq!(code, Some(0), "{runtime} {signal}: {rest}");
            assert!(rest.contains("interrupted; drained\n"), "{rest}");
            assert!(rest.contains("every count agrees"), "{rest}");
        }
    }
}

#[test]
fn metrics_show_flows_parts() {
    let serving = Serving::start("tokio", &[]);
    assert!(
        serving
            .ask("/", &signed("/", "a"))
            .starts_with("HTTP/1.1 200")
    );
    for line in [
        "flow_sched_pool_ended_total{pool=\"signatures\",outcome=\"completed\"} 1",
        "flow_ratelimit_decisions_total{limiter=\"in-flight\",decision=\"granted\"} 1",
        "flow_stream_channel_sent_total{channel=\"access-log\"} 1",
        "flow_stream_writer_errors_total{writer=\"access-log\"} 0",
        "flow_sched_jobs{scheduler=\"housekeeping\"} 1",
    ] {
        serving.metrics_come_to(line);
    }
}

/// The option is what makes the limit follow the upstream.
#[test]
fn only_an_adaptive_gateway_shows_the_range_of_its_limit() {
    let adaptive = Serving::start("tokio", &["--adaptive"]);
    let range = "flow_ratelimit_limit_range_permits";
    adaptive.metrics_come_to(&format!(
        "{range}{{limiter=\"in-flight\",bound=\"least\"}} 16"
    ));
    let metrics = Serving::start("tokio", &[]).get("/metrics");
    assert!(metrics.contains("limiter=\"in-flight\""), "{metrics}");
    assert!(!metrics.contains(range), "{metrics}");
}

#[test]
fn who_does_not_sign_is_limited_by_address_and_costs_the_others_nothing() {
    let serving = Serving::start("tokio", &["--rate", "1", "--burst", "5"]);
    let mut answers = Vec::new();
    for n in 0..20 {
        // A new name each time, without a signature or with a wrong one.
        let wrong = if n % 2 == 0 { "x-signature: 0\r\n" } else { "" };
        let answer = serving.ask("/", &format!("x-client: stranger-{n}\r\n{wrong}"));
        answers.push(answer["HTTP/1.1 ".len()..][..3].to_owned());
    }
    assert!(
        answers[..5].iter().all(|status| status == "401"),
        "{answers:?}"
    );
    assert!(answers.iter().any(|status| status == "429"), "{answers:?}");
    let honest = serving.ask("/", &signed("/", "honest"));
    assert!(honest.starts_with("HTTP/1.1 200"), "{honest}");
    for field in [
        "ratelimit-policy: \"client\";q=5;w=5",
        "ratelimit: \"client\";r=4;t=1",
    ] {
        assert!(honest.lines().any(|line| line == field), "{honest}");
    }
}

#[test]
fn nobody_forges_a_line_of_the_log() {
    let path = std::env::temp_dir().join(format!("flow-gateway-forged-{}", std::process::id()));
    let serving = Serving::start("tokio", &["--access-log", path.to_str().unwrap()]);
    for name in ["a - - [0] \"GET /x HTTP/1.1\" 200 1us", "a\"b", "a\\b"] {
        let answer = serving.ask("/", &format!("x-client: {name}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    let _ = serving.get("/a\"b");
    let (code, rest) = serving.signal("-TERM");
    assert_eq!(code, Some(0), "{rest}");
    let log = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    for line in log.lines() {
        assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
        let quotes = line.replace("\\\"", "").matches('"').count();
        assert_eq!(quotes, 2, "{line}");
    }
}
