//! What fuzzing feeds: one function for each decoder of what a vault, or a configuration, holds.
//!
//! A function returns why the input was refused. It panics when the decoder does, or when what it accepted is not what
//! it should be: that is a finding. Sealed objects are fuzzed as they are once they were opened, because nothing gets
//! past the seal by chance; so the decoders are met by what a holder of the key, or a program with a fault, wrote.
//! `tests/fuzz_replay.rs` runs the same functions over the corpus.

use std::fmt::Display;
use std::io::BufReader;
use std::path::Path;

use drctl::record::Record;
use drctl::record::sign::Signed;
use drctl::vault::config::Config;
use drctl::vault::key::{self, KeyFile};
use drctl::vault::lock::Lock;
use drctl::vault::pack::{decode_header, header_len, implied_size};
use drctl::vault::settings::Settings;
use drctl::vault::snapshot::Snapshot;
use drctl::vault::tree::{TreeReader, check_name, quote, unquote};
use drctl::vault::{Id, index_file, unpacked};

/// Why an input was refused.
pub type Refusal = String;

/// Decodes one input.
pub type Decoder = fn(&[u8]) -> Result<(), Refusal>;

/// Every decoder, by the name of its target.
pub const ALL: [(&str, Decoder); 10] = [
    ("config", config),
    ("index", index),
    ("key", key),
    ("lock", lock),
    ("pack_header", pack_header),
    ("record", record),
    ("snapshot", snapshot),
    ("toml_config", toml_config),
    ("tree", tree),
    ("unpacked", unpacked),
];

fn why(error: impl Display) -> Refusal {
    error.to_string()
}

/// The header of a pack, unsealed; before it the size of the pack, 8 bytes little-endian.
///
/// What is accepted fills the pack, and the length that a pack's last four bytes give is never beyond the pack.
pub fn pack_header(data: &[u8]) -> Result<(), Refusal> {
    let (size, header) = data.split_first_chunk::<8>().ok_or("no size")?;
    let size = u64::from_le_bytes(*size);
    if let Some(trailer) = data.last_chunk::<4>()
        && let Ok(length) = header_len(*trailer, size)
    {
        assert!(u64::from(length) + 4 <= size, "a header that is longer than its pack");
    }
    let contents = decode_header(Id([7; 32]), header, size).map_err(why)?;
    assert_eq!(implied_size(contents.blobs.iter().map(|(_, at)| at)), size);
    Ok(())
}

/// An index file's JSON. What is accepted is written as something that reads as the same.
pub fn index(data: &[u8]) -> Result<(), Refusal> {
    let _ = index_file::marked(data);
    let packs = index_file::decode(data).map_err(why)?;
    let again = index_file::encode(&packs).expect("what was read can be written");
    assert_eq!(index_file::decode(&again).expect("what was written can be read"), packs);
    Ok(())
}

/// A tree's JSON. Names are single path components, and how the bytes arrive makes no difference.
pub fn tree(data: &[u8]) -> Result<(), Refusal> {
    let mut in_parts = TreeReader::new(BufReader::with_capacity(3, data));
    for node in TreeReader::new(data) {
        let part = in_parts.next().expect("as many nodes, however the bytes arrive");
        match (node, part) {
            (Ok(node), Ok(part)) => {
                assert_eq!(node, part);
                assert_eq!(check_name(&node.name), Ok(()));
                assert_eq!(unquote(&quote(&node.name)).as_ref(), Ok(&node.name));
            }
            (Err(error), Err(part)) => {
                assert_eq!(error.to_string(), part.to_string());
                return Err(why(error));
            }
            (node, part) => panic!("{node:?} at once, {part:?} in parts"),
        }
    }
    assert!(in_parts.next().is_none());
    Ok(())
}

/// A snapshot's JSON. What is accepted can be written and read again.
pub fn snapshot(data: &[u8]) -> Result<(), Refusal> {
    let snapshot: Snapshot = serde_json::from_slice(data).map_err(why)?;
    let again = serde_json::to_vec(&snapshot).expect("what was read can be written");
    let again: Snapshot = serde_json::from_slice(&again).expect("what was written can be read");
    // Numbers with a fraction, in fields of other tools, may differ in their last digit.
    assert_eq!((snapshot.tree, snapshot.time, snapshot.paths), (again.tree, again.time, again.paths));
    Ok(())
}

/// A key file, or the master key that one holds. scrypt is not run: its parameters are judged.
pub fn key(data: &[u8]) -> Result<(), Refusal> {
    match KeyFile::parse(data) {
        Ok(file) => {
            let again = file.to_json().expect("what was read can be written");
            assert_eq!(KeyFile::parse(&again).expect("what was written can be read"), file);
            file.check().map_err(why)
        }
        Err(_) => key::decode_master(data).map(drop).map_err(why),
    }
}

/// The vault's configuration, or our settings of it, as JSON.
pub fn config(data: &[u8]) -> Result<(), Refusal> {
    match Config::parse(data) {
        Ok(config) => {
            let again = serde_json::to_vec(&config).expect("what was read can be written");
            assert_eq!(Config::parse(&again).expect("what was written can be read"), config);
        }
        Err(_) => {
            let settings = Settings::parse(data).map_err(why)?;
            let again = serde_json::to_vec(&settings).expect("what was read can be written");
            assert_eq!(Settings::parse(&again).expect("what was written can be read"), settings);
        }
    }
    Ok(())
}

/// A lock's JSON.
pub fn lock(data: &[u8]) -> Result<(), Refusal> {
    let lock: Lock = serde_json::from_slice(data).map_err(why)?;
    let again = serde_json::to_vec(&lock).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<Lock>(&again).expect("what was written can be read"), lock);
    Ok(())
}

/// A record with its signature, as JSON. Whether the signature fits is judged, and makes no difference here.
pub fn record(data: &[u8]) -> Result<(), Refusal> {
    let signed: Signed = serde_json::from_slice(data).map_err(why)?;
    let _ = signed.signer();
    let record: Record = serde_json::from_str(&signed.record).map_err(why)?;
    let again = serde_json::to_string(&record).expect("what was read can be written");
    assert_eq!(serde_json::from_str::<Record>(&again).expect("what was written can be read"), record);
    Ok(())
}

/// The text of a configuration file. What is accepted can be checked for what cannot come true, and shown.
pub fn toml_config(data: &[u8]) -> Result<(), Refusal> {
    let text = std::str::from_utf8(data).map_err(why)?;
    let config = drctl::config::parse(Path::new("fuzzed.toml"), text).map_err(why)?;
    let _ = drctl::config::check(&config);
    serde_json::to_vec(&config).expect("what was read can be shown");
    Ok(())
}

/// An object outside packs, unsealed: JSON, compressed or raw.
pub fn unpacked(data: &[u8]) -> Result<(), Refusal> {
    let json = unpacked::decode(data.to_vec()).map_err(why)?;
    assert!(json.len() <= unpacked::MAX_JSON);
    Ok(())
}
