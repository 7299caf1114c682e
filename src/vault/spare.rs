//! What a thread needs for a while and is dear to make: buffers that have grown, contexts.

use std::sync::{Mutex, PoisonError};

/// Things that nobody uses at the moment.
#[derive(Debug)]
pub(crate) struct Spare<T>(Mutex<Vec<T>>);

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Spare<T> {
    /// One of them, if there is one.
    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Gives one back: whoever takes next gets the one that was used last, which is still near the processor. There are
    /// never more than were in use at the same time, as long as each is taken before a new one is made.
    pub(crate) fn give(&self, thing: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(thing);
    }
}
