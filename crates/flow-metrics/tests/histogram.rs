//! Recording from many threads, bounds, extremes, quantiles.

use std::time::Duration;

use flow_metrics::{BoundsError, Histogram, HistogramSnapshot};
use proptest::prelude::*;

#[test]
fn threads_lose_nothing() {
    let histogram = Histogram::values(&[10, 100]).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..12_u64 {
            let histogram = &histogram;
            scope.spawn(move || (0..1_000).for_each(|n| histogram.record((thread + n) % 150)));
        }
    });
    let expected: u64 = (0..12)
        .flat_map(|t| (0..1_000).map(move |n| (t + n) % 150))
        .sum();
    let now = histogram.snapshot();
    assert_eq!(now.count(), 12_000);
    assert!((now.sum() - expected as f64).abs() < 0.5);
}

#[test]
fn counts_never_fall_while_others_record() {
    let histogram = Histogram::values(&[1, 2, 3]).unwrap();
    std::thread::scope(|scope| {
        let recorder = scope.spawn(|| (0..20_000).for_each(|n| histogram.record(n % 5)));
        let mut before = histogram.snapshot();
        while !recorder.is_finished() {
            let now = histogram.snapshot();
            assert!(
                before
                    .counts()
                    .iter()
                    .zip(now.counts())
                    .all(|(b, n)| b <= n)
            );
            assert!(before.sum() <= now.sum());
            before = now;
        }
    });
    assert_eq!(histogram.snapshot().counts(), [8_000, 4_000, 4_000, 4_000]);
}

#[test]
fn bounds_are_checked() {
    assert_eq!(Histogram::values(&[]).unwrap_err(), BoundsError::Empty);
    assert_eq!(
        Histogram::values(&[1, 1]).unwrap_err(),
        BoundsError::NotRising { index: 1 }
    );
    assert_eq!(
        Histogram::values(&[1, 5, 4]).unwrap_err(),
        BoundsError::NotRising { index: 2 }
    );
    let many: Vec<u64> = (0..255).collect();
    let too_many = BoundsError::TooMany {
        given: 255,
        allowed: 254,
    };
    assert_eq!(Histogram::values(&many).unwrap_err(), too_many);
    assert!(Histogram::values(&many[..254]).is_ok());
    let equal = [Duration::MAX, Duration::MAX];
    assert!(Histogram::seconds(&equal).is_err());

    let snapshot = |bounds: &[f64], counts| HistogramSnapshot::new(bounds, counts, 0.0);
    assert!(snapshot(&[], vec![0]).is_err());
    assert!(snapshot(&[f64::NAN], vec![0, 0]).is_err());
    assert!(snapshot(&[1.0, f64::INFINITY], vec![0, 0, 0]).is_err());
    let counts = BoundsError::Counts {
        given: 1,
        expected: 2,
    };
    assert_eq!(snapshot(&[1.0], vec![0]).unwrap_err(), counts);
    assert!(snapshot(&[1.0], vec![u64::MAX, u64::MAX]).is_ok_and(|s| s.count() == u64::MAX));
}

#[test]
fn the_sum_saturates() {
    let histogram = Histogram::seconds(&[Duration::from_secs(1)]).unwrap();
    histogram.record_duration(Duration::MAX);
    histogram.record_duration(Duration::MAX);
    histogram.record_duration(Duration::ZERO);
    let now = histogram.snapshot();
    assert_eq!(now.counts(), [1, 2]);
    assert!(now.sum() > 1.8e10);
}

#[test]
fn quantiles() {
    let histogram = Histogram::values(&[10, 20, 40]).unwrap();
    assert_eq!(histogram.snapshot().quantile(0.5), None);
    (0..10).for_each(|_| histogram.record(15));
    let now = histogram.snapshot();
    assert_eq!(now.quantile(0.5), Some(15.0));
    assert_eq!(now.quantile(1.0), Some(20.0));
    for q in [-0.1, 1.1, f64::NAN] {
        assert_eq!(now.quantile(q), None);
    }
    histogram.record(1_000);
    assert_eq!(histogram.snapshot().quantile(1.0), Some(40.0));
}

proptest! {
    /// Every value falls into the first bucket whose bound is not below it.
    #[test]
    fn agrees_with_a_plain_count(
        mut bounds in proptest::collection::btree_set(0_u64..1_000, 1..40),
        values in proptest::collection::vec(0_u64..1_200, 0..200),
    ) {
        bounds.insert(500);
        let bounds: Vec<u64> = bounds.into_iter().collect();
        let histogram = Histogram::values(&bounds).unwrap();
        let mut counts = vec![0; bounds.len() + 1];
        for &value in &values {
            histogram.record(value);
            counts[bounds.iter().position(|&b| value <= b).unwrap_or(bounds.len())] += 1;
        }
        let now = histogram.snapshot();
        prop_assert_eq!(now.counts(), &counts[..]);
        prop_assert!((now.sum() - values.iter().sum::<u64>() as f64).abs() < 0.5);
    }
}
