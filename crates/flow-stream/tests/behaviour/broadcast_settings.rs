//! Builders of broadcasts read from configuration.

use flow_stream::broadcast::{self, Builder, ConfigError, OnLag};
use serde_json::from_str;

fn read(text: &str) -> Builder {
    from_str(text).unwrap()
}

#[test]
fn every_setting_is_read() {
    let read_one = read(r#"{ "name": "prices", "capacity": 10, "on_lag": "disconnect" }"#);
    let written = broadcast::builder()
        .name("prices")
        .capacity(10)
        .on_lag(OnLag::Disconnect);
    assert_eq!(format!("{read_one:?}"), format!("{written:?}"));
    let empty = format!("{:?}", read("{}"));
    assert_eq!(empty, format!("{:?}", broadcast::builder()));
    for policy in [OnLag::Wait, OnLag::DropOldest, OnLag::Disconnect] {
        let word = format!("\"{policy}\"");
        assert_eq!(from_str::<OnLag>(&word).unwrap(), policy);
    }
}

#[test]
fn what_is_no_setting_is_named() {
    for (text, parts) in [
        (r#"{ "capacity": -1 }"#, ["-1", "usize"]),
        (
            r#"{ "on_lag": "drop" }"#,
            ["`drop`", "`wait`, `drop-oldest`, `disconnect`"],
        ),
        (
            r#"{ "on_full": "wait" }"#,
            ["unknown field `on_full`", "on_lag"],
        ),
    ] {
        let said = from_str::<Builder>(text).unwrap_err().to_string();
        for part in parts {
            assert!(said.contains(part), "{text}: {said}");
        }
    }
    // What is well formed and senseless is the builder's to refuse.
    let zero = read(r#"{ "capacity": 0 }"#).build::<u8>().unwrap_err();
    assert_eq!(zero, ConfigError::ZeroCapacity);
}
