//! What is read of the kernel's texts.

use std::error::Error;

use super::cpu::Ticks;
use super::{CpuLoad, LoadError, LoadSource, PressureLoad, in_range, pressure};

#[test]
fn ticks_are_read_from_the_line_of_all_processors() {
    let text = "cpu  100 10 40 800 30 5 5 10 7 0\ncpu0 50 5 20 400 15 2 2 5 3 0\nintr 12\n";
    let ticks = Ticks::parse(text).unwrap();
    assert_eq!(
        ticks,
        Ticks {
            busy: 170,
            all: 1_000
        }
    );
    // An old kernel has fewer columns.
    let ticks = Ticks::parse("cpu 1 2 3 4").unwrap();
    assert_eq!(ticks, Ticks { busy: 6, all: 10 });
    for wrong in ["", "cpu0 1 2 3 4", "cpu 1 two 3", "cpu -1 2"] {
        assert_eq!(Ticks::parse(wrong), None, "{wrong}");
    }
    let most = Ticks::parse(&format!("cpu {0} {0} {0} {0}", u64::MAX)).unwrap();
    assert_eq!(most.all, u64::MAX);
}

#[test]
fn a_load_is_of_the_ticks_between() {
    let at = |busy, all| Ticks { busy, all };
    assert_eq!(at(150, 300).since(at(100, 200)), Some(0.5));
    assert_eq!(at(100, 209).since(at(100, 200)), None, "too few");
    assert_eq!(at(0, 10).since(at(0, 20)), None, "counted back");
    assert_eq!(at(0, 40).since(at(5, 20)), Some(0.0));
}

#[test]
fn pressure_is_read_from_its_first_average() {
    let text = "some avg10=12.50 avg60=3.00 avg300=1.00 total=12345\nfull avg10=0.00 avg60=0.00";
    assert_eq!(pressure::parse(text), Some(0.125));
    for wrong in [
        "",
        "full avg10=1.00",
        "some avg60=1.00",
        "some avg10=many",
        "some avg10=NaN",
    ] {
        assert_eq!(pressure::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn what_is_no_load_is_brought_into_range() {
    for (said, taken) in [(-1.0, 0.0), (f64::NAN, 0.0), (0.3, 0.3), (7.0, 1.0)] {
        assert!((in_range(said) - taken).abs() < 1e-9, "{said}");
    }
}

#[test]
fn a_source_that_is_not_there_says_which_file() {
    let gone = CpuLoad::at("/no/such/file").unwrap_err();
    assert_eq!(
        gone.to_string(),
        "cannot read the load from `/no/such/file`"
    );
    assert!(gone.source().is_some());
    let other = PressureLoad::at(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    let other = other.unwrap_err();
    assert!(matches!(other, LoadError::Unexpected { .. }));
    let text = other.to_string();
    assert!(
        text.ends_with("has no line that begins with `some avg10=` and a number"),
        "{text}"
    );
}

#[test]
fn this_machine_has_a_load_where_the_kernel_says_so() {
    for source in [
        CpuLoad::new().map(|source| Box::new(source) as Box<dyn LoadSource>),
        PressureLoad::cpu().map(|source| Box::new(source) as Box<dyn LoadSource>),
    ] {
        match source {
            Ok(source) => assert!((0.0..=1.0).contains(&source.load())),
            Err(error) => assert!(matches!(error, LoadError::Unreadable { .. }), "{error}"),
        }
    }
}
