//! A pack while it is filled: in memory, or on its way into a folder of this machine.

use std::io::Read;
use std::num::NonZeroU32;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use zstd::zstd_safe::compress_bound;

use super::header;
use super::worth::looks_incompressible;
use super::{MAX_HEADER, PackError, Sealer};
use crate::store::{self, Store};
use crate::vault::blob::{BlobKey, BlobType, Located};
use crate::vault::crypto::{IV_LEN, OVERHEAD};
use crate::vault::id::Id;
use crate::vault::index::PackContents;
use crate::vault::index_file::BLOBS_PER_FILE;

/// Compression that saves less than one part in this many is not worth its decompression.
const LEAST_GAIN: usize = 32;

/// A pack with more blobs than an index file names is full, however small they are: it has to be listed in memory.
const MOST_BLOBS: usize = BLOBS_PER_FILE;

/// Bytes of the last blob, which makes a pack longer than it should be, and of the header.
const BEYOND: usize = 9 << 20;

/// Bytes of a pack that leave memory together, while they are still near the processor.
const STEP: usize = 512 << 10;

/// Fills a pack, blob by blob. The pack is hashed as it grows, so that finishing it is cheap.
///
/// A blob that fails to be added leaves the pack as it was, unless it could not be written: then the pack is lost.
#[derive(Debug)]
pub struct PackBuilder {
    kind: BlobType,
    /// What is in memory: all of it, or what comes behind the draft.
    bytes: Vec<u8>,
    draft: Draft,
    hash: Sha256,
    entries: Vec<Entry>,
}

/// Where the beginning of a pack is written to when there is enough of it.
#[derive(Debug)]
enum Draft {
    None,
    /// A folder of this store, with the pack's first bytes.
    Later(Store, &'static str),
    Begun(store::Draft),
}

impl Draft {
    /// Bytes written.
    fn len(&self) -> usize {
        match self {
            Self::Begun(draft) => usize::try_from(draft.len()).unwrap_or(usize::MAX),
            Self::None | Self::Later(..) => 0,
        }
    }
}

/// One blob of the pack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) id: Id,
    pub(super) length: u32,
    pub(super) uncompressed: Option<NonZeroU32>,
}

/// What became of a blob that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddedBlob {
    /// Bytes that it takes in the pack, sealed.
    pub stored: u32,
    /// Whether it was compressed.
    pub compressed: bool,
}

/// A pack ready to be stored.
#[derive(Debug)]
pub struct FinishedPack {
    /// SHA-256 of its bytes, and its name.
    pub id: Id,
    /// What its blobs are.
    pub kind: BlobType,
    /// All of it.
    pub body: Body,
    /// Its blobs, in the order in which they lie.
    pub blobs: Vec<(Id, Located)>,
}

/// The bytes of a finished pack.
#[derive(Debug)]
pub enum Body {
    /// In memory.
    Memory(Bytes),
    /// Written, and still without a name.
    Draft(store::Draft),
}

impl FinishedPack {
    /// All of it, if it is in memory.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.body {
            Body::Memory(bytes) => Some(bytes),
            Body::Draft(_) => None,
        }
    }

    /// Bytes of it that are in memory.
    pub fn in_memory(&self) -> usize {
        self.bytes().map_or(0, Bytes::len)
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        match &self.body {
            Body::Memory(bytes) => bytes.len() as u64,
            Body::Draft(draft) => draft.len(),
        }
    }
}

impl From<&FinishedPack> for PackContents {
    fn from(pack: &FinishedPack) -> Self {
        let key = |id| BlobKey { kind: pack.kind, id };
        Self { id: pack.id, blobs: pack.blobs.iter().map(|(id, at)| (key(*id), *at)).collect() }
    }
}

impl PackBuilder {
    /// An empty pack for blobs of this type.
    pub fn new(kind: BlobType) -> Self {
        Self { kind, bytes: Vec::new(), draft: Draft::None, hash: Sha256::new(), entries: Vec::new() }
    }

    /// An empty pack that is going to be filled up to `target` bytes, and by as much more as a chunk of a file may have.
    /// The room is asked for at once, which takes no memory before it is used: to grow would mean to copy.
    pub fn to_fill(kind: BlobType, target: u32) -> Self {
        Self { bytes: Vec::with_capacity(target as usize + BEYOND), ..Self::new(kind) }
    }

    /// An empty pack that is written while it is filled, to a draft in this folder of a store that has drafts. Blobs are
    /// then added by a thread that may wait.
    pub fn to_write(kind: BlobType, store: Store, folder: &'static str) -> Self {
        let draft = Draft::Later(store, folder);
        Self { bytes: Vec::with_capacity(STEP + BEYOND), draft, ..Self::new(kind) }
    }

    /// What its blobs are.
    pub fn kind(&self) -> BlobType {
        self.kind
    }

    /// Bytes of the blobs added so far, sealed.
    pub fn len(&self) -> usize {
        self.draft.len() + self.bytes.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Blobs added so far.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Whether the pack has reached `target` bytes, or as many blobs as an index file names: time to finish it.
    pub fn is_full(&self, target: u32) -> bool {
        self.len() >= target as usize || self.entries.len() >= MOST_BLOBS
    }

    /// Compresses `plain` where that helps (trees always, so that stock tools leave them alone), seals and adds it.
    ///
    /// `id` must be the SHA-256 of `plain`: the caller has it already, since it looked for the blob.
    pub fn add(&mut self, sealer: &mut Sealer, id: Id, plain: &[u8]) -> Result<AddedBlob, PackError> {
        let plain_len = u32::try_from(plain.len()).map_err(|_| PackError::Implausible(plain.len() as u64))?;
        self.room_for(plain.len())?;
        let start = self.bytes.len();
        sealer.begin(&mut self.bytes);
        let compress = match self.kind {
            BlobType::Tree => !plain.is_empty(),
            BlobType::Data => !plain.is_empty() && !looks_incompressible(plain),
        };
        let mut uncompressed = None;
        if compress {
            if let Err(error) = sealer.compress_into(plain, &mut self.bytes) {
                self.bytes.truncate(start);
                return Err(error);
            }
            let packed = self.bytes.len() - start - IV_LEN;
            if self.kind == BlobType::Tree || packed + plain.len() / LEAST_GAIN < plain.len() {
                uncompressed = NonZeroU32::new(plain_len);
            } else {
                self.bytes.truncate(start + IV_LEN);
            }
        }
        if uncompressed.is_none() {
            self.bytes.reserve(plain.len() + OVERHEAD);
            self.bytes.extend_from_slice(plain);
        }
        self.seal(sealer, start, id, uncompressed)
    }

    /// Adds a plaintext of `len` bytes that is read as it is compressed, for what should not be held in memory.
    ///
    /// Fails when `source` is shorter than `len` or does not hash to `id`; what it has beyond `len` is left unread.
    pub fn add_stream(
        &mut self,
        sealer: &mut Sealer,
        id: Id,
        len: u32,
        source: &mut dyn Read,
    ) -> Result<AddedBlob, PackError> {
        self.room_for(len as usize)?;
        let start = self.bytes.len();
        sealer.begin(&mut self.bytes);
        let mut hash = Sha256::new();
        let mut done = Ok(());
        if len > 0 {
            done = sealer.compress_stream(source, u64::from(len), &mut self.bytes, |piece| hash.update(piece));
        }
        let found = Id(hash.finalize().into());
        if done.is_ok() && found != id {
            done = Err(PackError::NotItsId { expected: id, found });
        }
        match done {
            Ok(()) => self.seal(sealer, start, id, NonZeroU32::new(len)),
            Err(error) => {
                self.bytes.truncate(start);
                Err(error)
            }
        }
    }

    /// Seals and adds what was compressed already, as it came out of another vault's seal.
    pub fn add_payload(
        &mut self,
        sealer: &mut Sealer,
        id: Id,
        payload: &[u8],
        uncompressed: Option<NonZeroU32>,
    ) -> Result<AddedBlob, PackError> {
        self.room_for(payload.len())?;
        let start = self.bytes.len();
        sealer.begin(&mut self.bytes);
        self.bytes.reserve(payload.len() + OVERHEAD);
        self.bytes.extend_from_slice(payload);
        self.seal(sealer, start, id, uncompressed)
    }

    /// Adds a blob as another pack of the same vault has it.
    pub fn add_sealed(
        &mut self,
        id: Id,
        sealed: &[u8],
        uncompressed: Option<NonZeroU32>,
    ) -> Result<AddedBlob, PackError> {
        if sealed.len() < OVERHEAD {
            return Err(PackError::Implausible(sealed.len() as u64));
        }
        self.room_for(sealed.len())?;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(sealed);
        self.entered(start, id, uncompressed)
    }

    /// Adds all blobs of another pack of the same type behind its own. What is read back of it must be what was written: it
    /// is never synced, so that nobody else would be told that the disk did not keep it.
    pub fn absorb(&mut self, other: Self) -> Result<(), PackError> {
        debug_assert_eq!(self.kind, other.kind, "stock tools expect one type a pack");
        self.room(self.entries.len() + other.entries.len(), other.len())?;
        if let Draft::Begun(draft) = &other.draft {
            let (mut at, mut found) = (0, Sha256::new());
            while at < draft.len() {
                let start = self.bytes.len();
                let step = usize::try_from(draft.len() - at).unwrap_or(STEP).min(STEP);
                self.bytes.resize(start + step, 0);
                draft.read(at, &mut self.bytes[start..]).map_err(PackError::Write)?;
                at += step as u64;
                self.hash.update(&self.bytes[start..]);
                found.update(&self.bytes[start..]);
                self.write(STEP)?;
            }
            found.update(&other.bytes);
            if found.finalize() != other.hash.finalize() {
                return Err(PackError::NotAsWritten);
            }
        }
        self.bytes.extend_from_slice(&other.bytes);
        self.hash.update(&other.bytes);
        self.entries.extend(other.entries);
        self.write(STEP)
    }

    /// Puts two unfinished packs of the same type together if they make one of at most `target` bytes, and of no more blobs
    /// than a pack may have; else gives both back, the smaller one first.
    pub fn join(self, other: Self, target: u32) -> Result<(Self, Option<Self>), PackError> {
        let (mut larger, smaller) = if self.len() > other.len() { (self, other) } else { (other, self) };
        if larger.len() + smaller.len() > target as usize || larger.count() + smaller.count() > MOST_BLOBS {
            return Ok((smaller, Some(larger)));
        }
        larger.absorb(smaller)?;
        Ok((larger, None))
    }

    /// Moves what is in memory into the draft, if there is to be one and it has come to so many bytes.
    fn write(&mut self, step: usize) -> Result<(), PackError> {
        if self.bytes.len() < step {
            return Ok(());
        }
        if let Draft::Later(store, folder) = &self.draft
            && let Some(begun) = store.draft(folder).map_err(PackError::Write)?
        {
            self.draft = Draft::Begun(begun);
        }
        if let Draft::Begun(draft) = &mut self.draft {
            draft.append(&self.bytes).map_err(PackError::Write)?;
            self.bytes.clear();
        }
        Ok(())
    }

    /// Seals the header and names the pack.
    pub fn finish(mut self, sealer: &Sealer) -> Result<FinishedPack, PackError> {
        if self.entries.is_empty() {
            return Err(PackError::Empty);
        }
        let start = self.bytes.len();
        sealer.begin(&mut self.bytes);
        for entry in &self.entries {
            header::write_entry(self.kind, entry, &mut self.bytes);
        }
        sealer.seal_from(&mut self.bytes, start)?;
        let len = u32::try_from(self.bytes.len() - start).map_err(|_| PackError::Full)?;
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.hash.update(&self.bytes[start..]);
        if matches!(self.draft, Draft::Begun(_)) {
            self.write(0)?;
        }
        let id = Id(self.hash.finalize().into());
        let mut offset = 0;
        let blobs = self.entries.iter().map(|entry| {
            let at = Located { pack: id, offset, length: entry.length, uncompressed: entry.uncompressed };
            offset += entry.length;
            (entry.id, at)
        });
        let blobs = blobs.collect();
        let body = match self.draft {
            Draft::Begun(draft) => Body::Draft(draft),
            Draft::None | Draft::Later(..) => Body::Memory(self.bytes.into()),
        };
        Ok(FinishedPack { id, kind: self.kind, body, blobs })
    }

    /// Whether another blob of `len` bytes fits, however badly it compresses.
    fn room_for(&self, len: usize) -> Result<(), PackError> {
        self.room(self.entries.len() + 1, compress_bound(len) + OVERHEAD)
    }

    /// The pack must stay within 32 bits, and its header within the header's limit.
    fn room(&self, entries: usize, more: usize) -> Result<(), PackError> {
        let header = header::plain_len(entries) + OVERHEAD;
        let end = self.len() + more + header + size_of::<u32>();
        if header <= MAX_HEADER as usize && u32::try_from(end).is_ok() { Ok(()) } else { Err(PackError::Full) }
    }

    fn seal(
        &mut self,
        sealer: &Sealer,
        start: usize,
        id: Id,
        uncompressed: Option<NonZeroU32>,
    ) -> Result<AddedBlob, PackError> {
        if let Err(error) = sealer.seal_from(&mut self.bytes, start) {
            self.bytes.truncate(start);
            return Err(error);
        }
        self.entered(start, id, uncompressed)
    }

    fn entered(&mut self, start: usize, id: Id, uncompressed: Option<NonZeroU32>) -> Result<AddedBlob, PackError> {
        let blob = &self.bytes[start..];
        let length = u32::try_from(blob.len()).map_err(|_| PackError::Full)?;
        self.hash.update(blob);
        self.entries.push(Entry { id, length, uncompressed });
        self.write(STEP)?;
        Ok(AddedBlob { stored: length, compressed: uncompressed.is_some() })
    }
}
