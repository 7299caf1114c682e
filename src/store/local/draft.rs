//! An object while it is written, piece by piece, by one thread that may wait.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use object_store::path::Path;
use object_store::{PutMode, Result};

use super::tree::Tree;
use super::{generic, io_error};

/// A temporary file, removed unless it is published. After a crash it is left, as that of a put is.
#[derive(Debug)]
pub(in crate::store) struct Draft {
    tree: Arc<Tree>,
    path: PathBuf,
    file: File,
    /// Whether the temporary name is still ours: another process may have made a file of that name since.
    named: bool,
}

impl Draft {
    pub(super) fn begin(tree: &Arc<Tree>, folder: &Path) -> io::Result<Self> {
        let folder = tree.path(folder);
        tree.settle(&folder)?;
        let (path, file) = tree.make_temporary(&folder.join("draft"))?;
        Ok(Self { tree: tree.clone(), path, file, named: true })
    }

    pub(in crate::store) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|source| generic(source.into()))
    }

    pub(in crate::store) fn read(&self, at: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buffer, at).map_err(|source| generic(source.into()))
    }

    #[cfg(test)]
    pub(in crate::store) fn replace_file(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    pub(in crate::store) async fn publish(mut self, location: Path) -> Result<()> {
        let publish = move || self.rename(&location).map_err(|source| io_error(&location, source));
        tokio::task::spawn_blocking(publish).await?
    }

    /// The folder that it leaves is not synced: what a power cut brings back there is a temporary name.
    fn rename(&mut self, location: &Path) -> io::Result<()> {
        let target = self.tree.path(location);
        let folder = target.parent().unwrap_or(&self.tree.root);
        self.tree.settle(folder)?;
        self.file.sync_all()?;
        match self.tree.publish(&self.path, &target, folder, PutMode::Overwrite) {
            // One of the two folders is a link to another disk.
            Err(error) if error.kind() == ErrorKind::CrossesDevices => self.copy(&target, folder),
            published => {
                self.named = published.is_err();
                published
            }
        }
    }

    fn copy(&self, target: &FsPath, folder: &FsPath) -> io::Result<()> {
        let (path, mut file) = self.tree.make_temporary(target)?;
        let mut whole = &self.file;
        let copied = whole
            .rewind()
            .and_then(|()| io::copy(&mut whole, &mut file))
            .and_then(|_| file.sync_all())
            .and_then(|()| self.tree.publish(&path, target, folder, PutMode::Overwrite));
        if copied.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        copied
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Best effort.
        if self.named {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
