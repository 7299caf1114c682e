//! The files: how each is written, published, read, removed and listed, so that what returned is on the disk.

use std::collections::HashSet;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path as FsPath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetResult, GetResultPayload, ObjectMeta, PutMode, PutPayload, PutResult, Result,
};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::{generic, io_error};

#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: PathBuf,
    /// Whether it lies on a file system of this machine, which answers at once or never.
    pub(super) is_near: bool,
    /// Whether the root was there when the store was opened. It is then never made anew: a disk that was unmounted
    /// meanwhile must not turn into a folder on another disk, nor into an empty listing.
    root_expected: bool,
    /// Folders known to exist, with their entries in their parents synced.
    settled: Mutex<HashSet<PathBuf>>,
    pub(super) temporaries: AtomicU64,
}

impl Tree {
    pub(super) fn new(root: &FsPath, is_near: bool) -> Self {
        let root_expected = root.is_dir();
        let settled = if root_expected { HashSet::from([root.to_owned()]) } else { HashSet::new() };
        let temporaries = AtomicU64::new(u64::from(std::process::id()) * 1_000_000);
        Self { root: root.to_owned(), is_near, root_expected, settled: Mutex::new(settled), temporaries }
    }

    pub(super) fn path(&self, location: &Path) -> PathBuf {
        self.root.join(location.as_ref())
    }

    pub(super) fn put(&self, location: &Path, payload: &PutPayload, mode: PutMode) -> Result<PutResult> {
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
    pub(super) fn settle(&self, folder: &FsPath) -> io::Result<()> {
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

    /// Makes a temporary file beside `target`.
    pub(super) fn make_temporary(&self, target: &FsPath) -> io::Result<(PathBuf, File)> {
        loop {
            let mut name = target.as_os_str().to_owned();
            name.push(format!("-tmp-{}", self.temporaries.fetch_add(1, Ordering::Relaxed)));
            match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&name) {
                Ok(file) => return Ok((PathBuf::from(name), file)),
                // A left-over, or another host's on a shared file system.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Writes and syncs the body beside `target`. Gives the temporary name and the entity tag of what was written.
    fn write_temporary(&self, target: &FsPath, payload: &PutPayload) -> io::Result<(PathBuf, String)> {
        let (path, mut file) = self.make_temporary(target)?;
        let written = payload.iter().try_for_each(|part| file.write_all(part)).and_then(|()| file.sync_all());
        match written.and_then(|()| file.metadata()) {
            Ok(meta) => Ok((path, entity_tag(&meta))),
            Err(e) => {
                let _ = std::fs::remove_file(&path);
                Err(e)
            }
        }
    }

    pub(super) fn publish(
        &self,
        temporary: &FsPath,
        target: &FsPath,
        folder: &FsPath,
        mode: PutMode,
    ) -> io::Result<()> {
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

    pub(super) fn open(&self, location: &Path, options: &GetOptions) -> Result<GetResult> {
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

    pub(super) fn read(&self, location: &Path, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        let (file, meta) = self.open_object(location)?;
        let read = |range: &Range<u64>| {
            let mut body = vec![0; length(range, &meta)?];
            file.read_exact_at(&mut body, range.start)?;
            Ok(Bytes::from(body))
        };
        ranges.iter().map(read).collect()
    }

    /// Reads into a buffer, which grows where it is too short.
    pub(super) fn read_into<'b>(
        &self,
        location: &Path,
        range: &Range<u64>,
        buffer: &'b mut Vec<u8>,
    ) -> io::Result<&'b [u8]> {
        let (file, meta) = self.open_object(location)?;
        let length = length(range, &meta)?;
        if buffer.len() < length {
            // Not resized: what was in it would be copied.
            *buffer = vec![0; length];
        }
        let body = &mut buffer[..length];
        file.read_exact_at(body, range.start)?;
        Ok(body)
    }

    fn open_object(&self, location: &Path) -> io::Result<(File, Metadata)> {
        let file = File::open(self.path(location))?;
        refuse_folder((file.metadata().map(|meta| (file, meta)))?)
    }

    /// Unlinks a batch, then syncs each folder once. A missing file's folder is synced too: whoever removed it may have
    /// crashed before that.
    pub(super) fn delete(&self, batch: Vec<Result<Path>>) -> Vec<Result<Path>> {
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

    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.root) {
            Err(e) if is_missing(&e) => return Ok(Vec::new()),
            entries => entries?,
        };
        let name = |entry: io::Result<std::fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = entries.map(name).collect::<io::Result<_>>()?;
        names.retain(|name| !is_temporary(name));
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn list(&self, prefix: &Path, which: Which) -> io::Result<Vec<ObjectMeta>> {
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
pub(super) enum Which {
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

/// Bytes of a range of a file. Asked before anything is allocated: the range may come from a damaged index.
fn length(range: &Range<u64>, meta: &Metadata) -> io::Result<usize> {
    if range.start > range.end || range.end > meta.len() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    usize::try_from(range.end - range.start).map_err(|_| ErrorKind::FileTooLarge.into())
}

fn refuse_folder((file, meta): (File, Metadata)) -> io::Result<(File, Metadata)> {
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
