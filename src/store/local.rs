//! A folder as an object store, durable to the letter.
//!
//! Invariant: a put or delete that returned survives a power cut. A put writes a temporary file beside its target, syncs
//! it, publishes it under its name in one step and syncs the folder; folders are synced into their parents before anything
//! in them is acknowledged. A crash leaves at most a temporary file, which listings skip (the name is the one restic
//! gives its own) and nobody reads; a prune removes it. A sync that failed is an error, and nothing here tries it again: the kernel may have
//! dropped the pages it could not write.
//!
//! Only what [`Store`](super::Store) uses is implemented: no multipart, copy or listing by delimiter.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path as FsPath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::buffer;

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

#[derive(Debug)]
struct Tree {
    root: PathBuf,
    /// Whether it lies on a file system of this machine, which answers at once or never.
    is_near: bool,
    /// Whether the root was there when the store was opened. It is then never made anew: a disk that was unmounted
    /// meanwhile must not turn into a folder on another disk, nor into an empty listing.
    root_expected: bool,
    /// Folders known to exist, with their entries in their parents synced.
    settled: Mutex<HashSet<PathBuf>>,
    temporaries: AtomicU64,
}

impl DurableLocal {
    /// The store in `root`, which is absolute. Nothing is created until the first put.
    pub(super) fn new(root: &FsPath) -> Self {
        let root_expected = root.is_dir();
        let settled = if root_expected { HashSet::from([root.to_owned()]) } else { HashSet::new() };
        let temporaries = AtomicU64::new(u64::from(std::process::id()) * 1_000_000);
        let is_near = is_on_this_machine(root);
        let tree = Tree { root: root.to_owned(), is_near, root_expected, settled: Mutex::new(settled), temporaries };
        Self { tree: Arc::new(tree) }
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

impl Tree {
    fn path(&self, location: &Path) -> PathBuf {
        self.root.join(location.as_ref())
    }

    fn put(&self, location: &Path, payload: &PutPayload, mode: PutMode) -> Result<PutResult> {
        if location.filename().is_none_or(is_temporary) {
            let source = "the name is reserved for temporary files".into();
            return Err(Error::NotSupported { source });
        }
        let target = self.path(location);
        // The root cannot be the target: it has no file name.
        let folder = target.parent().unwrap_or(&self.root);
        let written = self.settle(folder).and_then(|()| self.write_temporary(&target, payload));
        let (temporary, e_tag) = written.map_err(|e| io_error(location, e))?;
        let published = self.publish(&temporary, &target, folder, mode);
        if published.is_err() {
            // Best effort: what is left is skipped by listings.
            let _ = std::fs::remove_file(&temporary);
        }
        published.map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => Error::AlreadyExists { path: location.to_string(), source: e.into() },
            ErrorKind::ResourceBusy => Error::Precondition { path: location.to_string(), source: e.into() },
            _ => io_error(location, e),
        })?;
        Ok(PutResult { e_tag: Some(e_tag), version: None, extensions: Default::default() })
    }

    /// Makes `folder` and what is missing above it, each synced into its parent, once in this process.
    fn settle(&self, folder: &FsPath) -> io::Result<()> {
        let settled = |folder: &FsPath| self.settled.lock().unwrap_or_else(PoisonError::into_inner).contains(folder);
        if settled(folder) {
            return Ok(());
        }
        let parent = folder.parent().ok_or(ErrorKind::NotFound)?;
        match make_folder(folder) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                self.settle(parent)?;
                make_folder(folder)?;
            }
            made => made?,
        }
        // Also when it was there: whoever made it may have crashed before it was synced.
        sync_folder(parent)?;
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
        Ok(())
    }

    /// Writes and syncs the body beside `target`. Gives the temporary name and the entity tag of what was written.
    fn write_temporary(&self, target: &FsPath, payload: &PutPayload) -> io::Result<(PathBuf, String)> {
        let (path, mut file) = loop {
            let mut name = target.as_os_str().to_owned();
            name.push(format!("-tmp-{}", self.temporaries.fetch_add(1, Ordering::Relaxed)));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name) {
                Ok(file) => break (PathBuf::from(name), file),
                // A left-over, or another host's on a shared file system.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        };
        let written = payload.iter().try_for_each(|part| file.write_all(part)).and_then(|()| file.sync_all());
        match written.and_then(|()| file.metadata()) {
            Ok(meta) => Ok((path, entity_tag(&meta))),
            Err(e) => {
                let _ = std::fs::remove_file(&path);
                Err(e)
            }
        }
    }

    fn publish(&self, temporary: &FsPath, target: &FsPath, folder: &FsPath, mode: PutMode) -> io::Result<()> {
        match mode {
            PutMode::Overwrite => std::fs::rename(temporary, target)?,
            PutMode::Create => rename_new(temporary, target)?,
            PutMode::Update(version) => {
                // All updates in a folder take turns on the folder's own lock, which the kernel drops with its holder.
                let lock = File::open(folder)?;
                lock.lock()?;
                let current = std::fs::metadata(target).map(|meta| entity_tag(&meta)).ok();
                if current.is_none() || current != version.e_tag {
                    return Err(ErrorKind::ResourceBusy.into());
                }
                std::fs::rename(temporary, target)?;
            }
        }
        sync_folder(folder)
    }

    fn open(&self, location: &Path, options: &GetOptions) -> Result<GetResult> {
        let path = self.path(location);
        let opened = File::open(&path).and_then(|file| file.metadata().map(|meta| (file, meta)));
        let (file, meta) = opened.and_then(refuse_folder).map_err(|e| io_error(location, e))?;
        let meta = object_meta(location.clone(), &meta);
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(range) => range.as_range(meta.size).map_err(|e| generic(e.into()))?,
            None => 0..meta.size,
        };
        let payload = GetResultPayload::File(file, path);
        Ok(GetResult { payload, meta, range, attributes: Default::default(), extensions: Default::default() })
    }

    fn read(&self, location: &Path, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        let file = File::open(self.path(location))?;
        let (file, meta) = refuse_folder((file.metadata().map(|meta| (file, meta)))?)?;
        let read = |range: &Range<u64>| {
            // Asked before anything is allocated: the range may come from a damaged index.
            if range.start > range.end || range.end > meta.len() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let length = usize::try_from(range.end - range.start).map_err(|_| ErrorKind::FileTooLarge)?;
            let mut body = buffer::zeroed(length);
            file.read_exact_at(&mut body, range.start)?;
            Ok(Bytes::from(body))
        };
        ranges.iter().map(read).collect()
    }

    /// Unlinks a batch, then syncs each folder once. A missing file's folder is synced too: whoever removed it may have
    /// crashed before that.
    fn delete(&self, batch: Vec<Result<Path>>) -> Vec<Result<Path>> {
        let mut folders = HashSet::new();
        let unlink = |location: Result<Path>| {
            let location = location?;
            let path = self.path(&location);
            folders.extend(path.parent().map(FsPath::to_owned));
            match std::fs::remove_file(&path) {
                Err(e) if !is_missing(&e) => Err(io_error(&location, e)),
                _ => Ok(location),
            }
        };
        let mut unlinked: Vec<_> = batch.into_iter().map(unlink).collect();
        for folder in folders {
            let Err(failed) = sync_folder(&folder) else { continue };
            if is_missing(&failed) {
                continue;
            }
            for result in &mut unlinked {
                if let Ok(location) = result
                    && self.path(location).parent() == Some(&folder)
                {
                    *result = Err(io_error(location, failed.kind().into()));
                }
            }
        }
        unlinked
    }

    fn list(&self, prefix: &Path, which: Which) -> io::Result<Vec<ObjectMeta>> {
        let mut found = Vec::new();
        let mut folders = vec![(self.path(prefix), prefix.to_string())];
        while let Some((folder, key)) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Err(e) if is_missing(&e) && (!self.root_expected || self.root.is_dir()) => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                // Keys are text; a name that is none was not written by us.
                let Ok(name) = entry.file_name().into_string() else { continue };
                let key = if key.is_empty() { name.clone() } else { format!("{key}/{name}") };
                // Follows links: a folder of packs may well lie on another disk.
                let meta = match std::fs::metadata(entry.path()) {
                    Err(e) if is_missing(&e) => continue,
                    meta => meta?,
                };
                if meta.is_dir() {
                    folders.push((entry.path(), key));
                } else if let Ok(location) = Path::parse(&key)
                    && meta.is_file()
                    && is_temporary(&name) == (which == Which::Unfinished)
                {
                    found.push(object_meta(location, &meta));
                }
            }
        }
        Ok(found)
    }
}

/// What a listing looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    /// What was published.
    Objects,
    /// Temporary files.
    Unfinished,
}

/// `<name>-tmp-<digits>`: what restic calls its own unfinished files, so each tool skips the other's.
fn is_temporary(name: &str) -> bool {
    let digits = name.rsplit_once("-tmp-").map(|(_, digits)| digits);
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn make_folder(folder: &FsPath) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Makes the folder's entries durable. File systems that cannot sync a folder say EINVAL and order it themselves.
fn sync_folder(folder: &FsPath) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// Renames unless `to` is there. A file system without such a rename gets a link and an unlink, which is as atomic; a
/// crash between the two leaves a second name that listings skip.
fn rename_new(from: &FsPath, to: &FsPath) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

fn refuse_folder((file, meta): (File, std::fs::Metadata)) -> io::Result<(File, std::fs::Metadata)> {
    if meta.is_file() { Ok((file, meta)) } else { Err(ErrorKind::NotFound.into()) }
}

fn object_meta(location: Path, meta: &std::fs::Metadata) -> ObjectMeta {
    // Clamped to what every calendar can print: the time comes from the disk.
    let latest = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_214_400);
    let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH).clamp(SystemTime::UNIX_EPOCH, latest);
    let e_tag = Some(entity_tag(meta));
    ObjectMeta { location, last_modified: modified.into(), size: meta.len(), e_tag, version: None }
}

/// Changes with every put, because every put makes a new file.
fn entity_tag(meta: &std::fs::Metadata) -> String {
    format!("\"{:x}-{:x}.{:x}-{:x}\"", meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size())
}

fn io_error(location: &Path, source: io::Error) -> Error {
    match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            Error::NotFound { path: location.to_string(), source: source.into() }
        }
        _ => generic(source.into()),
    }
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Generic { store: STORE, source }
}

fn not_implemented(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: STORE.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::{OpenOptions as StoreOptions, PutNew, Store, StoreErrorKind};

    async fn open(root: &FsPath) -> Store {
        Store::open(root.to_str().unwrap(), &StoreOptions::default()).await.unwrap()
    }

    fn files(folder: &FsPath) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn files_and_folders_are_private_and_nothing_is_left_over() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a/b");
        let store = open(&root).await;
        assert_eq!(store.list("").await.unwrap(), [], "a vault that is not there yet is empty");
        assert!(!root.exists(), "nothing is made before the first put");
        store.put("data/ab/abcd", "x".into()).await.unwrap();
        store.put("data/ab/abcd", "y".into()).await.unwrap();
        store.put_new("data/ab/abce", "z".into()).await.unwrap();
        assert_eq!(store.put_new("data/ab/abce", "q".into()).await.unwrap(), PutNew::Exists);
        let mode = |path: &str| std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
        for made in ["a", "a/b", "a/b/data", "a/b/data/ab"] {
            assert_eq!(mode(made), 0o700, "{made}");
        }
        assert_eq!(mode("a/b/data/ab/abcd"), 0o600);
        assert_eq!(mode("a/b/data/ab/abce"), 0o600);
        assert_eq!(files(&root.join("data/ab")), ["abcd", "abce"]);
    }

    #[tokio::test]
    async fn unfinished_and_foreign_files_are_not_listed() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        store.put("data/ab/abcd", "x".into()).await.unwrap();
        for name in ["abcd-tmp-1234567", "config-tmp-9"] {
            std::fs::write(folder.path().join("data/ab").join(name), "torn").unwrap();
        }
        std::fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"not\xfftext")), "x").unwrap();
        std::fs::write(folder.path().join("line\nbreak"), "x").unwrap();
        rustix::fs::mkfifoat(CWD, folder.path().join("fifo"), 0o600.into()).unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.path().join("dangling")).unwrap();
        let keys: Vec<_> = store.list("").await.unwrap().into_iter().map(|info| info.key).collect();
        assert_eq!(keys, ["data/ab/abcd"]);
        assert_eq!(store.put("lease-tmp-1", "x".into()).await.unwrap_err().kind, StoreErrorKind::Config);
        store.put("host-tmp-a/lease-tmp-", "x".into()).await.unwrap();
        assert_eq!(store.list("host-tmp-a").await.unwrap().len(), 1, "only digits at the end mark a temporary file");
    }

    #[tokio::test]
    async fn unfinished_files_go_when_asked_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await;
        store.put("data/ab/whole", "x".into()).await.unwrap();
        for left in ["data/ab/one-tmp-1", "data/two-tmp-22", "locks/three-tmp-3"] {
            std::fs::create_dir_all(dir.path().join(left).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(left), "half").unwrap();
        }
        std::fs::write(dir.path().join("data/ab/not-tmp-x"), "theirs").unwrap();
        assert_eq!(store.remove_unfinished("data").await.unwrap(), 8);
        assert_eq!(store.remove_unfinished("data").await.unwrap(), 0);
        assert_eq!(files(&dir.path().join("data/ab")), ["not-tmp-x", "whole"]);
        assert_eq!(files(&dir.path().join("locks")), ["three-tmp-3"]);
    }

    #[tokio::test]
    async fn a_folder_of_packs_may_be_a_link() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(disk.path(), folder.path().join("data")).unwrap();
        let store = open(folder.path()).await;
        store.put("data/ab/abcd", "x".into()).await.unwrap();
        assert!(disk.path().join("ab/abcd").exists());
        assert_eq!(store.list("data").await.unwrap()[0].key, "data/ab/abcd");
    }

    #[tokio::test]
    async fn a_left_over_under_the_next_name_is_stepped_over() {
        let folder = tempfile::tempdir().unwrap();
        let local = DurableLocal::new(folder.path());
        let next = local.tree.temporaries.load(Ordering::Relaxed);
        std::fs::write(folder.path().join(format!("k-tmp-{next}")), "another host's").unwrap();
        let store = Store::from_object_store(Arc::new(local), "", "file:///test");
        store.put("k", "mine".into()).await.unwrap();
        assert_eq!(files(folder.path()), ["k".to_owned(), format!("k-tmp-{next}")]);
    }

    #[tokio::test]
    async fn a_root_that_vanished_is_neither_empty_nor_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("disk");
        std::fs::create_dir(&root).unwrap();
        let store = open(&root).await;
        store.put("config", "x".into()).await.unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(store.list("").await.unwrap_err().kind, StoreErrorKind::NoBucket);
        assert_eq!(store.list("data").await.unwrap_err().kind, StoreErrorKind::NoBucket);
        assert_eq!(store.put("config", "x".into()).await.unwrap_err().kind, StoreErrorKind::NoBucket);
        assert_eq!(store.put("data/ab/abcd", "x".into()).await.unwrap_err().kind, StoreErrorKind::NoBucket);
        assert!(!root.exists());
    }

    #[tokio::test]
    async fn folders_and_odd_times_do_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        store.put("data/k", "x".into()).await.unwrap();
        assert_eq!(store.get("data").await.unwrap_err().kind, StoreErrorKind::NotFound);
        assert_eq!(store.get("data/k/below").await.unwrap_err().kind, StoreErrorKind::NotFound);
        assert!(store.put("data/k/below", "x".into()).await.is_err());
        let file = File::options().write(true).open(folder.path().join("data/k")).unwrap();
        let (early, late) = (Duration::from_secs(9), Duration::from_secs(1 << 33));
        for time in [SystemTime::UNIX_EPOCH - early, SystemTime::UNIX_EPOCH + late] {
            file.set_modified(time).unwrap();
            assert_eq!(store.list("").await.unwrap().len(), 1);
            assert_eq!(store.get("data/k").await.unwrap(), "x");
        }
    }

    #[tokio::test]
    async fn a_full_disk_says_so_and_keeps_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(folder.path())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            // Not root, or a container without the right to mount: nothing to try this on.
            return;
        }
        let store = open(folder.path()).await;
        store.put("small", vec![1; 4096].into()).await.unwrap();
        let put = store.put("data/large", vec![2; 2 << 20].into()).await;
        let created = store.put_new("data/large", vec![2; 2 << 20].into()).await;
        let left = files(&folder.path().join("data"));
        let kept = store.get("small").await;
        let again = store.put("data/fits", vec![3; 4096].into()).await;
        let unmounted = std::process::Command::new("umount").arg(folder.path()).status().unwrap();
        assert!(unmounted.success());
        assert_eq!(put.unwrap_err().kind, StoreErrorKind::NoSpace);
        assert_eq!(created.unwrap_err().kind, StoreErrorKind::NoSpace);
        assert_eq!(left, Vec::<String>::new(), "the unfinished file is gone");
        assert_eq!(kept.unwrap().len(), 4096);
        again.unwrap();
    }
}
