//! The parameters of all limits, those of the first two beside the words: more than two are rare.

use core::ops::Index;

use super::line::Limit;
use crate::params::Params;

/// The parameters of at least one limit.
pub(super) struct Lines {
    /// Of one limit the second is a copy that is of no use.
    two: [Params; 2],
    more: Box<[Params]>,
    count: usize,
}

impl Lines {
    /// None of no limits.
    pub(super) fn of(limits: &[Limit]) -> Option<Self> {
        let params = |limit: &Limit| Params::new(&limit.line, limit.rate);
        let first = limits.first()?;
        let second = limits.get(1).unwrap_or(first);
        Some(Self {
            two: [first, second].map(params),
            more: limits.iter().skip(2).map(params).collect(),
            count: limits.len(),
        })
    }

    /// Both, if there are two.
    #[inline]
    pub(super) fn both(&self) -> Option<&[Params; 2]> {
        (self.count == 2).then_some(&self.two)
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, index: usize) -> Option<&Params> {
        self.iter().nth(index)
    }

    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Params> {
        self.two.iter().take(self.count).chain(&self.more)
    }
}

impl Index<usize> for Lines {
    type Output = Params;

    fn index(&self, index: usize) -> &Params {
        match index {
            0 | 1 => &self.two[index],
            _ => &self.more[index - 2],
        }
    }
}
