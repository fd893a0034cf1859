//! The text format, read back by a strict parser.
#![cfg(feature = "prometheus")]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use flow_metrics::{Desc, HistogramSnapshot, Registry, Sink};
use proptest::prelude::*;
use support::{Fixed, Limiter};

/// A family, as a scraper reads it.
#[derive(Debug)]
struct Read {
    kind: String,
    help: String,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: String,
}

impl Sample {
    fn number(&self) -> f64 {
        match &*self.value {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            "NaN" => f64::NAN,
            text => text.parse().unwrap(),
        }
    }

    /// The labels other than `le`.
    fn series(&self) -> Vec<(String, String)> {
        self.labels
            .iter()
            .filter(|(name, _)| name != "le")
            .cloned()
            .collect()
    }
}

/// Reads the format as its description has it, and fails at anything a scraper may refuse:
/// help and type first and once, lines of a family together, no series twice, known escapes
/// only, names of the allowed characters, cumulative buckets that end with `+Inf` = count.
fn read(text: &str) -> BTreeMap<String, Read> {
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "the last line must end"
    );
    let mut families: BTreeMap<String, Read> = BTreeMap::new();
    let mut seen = HashSet::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let rest = line
            .strip_prefix("# HELP ")
            .unwrap_or_else(|| panic!("no help: {line}"));
        let (name, help) = rest.split_once(' ').unwrap();
        check_name(name);
        let kind_line = lines.next().unwrap();
        let kind = kind_line.strip_prefix(&format!("# TYPE {name} ")).unwrap();
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let sample = read_sample(line);
            let part = sample
                .name
                .strip_prefix(name)
                .unwrap_or_else(|| panic!("{line}"));
            let parts: &[&str] = match kind {
                "histogram" => &["_bucket", "_sum", "_count"],
                "counter" | "gauge" => &[""],
                _ => panic!("unknown type: {kind_line}"),
            };
            assert!(parts.contains(&part), "{line} does not belong to {name}");
            assert!(
                seen.insert((sample.name.clone(), sample.labels.clone())),
                "twice: {line}"
            );
            samples.push(sample);
        }
        if kind == "counter" {
            assert!(name.ends_with("_total"), "{name}");
        }
        if kind == "histogram" {
            check_histogram(&samples);
        }
        let help = unescape(help, false);
        let read = Read {
            kind: kind.to_owned(),
            help,
            samples,
        };
        assert!(
            families.insert(name.to_owned(), read).is_none(),
            "{name} twice"
        );
    }
    families
}

fn check_name(name: &str) {
    assert!(
        !name.is_empty() && !name.as_bytes()[0].is_ascii_digit(),
        "{name}"
    );
    assert!(
        name.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':'),
        "{name}"
    );
}

fn read_sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap();
    let name = &line[..end];
    check_name(name);
    let mut labels = Vec::new();
    let mut rest = &line[end..];
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap();
            check_name(label);
            assert!(!label.contains(':'), "{line}");
            let mut escaped = false;
            let quote = after
                .find(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                })
                .unwrap_or_else(|| panic!("no closing quote: {line}"));
            assert!(
                labels.iter().all(|(name, _)| name != label),
                "label twice: {line}"
            );
            labels.push((label.to_owned(), unescape(&after[..quote], true)));
            rest = &after[quote + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest
            .strip_prefix('}')
            .unwrap_or_else(|| panic!("no closing brace: {line}"));
    }
    let value = rest
        .strip_prefix(' ')
        .unwrap_or_else(|| panic!("no space: {line}"));
    assert!(!value.contains(char::is_whitespace), "{line}");
    let sample = Sample {
        name: name.to_owned(),
        labels,
        value: value.to_owned(),
    };
    let _is_a_number = sample.number();
    sample
}

fn unescape(text: &str, quotes: bool) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next() {
                Some('\\') => '\\',
                Some('n') => '\n',
                Some('"') if quotes => '"',
                other => panic!("unknown escape \\{other:?} in {text}"),
            },
            c => c,
        });
    }
    plain
}

fn check_histogram(samples: &[Sample]) {
    let mut by_series: BTreeMap<_, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        by_series.entry(sample.series()).or_default().push(sample);
    }
    for (_, samples) in by_series {
        let [buckets @ .., sum, count] = &*samples else {
            panic!("too few: {samples:?}")
        };
        let mut last = (f64::NEG_INFINITY, 0.0);
        for bucket in buckets {
            assert!(bucket.name.ends_with("_bucket"));
            let le = &bucket
                .labels
                .iter()
                .find(|(name, _)| name == "le")
                .unwrap()
                .1;
            let le = if le == "+Inf" {
                f64::INFINITY
            } else {
                le.parse().unwrap()
            };
            assert!(le > last.0 && bucket.number() >= last.1, "{samples:?}");
            last = (le, bucket.number());
        }
        assert!(last.0.is_infinite());
        assert!(sum.name.ends_with("_sum") && count.name.ends_with("_count"));
        assert_eq!(count.value, buckets.last().unwrap().value);
    }
}

#[test]
fn a_whole_exposition() {
    let registry = Registry::builder()
        .prefix("shop")
        .label("region", "eu")
        .build()
        .unwrap();
    let limiter = Limiter::new("api");
    let _kept = registry.register(limiter.clone()).unwrap();
    limiter.allowed.add(u64::MAX);
    *limiter.tokens.lock().unwrap() = 1.5;
    limiter.waits.record_duration(Duration::from_micros(100));
    limiter.waits.record_duration(Duration::from_secs(60));
    let text = registry.collect().to_prometheus();
    let expected = "\
# HELP shop_flow_metrics_collector_panics_total Collections cut short by a panic of a collector.
# TYPE shop_flow_metrics_collector_panics_total counter
shop_flow_metrics_collector_panics_total{region=\"eu\"} 0
# HELP shop_flow_metrics_rejected_samples_total Samples left out: not in the catalogue, or beyond the limit of series.
# TYPE shop_flow_metrics_rejected_samples_total counter
shop_flow_metrics_rejected_samples_total{region=\"eu\"} 0
# HELP shop_flow_ratelimit_decisions_total Decisions, by outcome.
# TYPE shop_flow_ratelimit_decisions_total counter
shop_flow_ratelimit_decisions_total{region=\"eu\",limiter=\"api\",outcome=\"allowed\"} 18446744073709551615
shop_flow_ratelimit_decisions_total{region=\"eu\",limiter=\"api\",outcome=\"denied\"} 0
# HELP shop_flow_ratelimit_tokens Tokens left.
# TYPE shop_flow_ratelimit_tokens gauge
shop_flow_ratelimit_tokens{region=\"eu\",limiter=\"api\"} 1.5
# HELP shop_flow_ratelimit_wait_seconds Time waited for tokens.
# TYPE shop_flow_ratelimit_wait_seconds histogram
shop_flow_ratelimit_wait_seconds_bucket{region=\"eu\",limiter=\"api\",le=\"0.0001\"} 1
";
    assert!(text.starts_with(expected), "{text}");
    let end = "\
shop_flow_ratelimit_wait_seconds_bucket{region=\"eu\",limiter=\"api\",le=\"10\"} 1
shop_flow_ratelimit_wait_seconds_bucket{region=\"eu\",limiter=\"api\",le=\"+Inf\"} 2
shop_flow_ratelimit_wait_seconds_sum{region=\"eu\",limiter=\"api\"} 60.0001
shop_flow_ratelimit_wait_seconds_count{region=\"eu\",limiter=\"api\"} 2
";
    assert!(text.ends_with(end), "{text}");
    let families = read(&text);
    assert_eq!(families.len(), 5);
    assert_eq!(families["shop_flow_ratelimit_tokens"].kind, "gauge");
}

#[test]
fn special_numbers_and_bare_names() {
    static MINE: &[Desc] = &[
        Desc::gauge(
            "app_a_ratio",
            "Help with \\ and\na line feed and \"quotes\".",
            &["case"],
        ),
        Desc::histogram("app_b_bytes", "Below zero.", &[]),
    ];
    let numbers = [
        ("nan", f64::NAN),
        ("inf", f64::INFINITY),
        ("minus", f64::NEG_INFINITY),
        ("large", 1e300),
        ("small", 5e-324),
        ("zero", -0.0),
    ];
    let below_zero = HistogramSnapshot::new([-2.0, 0.0, 1e-7], vec![1, 2, 3, 4], -3.25).unwrap();
    let shown = below_zero.clone();
    let collect = move |out: &mut dyn Sink| {
        for (case, value) in numbers {
            out.gauge(&MINE[0], &[("case", case)], value);
        }
        out.histogram(&MINE[1], &[], &shown);
    };
    let registry = Registry::new();
    registry
        .register(Arc::new(Fixed(MINE, collect)))
        .unwrap()
        .forget();
    let families = read(&registry.collect().to_prometheus());
    let ratio = &families["app_a_ratio"];
    assert_eq!(ratio.help, MINE[0].help());
    for (case, value) in numbers {
        let sample = ratio
            .samples
            .iter()
            .find(|s| s.labels[0].1 == case)
            .unwrap();
        assert!(
            sample.number().to_bits() == value.to_bits() || value.is_nan(),
            "{sample:?}"
        );
    }
    let bytes = &families["app_b_bytes"].samples;
    assert_eq!(bytes[2].labels, [("le".to_owned(), "0.0000001".to_owned())]);
    assert_eq!(bytes.last().unwrap().value, "10");
    assert_eq!(bytes[bytes.len() - 2].value, "-3.25");
}

#[test]
fn a_client_cannot_write_into_the_text() {
    static MINE: &[Desc] = &[Desc::gauge("app_queue_depth", "Depth.", &["queue"])];
    let name = "x\"} 1\napp_forged_total{a=\"\\";
    let collect = move |out: &mut dyn Sink| out.gauge(&MINE[0], &[("queue", name)], 1.0);
    let registry = Registry::new();
    registry
        .register(Arc::new(Fixed(MINE, collect)))
        .unwrap()
        .forget();
    let families = read(&registry.collect().to_prometheus());
    assert_eq!(families.len(), 3);
    assert_eq!(families["app_queue_depth"].samples[0].labels[0].1, name);
}

proptest! {
    /// Whatever is in labels and values comes back as it was.
    #[test]
    fn every_label_and_value_comes_back(
        given in proptest::collection::btree_map(".*|[\\\\\"\n]*", any::<f64>(), 1..5),
        base in ".*",
    ) {
        static MINE: &[Desc] = &[Desc::gauge("app_queue_depth", "Depth.", &["queue"])];
        let registry = Registry::builder().label("base", &*base).build().unwrap();
        let samples = given.clone();
        let collect = move |out: &mut dyn Sink| {
            for (queue, value) in &samples {
                out.gauge(&MINE[0], &[("queue", queue)], *value);
            }
        };
        registry.register(Arc::new(Fixed(MINE, collect))).unwrap().forget();
        let families = read(&registry.collect().to_prometheus());
        let samples = &families["app_queue_depth"].samples;
        prop_assert_eq!(samples.len(), given.len());
        for (sample, (queue, value)) in samples.iter().zip(&given) {
            prop_assert_eq!(&sample.labels[0].1, &base);
            prop_assert_eq!(&sample.labels[1].1, queue);
            prop_assert!(sample.number().to_bits() == value.to_bits() || value.is_nan());
        }
    }
}
