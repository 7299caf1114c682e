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
    /// Whether every write succeeded.
    whole: bool,
}

impl Draft {
    pub(super) fn new(store: Store, key: &str, begun: local::Draft) -> Self {
        Self { store, key: key.to_owned(), begun, len: 0, whole: true }
    }

    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes behind what is there. When it fails, nothing is known of what is there: the draft is lost.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.intact(&self.key)?;
        self.whole = false;
        self.begun.append(bytes).map_err(|e| self.store.error("put", &self.key, &e))?;
        self.whole = true;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Reads what was written from `at` on; it must reach as far as `buffer`.
    pub fn read(&self, at: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.intact(&self.key)?;
        self.begun.read(at, buffer).map_err(|e| self.store.error("get", &self.key, &e))
    }

    /// Makes it the object `key`, over an older one if there is one. Durable when it returns.
    pub async fn publish(self, key: &str) -> Result<(), StoreError> {
        self.intact(key)?;
        let Self { store, begun, .. } = self;
        let path = store.path("put", key)?;
        begun.publish(path).await.map_err(|e| store.error("put", key, &e))
    }

    /// A write that failed may have left some of its bytes: whoever overlooked that must not go on behind them.
    fn intact(&self, key: &str) -> Result<(), StoreError> {
        if self.whole { Ok(()) } else { Err(self.store.error("put", key, &local::half_written())) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[tokio::test]
    async fn what_a_failed_write_left_is_never_published() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap(), &Default::default()).await.unwrap();
        let full = || File::options().read(true).write(true).open("/dev/full").unwrap();
        let mut draft = store.draft("data/00").unwrap().unwrap();
        draft.append(b"begin").unwrap();
        let file = draft.begun.replace_file(full());
        let refused = draft.append(b"more").unwrap_err();
        assert!(refused.to_string().contains("data/00"), "{refused}");
        // There is room again.
        draft.begun.replace_file(file);
        assert!(draft.append(b"more").is_err());
        assert!(draft.read(0, &mut [0; 5]).is_err());
        assert_eq!(draft.len(), 5);
        draft.publish("data/ab/half").await.unwrap_err();
        assert!(store.list("data").await.unwrap().is_empty());
        assert_eq!(std::fs::read_dir(folder.path().join("data/00")).unwrap().count(), 0);
    }
}
