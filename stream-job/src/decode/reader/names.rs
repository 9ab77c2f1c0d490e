//! The names of one JSON object.

use std::borrow::Cow;
use std::collections::HashSet;

/// The names of an object so far.
#[derive(Default)]
pub(super) struct Names<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    /// Above this many a set is faster than a look at each.
    const FEW: usize = 16;

    /// Whether the name is new.
    pub(super) fn is_new(&self, name: &str) -> bool {
        !self.many.contains(name) && !self.few.iter().any(|seen| seen == name)
    }

    /// Adds a name.
    pub(super) fn keep(&mut self, name: Cow<'a, str>) {
        if self.few.len() < Self::FEW {
            self.few.push(name);
        } else {
            self.many.insert(name);
        }
    }
}
