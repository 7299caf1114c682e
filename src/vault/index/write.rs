//! Writing a segment front to back, with its header last: until then the file does not open.

use std::io::{BufWriter, Seek, SeekFrom, Write};

use super::super::id::Id;
use super::checksum::Checksum;
use super::entry::{Entry, Totals};
use super::layout::{self, HEADER, Header, RECORD};
use super::segment::{SegmentError, UNSORTED};

/// Takes places in ascending order and counts for the tables that follow them.
pub(super) struct Writer<W: Write + Seek> {
    out: BufWriter<W>,
    sum: Checksum,
    header: Header,
    /// For each type of blob: records by bucket, one place late, so that the sums are the counters of the fan.
    fans: [Vec<u32>; 2],
    totals: Vec<Totals>,
    last: Option<Entry<u32>>,
}

impl<W: Write + Seek> Writer<W> {
    /// `at_most`: places of data and of trees, as far as is known before equal ones are dropped.
    pub(super) fn start(out: W, packs: usize, at_most: [u64; 2]) -> Result<Self, SegmentError> {
        let too_large = |count: u64| u32::try_from(count).is_err();
        if too_large(packs as u64) || at_most.into_iter().any(too_large) {
            return Err(SegmentError::TooLarge);
        }
        let [data_fan_bits, tree_fan_bits] = at_most.map(layout::fan_bits);
        let header = Header { data_fan_bits, tree_fan_bits, ..Header::default() };
        let fan = |bits: u32| vec![0; (1usize << bits) + 1];
        let mut out = BufWriter::with_capacity(1 << 18, out);
        out.write_all(&[0; HEADER])?;
        Ok(Self {
            out,
            sum: Checksum::new(),
            header,
            fans: [fan(data_fan_bits), fan(tree_fan_bits)],
            totals: vec![Totals::new(); packs],
            last: None,
        })
    }

    /// Adds a place, dropping one that equals the last. `entry.pack` is its number in the sorted table of packs.
    pub(super) fn push(&mut self, entry: Entry<u32>) -> Result<(), SegmentError> {
        match self.last.cmp(&Some(entry)) {
            std::cmp::Ordering::Less => self.last = Some(entry),
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Greater => return Err(UNSORTED),
        }
        let totals = self
            .totals
            .get_mut(entry.pack as usize)
            .ok_or(SegmentError::Damaged("it names a pack that is not in its table"))?;
        totals.add(entry.key.kind, entry.length, entry.compressed());
        let (count, bits, fan) = match entry.key.kind {
            super::BlobType::Data => (&mut self.header.data, self.header.data_fan_bits, &mut self.fans[0]),
            super::BlobType::Tree => (&mut self.header.trees, self.header.tree_fan_bits, &mut self.fans[1]),
        };
        *count += 1;
        fan[layout::bucket(&entry.key.id, bits) + 1] += 1;
        let mut record = [0; RECORD];
        record[..32].copy_from_slice(&entry.key.id.0);
        for (at, number) in [entry.pack, entry.offset, entry.length, entry.uncompressed].into_iter().enumerate() {
            record[32 + at * 4..36 + at * 4].copy_from_slice(&number.to_le_bytes());
        }
        self.write(&record)
    }

    /// Adds the tables, then the header. `packs` are the ids that were numbered, ascending; `covers` may be unsorted.
    pub(super) fn finish(mut self, packs: impl IntoIterator<Item = Id>, covers: &[Id]) -> Result<W, SegmentError> {
        let totals = std::mem::take(&mut self.totals);
        for (id, totals) in packs.into_iter().zip(&totals) {
            self.write(&id.0)?;
            self.write(&totals.data.to_le_bytes())?;
            self.write(&totals.trees.to_le_bytes())?;
            self.write(&totals.size.to_le_bytes())?;
            self.header.packs += 1;
        }
        let mut covers = covers.to_vec();
        covers.sort_unstable();
        covers.dedup();
        for id in &covers {
            self.write(&id.0)?;
        }
        self.header.covers = covers.len() as u64;
        for fan in std::mem::take(&mut self.fans) {
            let mut below = 0;
            for count in fan {
                below += count;
                self.write(&u32::to_le_bytes(below))?;
            }
        }
        self.header.body_sum = self.sum.finish();
        let header = self.header.encode();
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&header)?;
        Ok(self.out.into_inner().map_err(std::io::IntoInnerError::into_error)?)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SegmentError> {
        self.sum.update(bytes);
        Ok(self.out.write_all(bytes)?)
    }
}
