//! The fields of a response as `sfv` reads them: a parser that is not ours.

use sfv::{BareItem, Item, ListEntry, Parser};

use super::HeaderMap;

/// The members of a field, which are a name each, and numbers.
pub(crate) fn parsed(headers: &HeaderMap, name: &str) -> Vec<(String, Vec<(String, u64)>)> {
    let lines: Vec<&str> = headers
        .get_all(name)
        .iter()
        .map(|line| line.to_str().unwrap())
        .collect();
    let list: sfv::List = Parser::new(&lines.join(", ")).parse().unwrap();
    list.into_iter()
        .map(|entry| {
            let ListEntry::Item(Item { bare_item, params }) = entry else {
                panic!("{entry:?} is no item");
            };
            let BareItem::String(name) = bare_item else {
                panic!("{bare_item:?} is no string");
            };
            let numbers = params.into_iter().map(|(key, value)| {
                let BareItem::Integer(number) = value else {
                    panic!("{value:?} is no number");
                };
                let number = i64::from(number).try_into().unwrap();
                (key.as_str().to_owned(), number)
            });
            (name.as_str().to_owned(), numbers.collect())
        })
        .collect()
}

/// As [`parsed`] has the numbers of a member.
pub(crate) fn numbers(of: &[(&str, u64)]) -> Vec<(String, u64)> {
    of.iter().map(|(key, n)| ((*key).to_owned(), *n)).collect()
}
