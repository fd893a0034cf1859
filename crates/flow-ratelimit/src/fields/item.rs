//! The text of one item of a list, as every response carries it.
//!
//! It is written without `core::fmt`, and into bytes of just its length: that is a tenth of the
//! instructions of `format!`, and the bytes become a field's value as they are.

/// A name that is quoted already, with one number or two: `"api";r=42;t=35`.
pub(super) fn item(name: &str, first: (u8, u64), second: (u8, Option<u64>)) -> Vec<u8> {
    // What follows the name is written from its end, as the digits of a number come.
    let mut text = [0; MAX_PARAMETERS];
    let mut start = MAX_PARAMETERS;
    let second = second.1.map(|number| (second.0, number));
    for (key, mut number) in second.into_iter().chain([first]) {
        loop {
            start -= 1;
            text[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        start -= 3;
        text[start..start + 3].copy_from_slice(&[b';', key, b'=']);
    }
    let parameters = &text[start..];
    let mut item = Vec::with_capacity(name.len() + parameters.len());
    item.extend_from_slice(name.as_bytes());
    item.extend_from_slice(parameters);
    item
}

/// Two keys of one letter, each with the largest `u64`.
const MAX_PARAMETERS: usize = 2 * (3 + 20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_what_format_would_write() {
        let powers = (0..20).map(|exponent| 10_u64.pow(exponent));
        let numbers = powers.flat_map(|power| [power - 1, power, power + 1]);
        for number in numbers.chain([u64::MAX]) {
            let one = item("\"a\"", (b'r', number), (b't', None));
            assert_eq!(one, format!("\"a\";r={number}").as_bytes());
            let two = item("\"a b\"", (b'q', u64::MAX), (b'w', Some(number)));
            let formatted = format!("\"a b\";q={};w={number}", u64::MAX);
            assert_eq!(two, formatted.as_bytes());
        }
    }
}
