//! What is true of a store in a folder of this machine alone: objects can be written before they have a name, and stay
//! half-written; a file may be where the folder should be, and others put things into it that are no objects.

use std::path::{Path, PathBuf};

use super::{Draft, Store, StoreError};

/// Why a place is no folder, and cannot become one.
#[derive(Debug, thiserror::Error)]
#[error("{} is a file, not a folder", path.display())]
pub(super) struct NoFolder {
    /// The root, or what is in its way.
    path: PathBuf,
}

/// Refuses a root that is a file, or that lies beneath one. What cannot be looked at is for whoever uses it to find out.
pub(super) fn refuse_file(root: &Path) -> Result<(), NoFolder> {
    let there = root.ancestors().find_map(|path| Some((path, std::fs::metadata(path).ok()?)));
    match there {
        Some((path, meta)) if !meta.is_dir() => Err(NoFolder { path: path.to_owned() }),
        Some(_) | None => Ok(()),
    }
}

impl Store {
    /// Whether an object can be written before its name is known: in a folder of this machine.
    pub fn has_drafts(&self) -> bool {
        self.inner.local.is_some() && self.inner.writes_here
    }

    /// Begins such an object, where there are any. For a thread that may wait; it lies in the folder `key` meanwhile, where
    /// no listing shows it.
    pub fn draft(&self, key: &str) -> Result<Option<Draft>, StoreError> {
        match &self.inner.local {
            Some(local) if self.inner.writes_here => {
                let begun = local.draft(&self.path("put", key)?).map_err(|e| self.error("put", key, &e))?;
                Ok(Some(Draft::new(self.clone(), key, begun)))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Removes what writers that died left half-written beneath `prefix`, and says how many bytes that was. For stores in
    /// which such things take room: in others there are none, or the server clears them away.
    ///
    /// The caller makes sure that nobody writes there meanwhile.
    pub async fn remove_unfinished(&self, prefix: &str) -> Result<u64, StoreError> {
        let Some(local) = &self.inner.local else { return Ok(0) };
        let path = self.path("clear", prefix)?;
        local.remove_unfinished(&path).await.map_err(|e| self.error("clear", prefix, &e))
    }

    /// Everything that lies directly in the root, whoever put it there, sorted; unfinished objects are not named. Nothing
    /// where the store is no folder: a server's prefix may well have others beside it.
    pub async fn names(&self) -> Result<Vec<String>, StoreError> {
        let Some(local) = &self.inner.local else { return Ok(Vec::new()) };
        local.names().await.map_err(|e| self.error("list", "", &e))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{OpenOptions, StoreErrorKind};
    use super::*;

    #[tokio::test]
    async fn a_file_is_no_store_and_nothing_below_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a file");
        std::fs::write(&file, "content").unwrap();
        for root in [file.clone(), file.join("below/it")] {
            let error = Store::open(root.to_str().unwrap(), &OpenOptions::default()).await.unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Config);
            let why = error.source.unwrap().to_string();
            assert!(why.contains("a file") && why.ends_with("is a file, not a folder"), "{why}");
        }
        assert!(Store::open(folder.path().join("none/yet").to_str().unwrap(), &OpenOptions::default()).await.is_ok());
    }

    #[tokio::test]
    async fn names_are_those_of_all_that_is_in_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        let store = Store::open(root.to_str().unwrap(), &OpenOptions::default()).await.unwrap();
        assert_eq!(store.names().await.unwrap(), Vec::<String>::new(), "it is not there yet");
        store.put("keys/one", "1".into()).await.unwrap();
        std::fs::create_dir(root.join("empty")).unwrap();
        for name in ["a file", "config-tmp-17"] {
            std::fs::write(root.join(name), "").unwrap();
        }
        assert_eq!(store.names().await.unwrap(), ["a file", "empty", "keys"]);
    }
}
