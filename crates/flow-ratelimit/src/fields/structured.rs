//! Structured fields, by RFC 9651: lists of strings with parameters, as far as anything here says
//! something; whatever else a parameter may be is skipped.

use http::{HeaderMap, HeaderName};

/// A member of a list.
#[derive(Debug, PartialEq)]
pub(super) struct Item {
    pub(super) name: String,
    parameters: Vec<(String, Bare)>,
}

/// The value of a parameter.
#[derive(Debug, PartialEq)]
enum Bare {
    Integer(i64),
    String(String),
    Bytes(Vec<u8>),
    /// Of a type that nothing here is.
    Other,
}

impl Item {
    /// The parameter, if it is there and a whole number from 0 on; `Err` if it is something else.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, Malformed> {
        match self.parameter(key) {
            None => Ok(None),
            Some(Bare::Integer(number)) => u64::try_from(*number).map(Some).or(Err(Malformed)),
            Some(_) => Err(Malformed),
        }
    }

    /// The parameter, if it is there and a string; `Err` if it is something else.
    pub(super) fn string(&self, key: &str) -> Result<Option<&str>, Malformed> {
        match self.parameter(key) {
            None => Ok(None),
            Some(Bare::String(text)) => Ok(Some(text)),
            Some(_) => Err(Malformed),
        }
    }

    /// The parameter, if it is there and a sequence of bytes; `Err` if it is something else.
    pub(super) fn bytes(&self, key: &str) -> Result<Option<&[u8]>, Malformed> {
        match self.parameter(key) {
            None => Ok(None),
            Some(Bare::Bytes(bytes)) => Ok(Some(bytes)),
            Some(_) => Err(Malformed),
        }
    }

    fn parameter(&self, key: &str) -> Option<&Bare> {
        // Of several the last counts.
        let mut all = self.parameters.iter().rev();
        all.find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

/// A field is not what it should be. It is ignored as a whole then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The members of a field, on however many lines it is; none if it is malformed or too large.
pub(super) fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<Item> {
    let mut text = String::new();
    for line in headers.get_all(name) {
        let Ok(line) = line.to_str() else {
            return Vec::new();
        };
        if text.len() + line.len() > MAX_BYTES {
            return Vec::new();
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(line);
    }
    Parser(text.as_bytes()).list().unwrap_or_default()
}

/// What is left to be parsed.
struct Parser<'a>(&'a [u8]);

impl<'a> Parser<'a> {
    fn list(&mut self) -> Result<Vec<Item>, Malformed> {
        let mut members = Vec::new();
        self.skip(b" ");
        while !self.0.is_empty() {
            if members.len() == MAX_ITEMS {
                return Err(Malformed);
            }
            members.push(self.item()?);
            self.skip(b" \t");
            if self.0.is_empty() {
                break;
            }
            self.expect(b',')?;
            self.skip(b" \t");
            if self.0.is_empty() {
                // Nothing follows the comma.
                return Err(Malformed);
            }
        }
        Ok(members)
    }

    fn item(&mut self) -> Result<Item, Malformed> {
        self.expect(b'"')?;
        let name = self.string()?;
        let mut parameters = Vec::new();
        while self.0.first() == Some(&b';') {
            if parameters.len() == MAX_ITEMS {
                return Err(Malformed);
            }
            self.0 = &self.0[1..];
            self.skip(b" ");
            let key = self.key()?;
            let value = if self.0.first() == Some(&b'=') {
                self.0 = &self.0[1..];
                self.bare()?
            } else {
                // True.
                Bare::Other
            };
            parameters.push((key, value));
        }
        Ok(Item { name, parameters })
    }

    fn key(&mut self) -> Result<String, Malformed> {
        let is_first = |byte: u8| byte.is_ascii_lowercase() || byte == b'*';
        if !self.0.first().copied().is_some_and(is_first) {
            return Err(Malformed);
        }
        let is_key = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        };
        Ok(self.take(is_key).iter().copied().map(char::from).collect())
    }

    fn bare(&mut self) -> Result<Bare, Malformed> {
        let first = *self.0.first().ok_or(Malformed)?;
        match first {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => {
                self.0 = &self.0[1..];
                self.string().map(Bare::String)
            }
            b':' => {
                self.0 = &self.0[1..];
                self.bytes().map(Bare::Bytes)
            }
            b'?' => {
                self.0 = &self.0[1..];
                match self.next() {
                    Some(b'0' | b'1') => Ok(Bare::Other),
                    _ => Err(Malformed),
                }
            }
            b'@' => {
                self.0 = &self.0[1..];
                match self.number()? {
                    Bare::Integer(_) => Ok(Bare::Other),
                    _ => Err(Malformed),
                }
            }
            b'%' => self.display_string(),
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                self.take(|byte| is_token(byte) || matches!(byte, b':' | b'/'));
                Ok(Bare::Other)
            }
            _ => Err(Malformed),
        }
    }

    fn number(&mut self) -> Result<Bare, Malformed> {
        let negative = self.0.first() == Some(&b'-');
        if negative {
            self.0 = &self.0[1..];
        }
        let whole = self.take(|byte| byte.is_ascii_digit());
        if whole.is_empty() {
            return Err(Malformed);
        }
        if self.0.first() == Some(&b'.') {
            self.0 = &self.0[1..];
            let part = self.take(|byte| byte.is_ascii_digit());
            let is_right = whole.len() <= 12 && (1..=3).contains(&part.len());
            return if is_right {
                Ok(Bare::Other)
            } else {
                Err(Malformed)
            };
        }
        if whole.len() > 15 {
            return Err(Malformed);
        }
        // Fifteen digits fit.
        let number = whole
            .iter()
            .fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        Ok(Bare::Integer(if negative { -number } else { number }))
    }

    /// What follows the first quotation mark, up to the second.
    fn string(&mut self) -> Result<String, Malformed> {
        let mut text = String::new();
        loop {
            match self.next().ok_or(Malformed)? {
                b'"' => return Ok(text),
                b'\\' => match self.next() {
                    Some(byte @ (b'"' | b'\\')) => text.push(char::from(byte)),
                    _ => return Err(Malformed),
                },
                byte @ b' '..=b'~' => text.push(char::from(byte)),
                _ => return Err(Malformed),
            }
        }
    }

    /// What follows the first colon, up to the second: base64, padded or not.
    fn bytes(&mut self) -> Result<Vec<u8>, Malformed> {
        let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
        let coded = self.take(|byte| byte != b':');
        self.expect(b':')?;
        let padding = coded.iter().rev().take_while(|byte| **byte == b'=').count();
        let symbols = &coded[..coded.len() - padding];
        // One symbol of four says nothing by itself; padding may be left out.
        let due = match symbols.len() % 4 {
            0 => 0,
            1 => return Err(Malformed),
            left => 4 - left,
        };
        if padding > due {
            return Err(Malformed);
        }
        for byte in symbols {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return Err(Malformed),
            };
            bits = (bits << 6) | u32::from(value);
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push((bits >> count) as u8);
                bits &= (1 << count) - 1;
            }
        }
        Ok(bytes)
    }

    fn display_string(&mut self) -> Result<Bare, Malformed> {
        self.expect(b'%')?;
        self.expect(b'"')?;
        loop {
            match self.next().ok_or(Malformed)? {
                b'"' => return Ok(Bare::Other),
                b'%' => {
                    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                    for _ in 0..2 {
                        if !self.next().is_some_and(is_hex) {
                            return Err(Malformed);
                        }
                    }
                }
                b' '..=b'~' => {}
                _ => return Err(Malformed),
            }
        }
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.next() == Some(byte) {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    fn skip(&mut self, bytes: &[u8]) {
        self.take(|byte| bytes.contains(&byte));
    }

    fn take(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !belongs(*byte));
        let (taken, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        taken
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The largest whole number that a field can say.
pub(super) const MAX_INTEGER: u64 = 999_999_999_999_999;
/// A field that is longer is ignored.
const MAX_BYTES: usize = 8_192;
/// A field with more members, or a member with more parameters, is ignored.
const MAX_ITEMS: usize = 64;
