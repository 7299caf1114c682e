//! A folder as an object store, durable to the letter.
//!
//! Invariant: a put or delete that returned survives a power cut. A put writes a temporary file beside its target, syncs
//! it, publishes it under its name in one step and syncs the folder; folders are synced into their parents before anything
//! in them is acknowledged. What is too long to be held in memory until its name is known is such a temporary file from its
//! first byte on. A crash leaves at most a temporary file, which listings skip (the name is the one restic
//! gives its own) and nobody reads; a prune removes it. A sync that failed is an error, and nothing here tries it again: the kernel may have
//! dropped the pages it could not write.
//!
//! Only what [`Store`](super::Store) uses is implemented: no multipart, copy or listing by delimiter.

use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::Path as FsPath;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tree::{Tree, Which};

mod draft;
mod tree;

pub(super) use draft::Draft;

const STORE: &str = "local";
/// Bytes that are read from a disk of this machine where the call is made: handing the work to another thread and waiting
/// for it costs several times as much, and trees are read by the thousand.
const INLINE: u64 = 64 << 10;
/// Deletes that share their folders' syncs.
const DELETE_BATCH: usize = 256;

/// File systems that other machines write to as well, whose listings may be behind: NFS, SMB, CIFS, SMB2, FUSE, 9P, Ceph, AFS
/// (`statfs(2)`, `linux/magic.h`).
const SHARED: [u64; 8] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997, 0x00c3_6400, 0x5346_414f];

/// Whether the folder, or the nearest one above that exists, lies on a file system of this machine alone.
pub(super) fn is_on_this_machine(root: &FsPath) -> bool {
    let there = root.ancestors().find_map(|folder| rustix::fs::statfs(folder).ok());
    there.is_some_and(|found| !SHARED.contains(&(found.f_type.cast_unsigned() & 0xffff_ffff)))
}

/// A folder whose objects are files.
#[derive(Debug)]
pub(super) struct DurableLocal {
    tree: Arc<Tree>,
}

impl DurableLocal {
    /// The store in `root`, which is absolute. Nothing is created until the first put.
    pub(super) fn new(root: &FsPath) -> Self {
        Self { tree: Arc::new(Tree::new(root, is_on_this_machine(root))) }
    }

    /// Removes what writers that died left half-written beneath `prefix`, and says how many bytes that was.
    pub(super) async fn remove_unfinished(&self, prefix: &Path) -> Result<u64> {
        let prefix = prefix.clone();
        let sweep = move |tree: &Tree| {
            let found = tree.list(&prefix, Which::Unfinished).map_err(|e| io_error(&prefix, e))?;
            let bytes = found.iter().map(|meta| meta.size).sum();
            let deleted = tree.delete(found.into_iter().map(|meta| Ok(meta.location)).collect());
            deleted.into_iter().try_for_each(|deleted| deleted.map(drop)).map(|()| bytes)
        };
        self.blocking(sweep).await
    }

    /// What lies directly in the root, but for unfinished objects; nothing when there is no root yet.
    pub(super) async fn names(&self) -> Result<Vec<String>> {
        self.blocking(|tree| tree.names().map_err(|e| io_error(&Path::ROOT, e))).await
    }

    /// Reads a range on the calling thread.
    pub(super) fn read_into<'b>(
        &self,
        location: &Path,
        range: &Range<u64>,
        buffer: &'b mut Vec<u8>,
    ) -> io::Result<&'b [u8]> {
        self.tree.read_into(location, range, buffer)
    }

    /// Begins an object whose name is not known yet, in a folder of the store, on the calling thread.
    pub(super) fn draft(&self, folder: &Path) -> Result<Draft> {
        Draft::begin(&self.tree, folder).map_err(|source| io_error(folder, source))
    }

    /// Runs file work off the async threads.
    async fn blocking<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Tree) -> Result<T> + Send + 'static,
    {
        let tree = self.tree.clone();
        tokio::task::spawn_blocking(move || work(&tree)).await?
    }
}

impl std::fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DurableLocal({})", self.tree.root.display())
    }
}

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let location = location.clone();
        self.blocking(move |tree| tree.put(&location, &payload, opts.mode)).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(not_implemented("put_multipart"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let location = location.clone();
        self.blocking(move |tree| tree.open(&location, &options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let length: u64 = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        if self.tree.is_near && length <= INLINE {
            return self.tree.read(location, ranges).map_err(|source| io_error(location, source));
        }
        let (location, ranges) = (location.clone(), ranges.to_vec());
        self.blocking(move |tree| tree.read(&location, &ranges).map_err(|source| io_error(&location, source))).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let tree = self.tree.clone();
        locations
            .chunks(DELETE_BATCH)
            .then(move |batch| {
                let tree = tree.clone();
                async move {
                    let deleted = tokio::task::spawn_blocking(move || tree.delete(batch)).await;
                    deleted.unwrap_or_else(|e| vec![Err(e.into())])
                }
            })
            .flat_map(futures::stream::iter)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (tree, prefix) = (self.tree.clone(), prefix.cloned().unwrap_or(Path::ROOT));
        futures::stream::once(async move {
            let walked = tokio::task::spawn_blocking(move || {
                tree.list(&prefix, Which::Objects).map_err(|e| io_error(&prefix, e))
            });
            walked.await.unwrap_or_else(|e| Err(e.into()))
        })
        .flat_map(|walked| match walked {
            Ok(found) => futures::stream::iter(found).map(Ok).boxed(),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        })
        .boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(not_implemented("list_with_delimiter"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(not_implemented("copy"))
    }
}

fn io_error(location: &Path, source: io::Error) -> Error {
    match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            Error::NotFound { path: location.to_string(), source: source.into() }
        }
        _ => generic(source.into()),
    }
}

/// What a draft says that a failed write left in an unknown state.
pub(super) fn half_written() -> Error {
    generic("an earlier write to it failed".into())
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Generic { store: STORE, source }
}

fn not_implemented(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: STORE.to_owned() }
}

#[cfg(test)]
mod tests;
