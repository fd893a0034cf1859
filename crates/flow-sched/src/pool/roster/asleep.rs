//! The idle slots: a stack that a slot leaves from wherever it lies, at no more cost than from the
//! top.
//!
//! After a burst thousands of slots end one after the other, those first that fell asleep first,
//! and these lie at the bottom. To look for each, under the lock that a submit takes to wake one,
//! would be work for all of them together that grows with the square of their number.

/// Slots by number. It is a list through an array that is as long as the highest number.
#[derive(Default)]
pub(super) struct Asleep {
    links: Vec<Link>,
    top: Option<u32>,
    len: u64,
}

/// A slot's neighbours, while it is in the stack.
#[derive(Clone, Copy, Default)]
struct Link {
    above: Option<u32>,
    below: Option<u32>,
}

impl Asleep {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Puts a slot on top, which is not in the stack.
    pub(super) fn push(&mut self, id: u32) {
        let at = id as usize;
        if self.links.len() <= at {
            self.links.resize(at + 1, Link::default());
        }
        let below = self.top.replace(id);
        self.links[at] = Link { above: None, below };
        if let Some(below) = below {
            self.links[below as usize].above = Some(id);
        }
        self.len += 1;
    }

    /// Takes the slot on top.
    pub(super) fn pop(&mut self) -> Option<u32> {
        let top = self.top?;
        self.remove(top);
        Some(top)
    }

    /// Takes a slot that is in the stack.
    pub(super) fn remove(&mut self, id: u32) {
        let Link { above, below } = self.links[id as usize];
        match above {
            Some(above) => self.links[above as usize].below = below,
            None => self.top = below,
        }
        if let Some(below) = below {
            self.links[below as usize].above = above;
        }
        self.len -= 1;
    }
}
