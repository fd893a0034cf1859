//! Several limiters, by their number.

use crate::limiter::Limiter;

/// The limiters of a [`Composite`](crate::Composite): a tuple of up to six of any kind, or an array,
/// a slice or a `Vec` of one kind (`Box<dyn Limiter>` is one).
///
/// All are looked at before anything is taken of one. Then they are asked in this order: put the
/// scarcest first, so that the others have nothing to get back if another caller was faster there.
pub trait Limits: Send + Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// One of them, from 0; none from [`count`](Self::count) on.
    fn at(&self, index: usize) -> Option<&dyn Limiter>;
}

macro_rules! tuples {
    ($($($limiter:ident $index:tt),+;)+) => {$(
        impl<$($limiter: Limiter),+> Limits for ($($limiter,)+) {
            fn count(&self) -> usize {
                [$($index),+].len()
            }

            fn at(&self, index: usize) -> Option<&dyn Limiter> {
                match index {
                    $($index => Some(&self.$index),)+
                    _ => None,
                }
            }
        }
    )+};
}

tuples! {
    A 0;
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
    A 0, B 1, C 2, D 3, E 4;
    A 0, B 1, C 2, D 3, E 4, F 5;
}

macro_rules! lists {
    ($([$($generics:tt)*] $list:ty;)+) => {$(
        impl<$($generics)*> Limits for $list {
            fn count(&self) -> usize {
                self.len()
            }

            fn at(&self, index: usize) -> Option<&dyn Limiter> {
                self.get(index).map(|limiter| limiter as &dyn Limiter)
            }
        }
    )+};
}

lists! {
    [L: Limiter, const N: usize] [L; N];
    [L: Limiter] &[L];
    [L: Limiter] Vec<L>;
}
