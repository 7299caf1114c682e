//! A sorted, immutable part of the index, in memory or mapped from a file: both have the same bytes (see `layout`).
//!
//! A file is checked whole when it is opened, and one that is damaged is not opened. After that every access is still
//! bounds-checked, so that not even a forged segment makes a lookup panic: it finds nothing, or a wrong place, which
//! opening the blob then shows.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, Write};

use super::super::blob::{BlobKey, BlobType};
use super::super::id::Id;
use super::checksum::Checksum;
use super::entry::{Entry, PackContents, Totals};
use super::layout::{self, COVER, HEADER, Header, PACK, Part, Parts, RECORD};
use super::mapped::Mapped;
use super::merged::Merged;
use super::write::Writer;

/// Why a segment could not be opened or written. Whoever gets this rebuilds it from the vault's index files.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The file could not be read, written or mapped.
    #[error("access an index segment")]
    Io(#[from] io::Error),
    /// The bytes are not what was once written.
    #[error("use an index segment: {0}")]
    Damaged(&'static str),
    /// More blobs or packs than 32-bit counters hold.
    #[error("build an index segment: it would hold more than 4 billion entries")]
    TooLarge,
}

/// Probes next to where an id is expected, before the rest is halved, and records from one to the next.
const NEARBY: u32 = 4;
const STRIDE: usize = 2;

/// Places of blobs, sorted, with the packs that they lie in and the index files that said so.
#[derive(Debug)]
pub struct Segment {
    bytes: Backing,
    header: Header,
    parts: Parts,
}

#[derive(Debug)]
enum Backing {
    Memory(Vec<u8>),
    Mapped(Mapped),
}

impl Backing {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Mapped(map) => map.as_ref(),
        }
    }
}

impl Segment {
    /// Builds a segment in memory (48 bytes a blob, twice that while it sorts) of what the index files `covers` say.
    pub fn build(covers: &[Id], packs: &[PackContents]) -> Result<Self, SegmentError> {
        let mut ids: Vec<Id> = packs.iter().map(|pack| pack.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut entries = Vec::with_capacity(packs.iter().map(|pack| pack.blobs.len()).sum());
        let mut at_most = [0; 2];
        for pack in packs {
            let number =
                ids.binary_search(&pack.id).map_err(|_| SegmentError::Damaged("a pack is not in its table"))?;
            let number = u32::try_from(number).map_err(|_| SegmentError::TooLarge)?;
            for (key, located) in &pack.blobs {
                at_most[key.kind as usize] += 1;
                entries.push(Entry::of(*key, *located).with_pack(number));
            }
        }
        entries.sort_unstable();
        let mut writer = Writer::start(Cursor::new(Vec::new()), ids.len(), at_most)?;
        for entry in entries {
            writer.push(entry)?;
        }
        Self::read(Backing::Memory(writer.finish(ids, covers)?.into_inner()))
    }

    /// Writes the union of `segments` to `out`, streaming: 20 bytes a pack and at most 32 MiB of counters are held.
    ///
    /// The result covers all index files that they cover. A crash leaves an unfinished file that does not open.
    pub fn merge<W: Write + Seek>(segments: &[&Self], out: W) -> Result<W, SegmentError> {
        let numbered = |segment: &&Self| -> Result<Vec<u32>, SegmentError> {
            // Both tables are sorted: walk them together.
            let mut union = Self::pack_ids(segments).enumerate();
            let mut numbers = Vec::with_capacity(segment.parts.packs.count);
            for id in segment.packs().map(|(id, _)| id) {
                let (number, _) = union.find(|(_, other)| *other == id).ok_or(UNSORTED)?;
                numbers.push(u32::try_from(number).map_err(|_| SegmentError::TooLarge)?);
            }
            Ok(numbers)
        };
        let numbers = segments.iter().map(numbered).collect::<Result<Vec<_>, _>>()?;
        let at_most = [segments.iter().map(|s| s.header.data).sum(), segments.iter().map(|s| s.header.trees).sum()];
        let mut writer = Writer::start(out, Self::pack_ids(segments).count(), at_most)?;
        let sources = segments.iter().zip(&numbers).map(|(segment, numbers)| {
            segment.entries().filter_map(move |entry| {
                let number = *numbers.get(entry.pack as usize)?;
                Some(entry.with_pack(number))
            })
        });
        for entry in Merged::of(sources) {
            writer.push(entry)?;
        }
        let covers: Vec<Id> = Merged::of(segments.iter().map(|segment| segment.covers())).collect();
        writer.finish(Self::pack_ids(segments), &covers)
    }

    /// The union of `segments`, in memory.
    pub fn merge_in_memory(segments: &[&Self]) -> Result<Self, SegmentError> {
        let bytes = Self::merge(segments, Cursor::new(Vec::new()))?.into_inner();
        Self::read(Backing::Memory(bytes))
    }

    /// The union of `segments`, in a file without a name where one can be made.
    pub fn merge_aside(segments: &[&Self]) -> Result<Self, SegmentError> {
        match tempfile::tempfile() {
            Ok(file) => Self::open(&Self::merge(segments, file)?),
            Err(_) => Self::merge_in_memory(segments),
        }
    }

    /// Moves a segment that is large out of memory, to a file without a name: a crash leaves nothing behind. Where there is
    /// no room for one, it stays.
    pub fn aside(self) -> Self {
        const LARGE: usize = 256 << 10;
        if self.as_bytes().len() < LARGE {
            return self;
        }
        let write = || -> Result<Self, SegmentError> {
            let mut file = tempfile::tempfile()?;
            file.write_all(self.as_bytes())?;
            Self::open(&file)
        };
        match write() {
            Ok(mapped) => mapped,
            Err(error) => {
                tracing::debug!(%error, "an index segment stays in memory");
                self
            }
        }
    }

    /// Maps a segment file, after a look at every byte of it.
    ///
    /// The file must never be changed or cut short from here on: a mapping would show it, or kill the process.
    pub fn open(file: &File) -> Result<Self, SegmentError> {
        verify(file)?;
        Self::read(Backing::Mapped(Mapped::of(file)?))
    }

    /// Takes bytes that were just built, or verified.
    fn read(backing: Backing) -> Result<Self, SegmentError> {
        let bytes = backing.bytes();
        let header = Header::decode(bytes).map_err(SegmentError::Damaged)?;
        let parts = header.parts().ok_or(SegmentError::Damaged("its sizes cannot be true"))?;
        if bytes.len() != parts.end {
            return Err(SegmentError::Damaged("its length is not what its header says"));
        }
        Ok(Self { bytes: backing, header, parts })
    }

    /// The segment as a file: what [`Segment::open`] opens.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.bytes()
    }

    /// Places listed, of both types.
    pub fn len(&self) -> u64 {
        self.header.data + self.header.trees
    }

    /// Whether no place is listed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index files whose contents these are, in ascending order.
    pub fn covers(&self) -> impl Iterator<Item = Id> + '_ {
        let Part { start, count } = self.parts.covers;
        (0..count).map_while(move |n| layout::id_at(self.as_bytes(), start + n * COVER))
    }

    /// All places of a blob, in ascending order of their packs.
    pub(super) fn find(&self, key: BlobKey) -> impl Iterator<Item = Entry<Id>> + '_ {
        let first = self.lower_bound(key).unwrap_or(usize::MAX);
        (first..self.part(key.kind).count)
            .map_while(move |n| self.record(key.kind, n).filter(|entry| entry.key == key))
            .filter_map(|entry| self.named(entry))
    }

    /// The number of the blob's first record among all, data before trees.
    pub(super) fn position(&self, key: BlobKey) -> Option<u64> {
        let number = self.lower_bound(key)?;
        self.record(key.kind, number).filter(|entry| entry.key == key)?;
        let before = if key.kind == BlobType::Tree { self.parts.data.count } else { 0 };
        Some((before + number) as u64)
    }

    /// All places, in ascending order.
    pub(super) fn places(&self) -> impl Iterator<Item = Entry<Id>> + '_ {
        self.entries().filter_map(|entry| self.named(entry))
    }

    /// The same, each with its number among all records.
    pub(super) fn numbered_places(&self) -> impl Iterator<Item = (Entry<Id>, u64)> + '_ {
        self.entries().zip(0..).filter_map(|(entry, number)| Some((self.named(entry)?, number)))
    }

    /// The place with this number, from 0: data before trees.
    pub(super) fn place(&self, number: usize) -> Option<Entry<Id>> {
        let trees = number.checked_sub(self.parts.data.count);
        let entry = match trees {
            None => self.record(BlobType::Data, number),
            Some(number) if number < self.parts.trees.count => self.record(BlobType::Tree, number),
            Some(_) => None,
        };
        self.named(entry?)
    }

    /// All packs, in ascending order.
    pub(super) fn packs(&self) -> impl Iterator<Item = (Id, Totals)> + '_ {
        (0..self.parts.packs.count).map_while(|n| self.pack(n))
    }

    /// The pack with this number in the table, from 0.
    pub(super) fn pack(&self, number: usize) -> Option<(Id, Totals)> {
        let in_table = number < self.parts.packs.count;
        let at = in_table.then(|| self.parts.packs.start + number * PACK)?;
        let bytes = self.as_bytes();
        let totals = Totals {
            data: layout::u32_at(bytes, at + 32)?,
            trees: layout::u32_at(bytes, at + 36)?,
            size: layout::u64_at(bytes, at + 40)?,
        };
        Some((layout::id_at(bytes, at)?, totals))
    }

    fn pack_ids<'a>(segments: &'a [&Self]) -> impl Iterator<Item = Id> + 'a {
        Merged::of(segments.iter().map(|segment| segment.packs().map(|(id, _)| id)))
    }

    fn entries(&self) -> impl Iterator<Item = Entry<u32>> + '_ {
        [BlobType::Data, BlobType::Tree]
            .into_iter()
            .flat_map(move |kind| (0..self.part(kind).count).map_while(move |n| self.record(kind, n)))
    }

    fn named(&self, entry: Entry<u32>) -> Option<Entry<Id>> {
        let number = entry.pack as usize;
        let in_table = number < self.parts.packs.count;
        let at = in_table.then(|| self.parts.packs.start + number * PACK)?;
        Some(entry.with_pack(layout::id_at(self.as_bytes(), at)?))
    }

    fn part(&self, kind: BlobType) -> Part {
        match kind {
            BlobType::Data => self.parts.data,
            BlobType::Tree => self.parts.trees,
        }
    }

    fn record(&self, kind: BlobType, number: usize) -> Option<Entry<u32>> {
        let part = self.part(kind);
        // What follows the last one is something else: a tree's record may bear the id of a data blob that is not here.
        let at = (number < part.count).then(|| part.start + number * RECORD)?;
        let record = self.as_bytes().get(at..at + RECORD)?;
        Some(Entry {
            key: BlobKey { kind, id: layout::id_at(record, 0)? },
            pack: layout::u32_at(record, 32)?,
            offset: layout::u32_at(record, 36)?,
            length: layout::u32_at(record, 40)?,
            uncompressed: layout::u32_at(record, 44)?,
        })
    }

    /// The number of the first record that is not below `key`, searched in the key's bucket of the fan.
    ///
    /// Ids are as good as random: the record lies about as far into the bucket as the id's next bits say, and each probe
    /// elsewhere is a miss of the processor's caches.
    fn lower_bound(&self, key: BlobKey) -> Option<usize> {
        let (fan, bits) = match key.kind {
            BlobType::Data => (self.parts.data_fan, self.header.data_fan_bits),
            BlobType::Tree => (self.parts.tree_fan, self.header.tree_fan_bits),
        };
        let Part { start, count } = self.part(key.kind);
        let at = fan.start + layout::bucket(&key.id, bits) * 4;
        let mut low = (layout::u32_at(self.as_bytes(), at)? as usize).min(count);
        let mut high = (layout::u32_at(self.as_bytes(), at + 4)? as usize).min(count);
        let mut middle = low + layout::share_of_bucket(&key.id, bits, high.saturating_sub(low));
        let mut probes = 0;
        while low < high {
            // Nearby at first; a bucket that is not what random ids make it costs a few probes more than halving would.
            middle = if probes < NEARBY { middle.clamp(low, high - 1) } else { low + (high - low) / 2 };
            probes += 1;
            if layout::id_at(self.as_bytes(), start + middle * RECORD)? < key.id {
                low = middle + 1;
                middle += STRIDE;
            } else {
                high = middle;
                middle = middle.saturating_sub(STRIDE);
            }
        }
        Some(low)
    }
}

/// Compares the contents with their checksum. They are read, not mapped: a sector that cannot be read is an error here,
/// and would kill the process there.
fn verify(mut file: &File) -> Result<(), SegmentError> {
    file.rewind()?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut head = [0; HEADER];
    reader.read_exact(&mut head).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => SegmentError::Damaged("it is shorter than a header"),
        _ => error.into(),
    })?;
    let header = Header::decode(&head).map_err(SegmentError::Damaged)?;
    let mut sum = Checksum::new();
    loop {
        let part = reader.fill_buf()?;
        if part.is_empty() {
            break;
        }
        sum.update(part);
        let length = part.len();
        reader.consume(length);
    }
    if sum.finish() == header.body_sum { Ok(()) } else { Err(SegmentError::Damaged("its contents are damaged")) }
}

/// Merging needs order; a segment without it was not written by this program.
pub(super) const UNSORTED: SegmentError = SegmentError::Damaged("it is not sorted");
