//! Reading a tree out of the vault, node by node.
//!
//! Whoever walks keeps every folder on the way open, so a large tree must not stay in memory: what was sealed is put,
//! opened and still compressed, into a file without a name, and read from there. A crash leaves nothing behind.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek, Write};
use std::num::NonZeroU32;

use super::crypto::MasterKey;
use super::opening::off_thread;
use super::pack::{BlobReader, PackError, plausible};
use super::tree::{Node, TreeError, TreeReader};
use super::{BlobKey, BlobType, Id, Index, Located, Vault, VaultError, layout};

/// Plaintexts up to this many bytes are decompressed and verified at once; longer ones as they are read.
const WHOLE: u64 = 8 << 20;
/// Bytes read ahead of a tree that is decompressed as it is read.
const AHEAD: usize = 256 << 10;

/// The nodes of a stored tree, in order of name.
///
/// A tree of usual size is verified before the first node is handed out. That a very large one is what it should be is
/// known only at its end: an error may follow nodes that were handed out.
pub struct TreeSource {
    reader: TreeReader<Box<dyn BufRead + Send>>,
}

impl std::fmt::Debug for TreeSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TreeSource").finish_non_exhaustive()
    }
}

impl Iterator for TreeSource {
    type Item = Result<Node, TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.reader.next()
    }
}

impl Vault {
    /// Opens a tree for reading. A folder of a million entries is in memory only while it is fetched, and then compressed.
    pub async fn open_tree(&self, index: &Index, tree: &Id) -> Result<TreeSource, VaultError> {
        let key = BlobKey::tree(*tree);
        let places = index.get_all(key);
        let input = if places.first().is_some_and(|at| at.plain_len() > WHOLE) {
            match self.open_large(*tree, &places).await {
                Err(error) if error.is_not_found() => self.open_large(*tree, &self.look_again(key).await?).await?,
                opened => opened?,
            }
        } else {
            Box::new(Cursor::new(self.load_blob(index, key).await?))
        };
        Ok(TreeSource { reader: TreeReader::new(input) })
    }

    /// Whether a tree is so large that it is not held.
    pub fn is_large(&self, index: &Index, tree: &Id) -> bool {
        index.get(BlobKey::tree(*tree)).is_some_and(|at| at.plain_len() > WHOLE)
    }

    /// A tree that is decompressed as it is read, from the first place where it is whole.
    async fn open_large(&self, tree: Id, places: &[Located]) -> Result<Box<dyn BufRead + Send>, VaultError> {
        let mut failed = VaultError::NoBlob { kind: BlobType::Tree, id: tree };
        for at in places.iter().copied() {
            let start = u64::from(at.offset);
            let sealed = match self.load_pack_range(&at.pack, start..start + u64::from(at.length)).await {
                Ok(sealed) => sealed,
                Err(error) => {
                    failed = error;
                    continue;
                }
            };
            let key = self.key().clone();
            match off_thread(move || open_aside(&key, &tree, sealed.into(), at.uncompressed)).await {
                Ok(input) => return Ok(input),
                Err(error) => failed = VaultError::damaged(layout::pack(&at.pack), error),
            }
        }
        Err(failed)
    }

    /// The error for a tree that was opened but could not be read to its end.
    pub fn damaged_tree(&self, tree: &Id, error: TreeError) -> VaultError {
        VaultError::damaged(format!("tree {tree}"), error)
    }
}

/// Opens a sealed tree and puts it, compressed as it is, where it takes no memory.
fn open_aside(
    key: &MasterKey,
    tree: &Id,
    mut sealed: Vec<u8>,
    uncompressed: Option<NonZeroU32>,
) -> Result<Box<dyn BufRead + Send>, PackError> {
    let length = u32::try_from(sealed.len()).map_err(|_| PackError::Implausible(sealed.len() as u64))?;
    plausible(BlobType::Tree, length, uncompressed)?;
    let payload = key.open_in_place(&mut sealed)?;
    let compressed: Box<dyn BufRead + Send> = match aside(payload) {
        Ok(file) => Box::new(BufReader::with_capacity(AHEAD, file)),
        Err(error) => {
            tracing::debug!(%error, "a large tree stays in memory");
            Box::new(Cursor::new(payload.to_vec()))
        }
    };
    let plain = BlobReader::over(compressed, tree, uncompressed)?;
    Ok(Box::new(BufReader::with_capacity(AHEAD, plain)))
}

fn aside(payload: &[u8]) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(payload)?;
    file.rewind()?;
    Ok(file)
}
