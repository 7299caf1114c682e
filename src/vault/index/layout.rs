//! The bytes of a segment: a format of the local cache, versioned by its magic.
//!
//! ```text
//! header   128 bytes, its own checksum in the last eight
//! records  48 bytes each: id 32 | pack u32 | offset u32 | length u32 | uncompressed u32 (0: stored plain)
//!          data blobs first, then trees; each part sorted by id, then pack, then offset
//! packs    48 bytes each: id 32 | data blobs u32 | tree blobs u32 | implied file size u64; sorted by id
//! covers   32 bytes each: the ids of the index files whose contents these are, sorted
//! fans     for data, then trees: 2^bits + 1 counters u32; counter n = records whose id's first `bits` bits are below n
//! ```
//! All numbers are little-endian. Changing anything here means a new magic: an unknown one is rebuilt, not converted.

use super::checksum::Checksum;
use crate::vault::Id;

pub(super) const HEADER: usize = 128;
pub(super) const RECORD: usize = 48;
pub(super) const PACK: usize = 48;
pub(super) const COVER: usize = 32;
const MAGIC: &[u8; 8] = b"drctlix1";
/// More fan-out than this buys nothing: 2^22 counters are 16 MiB.
const MAX_FAN_BITS: u32 = 22;

/// How many of each thing a segment holds, and the checksum of all that follows the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Header {
    pub(super) data: u64,
    pub(super) trees: u64,
    pub(super) packs: u64,
    pub(super) covers: u64,
    pub(super) data_fan_bits: u32,
    pub(super) tree_fan_bits: u32,
    pub(super) body_sum: u64,
}

/// Byte ranges of a segment's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) data: Part,
    pub(super) trees: Part,
    pub(super) packs: Part,
    pub(super) covers: Part,
    pub(super) data_fan: Part,
    pub(super) tree_fan: Part,
    pub(super) end: usize,
}

/// Where an array lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) start: usize,
    pub(super) count: usize,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(MAGIC);
        for (at, number) in [self.data, self.trees, self.packs, self.covers].into_iter().enumerate() {
            out[8 + at * 8..16 + at * 8].copy_from_slice(&number.to_le_bytes());
        }
        out[40..44].copy_from_slice(&self.data_fan_bits.to_le_bytes());
        out[44..48].copy_from_slice(&self.tree_fan_bits.to_le_bytes());
        out[48..56].copy_from_slice(&self.body_sum.to_le_bytes());
        let sum = Checksum::of(&out[..HEADER - 8]);
        out[HEADER - 8..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let header = bytes.get(..HEADER).ok_or("it is shorter than a header")?;
        if &header[..8] != MAGIC {
            return Err("it is no segment of a version known here");
        }
        if u64_at(header, HEADER - 8) != Some(Checksum::of(&header[..HEADER - 8])) {
            return Err("its header is damaged");
        }
        let number = |at| u64_at(header, at).ok_or("it is shorter than a header");
        let bits = |at| u32_at(header, at).ok_or("it is shorter than a header");
        Ok(Self {
            data: number(8)?,
            trees: number(16)?,
            packs: number(24)?,
            covers: number(32)?,
            data_fan_bits: bits(40)?,
            tree_fan_bits: bits(44)?,
            body_sum: number(48)?,
        })
    }

    /// Lays the parts out one after another. Nothing when the numbers cannot be true of any file.
    pub(super) fn parts(&self) -> Option<Parts> {
        let mut at = HEADER;
        let mut part = |count: u64, width: usize| {
            let count = usize::try_from(count).ok()?;
            let start = at;
            at = at.checked_add(count.checked_mul(width)?)?;
            Some(Part { start, count })
        };
        Some(Parts {
            data: part(self.data, RECORD)?,
            trees: part(self.trees, RECORD)?,
            packs: part(self.packs, PACK)?,
            covers: part(self.covers, COVER)?,
            data_fan: part(fan_len(self.data_fan_bits)?, 4)?,
            tree_fan: part(fan_len(self.tree_fan_bits)?, 4)?,
            end: at,
        })
    }
}

/// Bits of the id that lead to a bucket of about 16 records, when there are `records` of them.
pub(super) fn fan_bits(records: u64) -> u32 {
    (records / 16).checked_ilog2().unwrap_or(0).min(MAX_FAN_BITS)
}

/// Counters in a fan of that many bits.
pub(super) fn fan_len(bits: u32) -> Option<u64> {
    (bits <= MAX_FAN_BITS).then(|| (1 << bits) + 1)
}

/// The bucket of an id.
pub(super) fn bucket(id: &Id, bits: u32) -> usize {
    let lead = u32::from_be_bytes([id.0[0], id.0[1], id.0[2], id.0[3]]);
    (u64::from(lead) >> (32 - bits.min(32))) as usize
}

/// How many of the `records` of its bucket lie before an id, if ids are spread evenly.
pub(super) fn share_of_bucket(id: &Id, bits: u32, records: usize) -> usize {
    let lead = u64::from_be_bytes([id.0[0], id.0[1], id.0[2], id.0[3], id.0[4], id.0[5], id.0[6], id.0[7]]);
    let within = (lead << bits.min(32)) >> 32;
    ((within * records as u64) >> 32) as usize
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn id_at(bytes: &[u8], at: usize) -> Option<Id> {
    Some(Id(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_as_it_was_written() {
        let header =
            Header { data: 5, trees: 7, packs: 2, covers: 1, data_fan_bits: 3, tree_fan_bits: 0, body_sum: u64::MAX };
        assert_eq!(Header::decode(&header.encode()), Ok(header));
        let parts = header.parts().unwrap();
        assert_eq!(parts.end, HEADER + 12 * RECORD + 2 * PACK + COVER + 9 * 4 + 2 * 4);
    }

    #[test]
    fn every_flipped_bit_of_a_header_shows() {
        let whole = Header { data: 5, ..Header::default() }.encode();
        for at in 0..HEADER {
            let mut bytes = whole;
            bytes[at] ^= 4;
            assert!(Header::decode(&bytes).is_err(), "byte {at}");
        }
    }

    #[test]
    fn sizes_that_overflow_are_no_layout() {
        for header in [
            Header { data: u64::MAX, ..Header::default() },
            Header { trees: u64::MAX / RECORD as u64, data: u64::MAX / RECORD as u64, ..Header::default() },
            Header { data_fan_bits: 40, ..Header::default() },
        ] {
            assert_eq!(header.parts(), None);
        }
    }

    #[test]
    fn buckets_follow_the_leading_bits() {
        let id = Id([0xa5; 32]);
        assert_eq!(bucket(&id, 0), 0);
        assert_eq!(bucket(&id, 4), 0xa);
        assert_eq!(bucket(&id, 22), 0xa5a5a5a5usize >> 10);
        assert_eq!(fan_bits(0), 0);
        assert_eq!(fan_bits(16 << 10), 10);
        assert_eq!(fan_bits(u64::MAX), MAX_FAN_BITS);
    }
}
