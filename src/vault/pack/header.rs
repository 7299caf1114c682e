//! The header of a pack: which blobs lie in it, one after another.

use std::num::NonZeroU32;

use super::build::Entry;
use super::{MAX_HEADER, PackError, plausible};
use crate::vault::blob::{BlobKey, BlobType, Located};
use crate::vault::crypto::{MasterKey, OVERHEAD};
use crate::vault::id::Id;
use crate::vault::index::PackContents;

/// Bytes of an entry: type, length, id.
const PLAIN_ENTRY: usize = 1 + 4 + 32;
/// Bytes of a compressed blob's entry: type, length, length of the plaintext, id.
const COMPRESSED_ENTRY: usize = PLAIN_ENTRY + 4;
/// Bytes behind the header: its length.
const TRAILER: usize = 4;

/// Bytes of an unsealed header with this many entries, at most.
pub(super) fn plain_len(entries: usize) -> usize {
    entries * COMPRESSED_ENTRY
}

/// Bytes of a pack that holds these blobs and nothing else: what its file must have.
pub fn implied_size<'a>(blobs: impl IntoIterator<Item = &'a Located>) -> u64 {
    let entry = |at: &Located| if at.uncompressed.is_some() { COMPRESSED_ENTRY } else { PLAIN_ENTRY };
    let blobs = blobs.into_iter().map(|at| u64::from(at.length) + entry(at) as u64);
    blobs.sum::<u64>() + (OVERHEAD + TRAILER) as u64
}

/// Appends an entry.
pub(super) fn write_entry(kind: BlobType, entry: &Entry, out: &mut Vec<u8>) {
    let tree = u8::from(kind == BlobType::Tree);
    out.push(if entry.uncompressed.is_some() { tree + 2 } else { tree });
    out.extend_from_slice(&entry.length.to_le_bytes());
    if let Some(len) = entry.uncompressed {
        out.extend_from_slice(&len.get().to_le_bytes());
    }
    out.extend_from_slice(&entry.id.0);
}

/// Bytes of the sealed header, from the last four bytes of a pack of `pack_size` bytes.
pub fn header_len(trailer: [u8; 4], pack_size: u64) -> Result<u32, PackError> {
    let len = u32::from_le_bytes(trailer);
    if len > MAX_HEADER {
        return Err(PackError::Header("its length is beyond what a header may have"));
    }
    if (len as usize) < OVERHEAD + PLAIN_ENTRY {
        return Err(PackError::Header("its length is less than that of one entry"));
    }
    if u64::from(len) + TRAILER as u64 > pack_size {
        return Err(PackError::Header("its length is more than the pack has"));
    }
    Ok(len)
}

/// Reads the sealed header of pack `id`, which has `pack_size` bytes: its blobs, in the order in which they lie.
pub fn parse_header(key: &MasterKey, id: Id, sealed: &[u8], pack_size: u64) -> Result<PackContents, PackError> {
    decode_header(id, &key.open(sealed)?, pack_size)
}

/// Reads the unsealed header of pack `id`, which has `pack_size` bytes.
///
/// Fails unless every entry is of a known kind and a possible length, and all blobs and the header together fill the pack.
pub fn decode_header(id: Id, plain: &[u8], pack_size: u64) -> Result<PackContents, PackError> {
    let mut rest = plain;
    let mut blobs = Vec::with_capacity(rest.len() / PLAIN_ENTRY);
    let mut offset = 0u32;
    while let Some((kind, tail)) = rest.split_first() {
        let (kind, compressed) = match kind {
            0 => (BlobType::Data, false),
            1 => (BlobType::Tree, false),
            2 => (BlobType::Data, true),
            3 => (BlobType::Tree, true),
            _ => return Err(PackError::Header("an entry has a type that is not known")),
        };
        let (length, tail) = take_u32(tail)?;
        let (uncompressed, tail) = match compressed {
            true => {
                let (len, tail) = take_u32(tail)?;
                (Some(NonZeroU32::new(len).ok_or(PackError::Implausible(0))?), tail)
            }
            false => (None, tail),
        };
        let (blob, tail) = tail.split_first_chunk::<32>().ok_or(CUT)?;
        plausible(kind, length, uncompressed)?;
        blobs.push((BlobKey { kind, id: Id(*blob) }, Located { pack: id, offset, length, uncompressed }));
        offset = offset.checked_add(length).ok_or(PackError::Header("its blobs reach beyond 4 GiB"))?;
        rest = tail;
    }
    if blobs.is_empty() {
        return Err(PackError::Header("it lists nothing"));
    }
    if u64::from(offset) + (plain.len() + OVERHEAD + TRAILER) as u64 != pack_size {
        return Err(PackError::Header("the blobs it lists do not fill the pack"));
    }
    Ok(PackContents { id, blobs })
}

/// Reads the header of a whole pack.
pub fn read_header(key: &MasterKey, id: Id, pack: &[u8]) -> Result<PackContents, PackError> {
    let size = pack.len() as u64;
    let (rest, trailer) = pack.split_last_chunk::<TRAILER>().ok_or(PackError::Header("the pack is too short"))?;
    let len = header_len(*trailer, size)? as usize;
    parse_header(key, id, &rest[rest.len() - len..], size)
}

const CUT: PackError = PackError::Header("its last entry is cut short");

fn take_u32(bytes: &[u8]) -> Result<(u32, &[u8]), PackError> {
    let (number, rest) = bytes.split_first_chunk::<4>().ok_or(CUT)?;
    Ok((u32::from_le_bytes(*number), rest))
}
