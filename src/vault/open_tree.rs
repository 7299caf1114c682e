//! Reading a tree out of the vault, node by node.

use std::io::{BufRead, BufReader, Cursor};

use super::pack::BlobReader;
use super::tree::{Node, TreeError, TreeReader};
use super::{BlobKey, Id, Index, Vault, VaultError, layout};

/// Plaintexts up to this many bytes are decompressed and verified at once; longer ones as they are read.
const WHOLE: u64 = 16 << 20;
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
    /// Opens a tree for reading. A folder of a million entries is never in memory as a whole.
    pub async fn open_tree(&self, index: &Index, tree: &Id) -> Result<TreeSource, VaultError> {
        let key = BlobKey::tree(*tree);
        let input: Box<dyn BufRead + Send> = match index.get(key) {
            Some(at) if at.plain_len() > WHOLE => {
                let start = u64::from(at.offset);
                let sealed = self.load_pack_range(&at.pack, start..start + u64::from(at.length)).await?;
                let reader = BlobReader::open(self.key(), tree, &sealed, at.uncompressed)
                    .map_err(|error| VaultError::damaged(layout::pack(&at.pack), error))?;
                Box::new(BufReader::with_capacity(AHEAD, reader))
            }
            Some(_) | None => Box::new(Cursor::new(self.load_blob(index, key).await?)),
        };
        Ok(TreeSource { reader: TreeReader::new(input) })
    }

    /// The error for a tree that was opened but could not be read to its end.
    pub fn damaged_tree(&self, tree: &Id, error: TreeError) -> VaultError {
        VaultError::damaged(format!("tree {tree}"), error)
    }
}
