//! One item of a list, as every response carries it.
//!
//! It is written without `core::fmt`, and into bytes of just its length: that is a tenth of the
//! instructions of `format!`, and the bytes become a field's value as they are.

use http::HeaderValue;

/// A name that is quoted already, with one number or two: `"api";r=42;t=35`. There is one for
/// every name of printable ASCII.
pub(super) fn item(name: &str, first: (u8, u64), second: (u8, Option<u64>)) -> Option<HeaderValue> {
    let mut digits = [itoa::Buffer::new(), itoa::Buffer::new()];
    let [one, two] = &mut digits;
    let one = one.format(first.1);
    let two = second.1.map_or("", |number| two.format(number));
    // A second key that stays away costs its room only.
    let mut item = Vec::with_capacity(name.len() + KEY + one.len() + KEY + two.len());
    item.extend_from_slice(name.as_bytes());
    item.extend_from_slice(&[b';', first.0, b'=']);
    item.extend_from_slice(one.as_bytes());
    if !two.is_empty() {
        item.extend_from_slice(&[b';', second.0, b'=']);
        item.extend_from_slice(two.as_bytes());
    }
    HeaderValue::try_from(item).ok()
}

/// A semicolon, a key of one letter, and what parts it from its value.
const KEY: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_what_format_would_write() {
        let powers = (0..20).map(|exponent| 10_u64.pow(exponent));
        let numbers = powers.flat_map(|power| [power - 1, power, power + 1]);
        for number in numbers.chain([u64::MAX]) {
            let one = item("\"a\"", (b'r', number), (b't', None));
            assert_eq!(one.unwrap(), format!("\"a\";r={number}"));
            let two = item("\"a b\"", (b'q', u64::MAX), (b'w', Some(number)));
            let formatted = format!("\"a b\";q={};w={number}", u64::MAX);
            assert_eq!(two.unwrap(), formatted);
        }
    }
}
