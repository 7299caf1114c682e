//! Index files: which blobs lie in which packs, as JSON.
//!
//! What they say is compared with what can be before anybody relies on it. Of other tools' fields, `supersedes` is
//! ignored, and `packs_to_delete` (rustic deletes packs a day after it took them out of the index, and keeps account of
//! them there) makes no pack known. Only prune looks at it, so as to leave no account of a pack that it deletes.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::blob::{BlobKey, BlobType, Located};
use super::id::Id;
use super::index::PackContents;
use super::pack::{PackError, plausible};
use super::plain_json::Text;

/// Blobs after which an index file is written, as stock tools do.
pub const BLOBS_PER_FILE: usize = 50_000;

#[derive(Serialize)]
struct FileOut<'a> {
    packs: Vec<PackOut<'a>>,
}

#[derive(Serialize)]
struct PackOut<'a> {
    id: Id,
    #[serde(serialize_with = "write_blobs")]
    blobs: &'a [(BlobKey, Located)],
}

/// An index file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// The packs that it lists.
    pub packs: Vec<PackContents>,
    /// Packs that another tool means to delete.
    pub marked: Vec<Id>,
}

#[derive(Deserialize)]
struct FileIn {
    #[serde(default)]
    packs: Option<Vec<Checked>>,
}

#[derive(Deserialize)]
struct Marks {
    packs_to_delete: Option<Vec<Mark>>,
}

#[derive(Deserialize)]
struct Mark {
    id: Id,
}

/// A pack that was checked as soon as it was read, so that only one at a time exists twice.
#[derive(Deserialize)]
#[serde(try_from = "PackIn")]
struct Checked(PackContents);

#[derive(Deserialize)]
struct PackIn {
    id: Id,
    blobs: Vec<Blob>,
}

#[derive(Serialize, Deserialize)]
struct Blob {
    id: Id,
    #[serde(rename = "type")]
    kind: BlobType,
    offset: u32,
    length: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    uncompressed_length: u32,
}

impl TryFrom<PackIn> for Checked {
    type Error = PackError;

    fn try_from(raw: PackIn) -> Result<Self, PackError> {
        let blobs = raw.blobs.into_iter().map(|blob| checked(raw.id, &blob));
        Ok(Self(PackContents { id: raw.id, blobs: blobs.collect::<Result<_, _>>()? }))
    }
}

/// A blob that can be, in its pack.
fn checked(pack: Id, blob: &Blob) -> Result<(BlobKey, Located), PackError> {
    let uncompressed = NonZeroU32::new(blob.uncompressed_length);
    plausible(blob.kind, blob.length, uncompressed)?;
    if blob.offset.checked_add(blob.length).is_none() {
        return Err(PackError::Implausible(u64::from(blob.offset) + u64::from(blob.length)));
    }
    let at = Located { pack, offset: blob.offset, length: blob.length, uncompressed };
    Ok((BlobKey { kind: blob.kind, id: blob.id }, at))
}

/// The JSON of an index file that lists these packs.
pub fn encode(packs: &[PackContents]) -> Result<Vec<u8>, serde_json::Error> {
    let packs = packs.iter().map(|pack| PackOut { id: pack.id, blobs: &pack.blobs }).collect();
    serde_json::to_vec(&FileOut { packs })
}

/// The packs that an index file lists. Fails as a whole when one blob in it cannot be.
pub fn decode(json: &[u8]) -> Result<Vec<PackContents>, serde_json::Error> {
    match decode_plain(json) {
        Some(packs) => Ok(packs),
        None => decode_any(json),
    }
}

/// The same of a file in the form in which restic and drctl write it; none of every other, and of one that is refused.
fn decode_plain(json: &[u8]) -> Option<Vec<PackContents>> {
    let (mut text, mut packs) = (Text::new(json), Vec::new());
    text.skip(b"{\"packs\":[")?;
    while packs.is_empty() || text.skip(b",").is_some() {
        text.skip(b"{\"id\":\"")?;
        let (pack, mut blobs) = (text.id()?, Vec::new());
        text.skip(b",\"blobs\":[")?;
        while blobs.is_empty() || text.skip(b",").is_some() {
            text.skip(b"{\"id\":\"")?;
            let id = text.id()?;
            text.skip(b",\"type\":\"")?;
            let kind = match text.string()? {
                "data" => BlobType::Data,
                "tree" => BlobType::Tree,
                _ => return None,
            };
            text.rest().starts_with(b",\"offset\":").then_some(())?;
            let offset = text.small(b",\"offset\":")?;
            // What has no length is refused as what is too short.
            let length = text.small(b",\"length\":")?;
            let uncompressed_length = text.small(b",\"uncompressed_length\":")?;
            text.skip(b"}")?;
            blobs.push(checked(pack, &Blob { id, kind, offset, length, uncompressed_length }).ok()?);
        }
        text.skip(b"]}")?;
        blobs.shrink_to_fit();
        packs.push(PackContents { id: pack, blobs });
    }
    text.skip(b"]}")?;
    text.rest().iter().all(|byte| b" \t\r\n".contains(byte)).then_some(packs)
}

fn decode_any(json: &[u8]) -> Result<Vec<PackContents>, serde_json::Error> {
    let file: FileIn = serde_json::from_slice(json)?;
    Ok(file.packs.unwrap_or_default().into_iter().map(|pack| pack.0).collect())
}

/// The packs that an index file says another tool means to delete. What is not understood of it is none of our business.
pub fn marked(json: &[u8]) -> Vec<Id> {
    if memchr::memmem::find(json, b"packs_to_delete").is_none() {
        return Vec::new();
    }
    let marks = serde_json::from_slice::<Marks>(json).ok().and_then(|file| file.packs_to_delete);
    marks.unwrap_or_default().into_iter().map(|mark| mark.id).collect()
}

fn write_blobs<S: serde::Serializer>(blobs: &&[(BlobKey, Located)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(blobs.iter().map(|(key, at)| Blob {
        id: key.id,
        kind: key.kind,
        offset: at.offset,
        length: at.length,
        uncompressed_length: at.uncompressed.map_or(0, NonZeroU32::get),
    }))
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contents(pack: u8, blobs: &[(u8, bool, u32, u32)]) -> PackContents {
        let pack = Id([pack; 32]);
        let mut offset = 0;
        let blobs = blobs.iter().map(|&(id, tree, length, uncompressed)| {
            let kind = if tree { BlobType::Tree } else { BlobType::Data };
            let at = Located { pack, offset, length, uncompressed: NonZeroU32::new(uncompressed) };
            offset += length;
            (BlobKey { kind, id: Id([id; 32]) }, at)
        });
        PackContents { id: pack, blobs: blobs.collect() }
    }

    #[test]
    fn it_is_written_as_restic_writes_it() {
        let json = encode(&[contents(0xaa, &[(1, false, 40, 0), (2, true, 50, 99)])]).unwrap();
        let want = format!(
            r#"{{"packs":[{{"id":"{}","blobs":[{{"id":"{}","type":"data","offset":0,"length":40}},{{"id":"{}","type":"tree","offset":40,"length":50,"uncompressed_length":99}}]}}]}}"#,
            "aa".repeat(32),
            "01".repeat(32),
            "02".repeat(32)
        );
        assert_eq!(String::from_utf8(json).unwrap(), want);
    }

    #[test]
    fn what_other_tools_add_is_ignored() {
        let json = format!(
            r#"{{"supersedes":["{0}"],"packs":[{{"id":"{0}","blobs":[{{"type":"data","id":"{0}","offset":0,"length":32,"uncompressed_length":0}}],"time":null}}],"packs_to_delete":[{{"id":"x"}}]}}"#,
            "aa".repeat(32)
        );
        assert_eq!(decode(json.as_bytes()).unwrap(), [contents(0xaa, &[(0xaa, false, 32, 0)])]);
        for empty in ["{}", r#"{"packs":null}"#, r#"{"packs":[]}"#] {
            assert_eq!(decode(empty.as_bytes()).unwrap(), []);
        }
    }

    #[test]
    fn packs_that_rustic_has_marked_are_known_by_name() {
        let (one, two) = ("aa".repeat(32), "bb".repeat(32));
        let json = format!(
            r#"{{"packs":[],"packs_to_delete":[{{"id":"{one}","blobs":[],"time":"2026-01-01T00:00:00Z","size":9}},{{"id":"{two}"}}]}}"#
        );
        assert_eq!(marked(json.as_bytes()), [Id([0xaa; 32]), Id([0xbb; 32])]);
        assert_eq!(decode(json.as_bytes()).unwrap(), []);
        for other in ["{}", r#"{"packs_to_delete":null}"#, r#"{"packs_to_delete":[{"id":"x"}]}"#, "noise"] {
            assert_eq!(marked(other.as_bytes()), []);
        }
    }

    #[test]
    fn a_blob_that_cannot_be_condemns_the_file() {
        let good = String::from_utf8(encode(&[contents(1, &[(1, true, 40, 99)])]).unwrap()).unwrap();
        assert!(decode(good.as_bytes()).is_ok());
        for (from, to) in [
            (r#""length":40"#, r#""length":31"#),
            (r#""length":40"#, r#""length":-1"#),
            (r#""offset":0"#, r#""offset":4294967295"#),
            (r#""offset":0"#, r#""offset":4294967296"#),
            (":99", ":4000000000"),
            (r#""tree""#, r#""leaf""#),
            ("0101", "01zz"),
            ("]}]}", "]}]"),
        ] {
            assert!(decode(good.replacen(from, to, 1).as_bytes()).is_err(), "{from} to {to}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(packs in prop::collection::vec(
            (any::<u8>(), prop::collection::vec((any::<u8>(), any::<bool>(), 33u32..100_000, 0u32..1000), 0..20)), 0..5)
        ) {
            let packs: Vec<_> = packs.iter().map(|(id, blobs)| contents(*id, blobs)).collect();
            let json = encode(&packs).unwrap();
            prop_assert_eq!(decode_any(&json).unwrap(), packs.clone());
            let plain = !packs.is_empty() && packs.iter().all(|pack| !pack.blobs.is_empty());
            prop_assert_eq!(decode_plain(&json), plain.then_some(packs));
        }

        #[test]
        fn no_file_is_read_in_another_way(at: prop::sample::Index, byte: u8, kind in 0..3) {
            let mut json = encode(&[contents(1, &[(1, true, 40, 99), (2, false, 4000, 0)]), contents(2, &[(3, false, 50, 9)])]).unwrap();
            let at = at.index(json.len());
            match kind {
                0 => json[at] = byte,
                1 => json.insert(at, byte),
                _ => drop(json.remove(at)),
            }
            if let Some(packs) = decode_plain(&json) {
                prop_assert_eq!(Some(packs), decode_any(&json).ok());
            }
        }

        #[test]
        fn noise_is_refused_without_a_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&noise).is_err());
        }
    }
}
