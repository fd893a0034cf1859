//! Builders of channels read from configuration.

use flow_rt::OnFull;
use flow_stream::{Channel, ChannelBuilder, ChannelConfigError, Sender};
use serde_json::from_str;

fn read(text: &str) -> ChannelBuilder<u8> {
    from_str(text).unwrap()
}

fn build(text: &str) -> Sender<u8> {
    read(text).build().unwrap().0
}

fn refusal(text: &str) -> String {
    from_str::<ChannelBuilder<u8>>(text)
        .unwrap_err()
        .to_string()
}

#[test]
fn every_setting_is_read() {
    let read = read(r#"{ "name": "events", "capacity": 10, "on_full": "drop-newest" }"#);
    let written = Channel::<u8>::builder()
        .name("events")
        .capacity(10)
        .on_full(OnFull::DropNewest);
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
    let empty = from_str::<ChannelBuilder<u8>>("{}").unwrap();
    assert_eq!(
        format!("{empty:?}"),
        format!("{:?}", Channel::<u8>::builder())
    );
}

#[test]
fn capacities_have_words_and_numbers() {
    assert_eq!(build(r#"{ "capacity": 3 }"#).capacity(), 3);
    assert_eq!(
        build(r#"{ "capacity": "unbounded" }"#).capacity(),
        usize::MAX
    );
    assert_eq!(build(r#"{ "capacity": "rendezvous" }"#).capacity(), 0);
    for answer in ["wait", "reject", "drop-newest", "drop-oldest"] {
        build(&format!(r#"{{ "capacity": 1, "on_full": "{answer}" }}"#));
    }
    // What is well formed and senseless is the builder's to refuse.
    let zero = read(r#"{ "capacity": 0 }"#).build().unwrap_err();
    assert_eq!(zero, ChannelConfigError::ZeroCapacity);
    let answer = read(r#"{ "capacity": "rendezvous", "on_full": "drop-oldest" }"#);
    let refused = answer.build().unwrap_err();
    assert_eq!(refused, ChannelConfigError::RendezvousDropsOldest);
}

#[test]
fn what_is_no_setting_is_named() {
    let expected = "expected a number of items, \"unbounded\" or \"rendezvous\"";
    for (text, parts) in [
        (r#"{ "capacity": -1 }"#, ["-1", expected]),
        (r#"{ "capacity": "many" }"#, ["many", expected]),
        // A word is what it is, here as for `on_full`.
        (
            r#"{ "capacity": " unbounded" }"#,
            ["\" unbounded\"", expected],
        ),
        (r#"{ "on_full": "wait " }"#, ["`wait `", "expected one of"]),
        (r#"{ "capacity": 1.5 }"#, ["1.5", expected]),
        (
            r#"{ "on_full": "caller-runs" }"#,
            [
                "caller-runs",
                "`wait`, `reject`, `drop-newest`, `drop-oldest`",
            ],
        ),
        (r#"{ "bound": 1 }"#, ["unknown field `bound`", "capacity"]),
    ] {
        let said = refusal(text);
        for part in parts {
            assert!(said.contains(part), "{text}: {said}");
        }
    }
}
