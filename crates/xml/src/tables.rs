//! The tables that an element is read with. They belong to the thread, not to the parser: a stream that is between two
//! elements, as an idle one is, holds none.

use crate::index::Index;
use crate::scan::RawAttribute;
use std::cell::RefCell;

/// Kept per thread: a rewritten element is read while its original still is, and a few streams are within an element.
const KEPT: usize = 8;

thread_local! {
    #[expect(clippy::vec_box, reason = "they go to a parser and come back in their box")]
    static FREE: RefCell<Vec<Box<Tables>>> = const { RefCell::new(Vec::new()) };
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) index: Index,
    /// Of the start tag being looked at.
    pub(crate) attributes: Vec<RawAttribute>,
}

/// Empty tables.
pub(crate) fn take() -> Box<Tables> {
    FREE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Gives tables back.
pub(crate) fn give(mut tables: Box<Tables>) {
    tables.index.clear();
    tables.attributes.clear();
    FREE.with_borrow_mut(|free| {
        if free.len() < KEPT {
            free.push(tables);
        }
    });
}
