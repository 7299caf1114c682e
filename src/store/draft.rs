//! An object that is written before its name is known: a pack, which is named by its hash.

use super::{Store, StoreError, local};

/// An object on its way into a folder of this machine, for the one thread that writes it. Gone unless it is published.
#[derive(Debug)]
pub struct Draft {
    store: Store,
    /// The folder in which it lies until then.
    key: String,
    begun: local::Draft,
    len: u64,
}

impl Draft {
    pub(super) fn new(store: Store, key: &str, begun: local::Draft) -> Self {
        Self { store, key: key.to_owned(), begun, len: 0 }
    }

    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes behind what is there. When it fails, nothing is known of what is there.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.begun.append(bytes).map_err(|e| self.store.error("put", &self.key, &e))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Reads what was written from `at` on; it must reach as far as `buffer`.
    pub fn read(&self, at: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.begun.read(at, buffer).map_err(|e| self.store.error("get", &self.key, &e))
    }

    /// Makes it the object `key`, over an older one if there is one. Durable when it returns.
    pub async fn publish(self, key: &str) -> Result<(), StoreError> {
        let Self { store, begun, .. } = self;
        let path = store.path("put", key)?;
        begun.publish(path).await.map_err(|e| store.error("put", key, &e))
    }
}
