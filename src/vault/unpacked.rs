//! Objects outside packs: index files, snapshots and locks.
//!
//! JSON, compressed (`0x02 | zstd`) or raw (its first byte is `{` or `[`), then sealed. Anything else is refused.

use std::io::Read;

use zstd::zstd_safe::{CParameter, get_frame_content_size};

use super::crypto::{CryptoError, IV_LEN, MasterKey, OVERHEAD};
use crate::clock::Random;

/// The first byte of compressed JSON.
const COMPRESSED: u8 = 2;

/// The largest JSON that is read, in bytes. An index file of 50,000 blobs has some 10 MB; stock tools merge none beyond it.
pub const MAX_JSON: usize = 512 << 20;

/// What is allocated before anything was decompressed, at most.
const FIRST_RESERVE: usize = 16 << 20;

/// Why an object outside packs cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum UnpackedError {
    /// Not sealed with the vault's key, or changed.
    #[error("open what was sealed")]
    Crypto(#[from] CryptoError),
    /// Neither JSON nor a version of compressed JSON that is known.
    #[error("find JSON behind a first byte of {0:?}")]
    Encoding(Option<u8>),
    /// zstd refused.
    #[error("decompress it")]
    Zstd(#[source] std::io::Error),
    /// More JSON than any tool writes.
    #[error("accept more than {MAX_JSON} bytes of JSON")]
    TooLarge,
}

/// JSON, sealed; compressed first.
pub fn seal(key: &MasterKey, random: &dyn Random, json: &[u8]) -> Result<Vec<u8>, UnpackedError> {
    let mut compressor = zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL).map_err(UnpackedError::Zstd)?;
    compressor.set_parameter(CParameter::WindowLog(19)).map_err(UnpackedError::Zstd)?;
    let frame = compressor.compress(json).map_err(UnpackedError::Zstd)?;
    let mut out = Vec::with_capacity(frame.len() + 1 + OVERHEAD);
    out.resize(IV_LEN, 0);
    random.fill(&mut out);
    out.push(COMPRESSED);
    out.extend_from_slice(&frame);
    key.seal_from(&mut out, 0)?;
    Ok(out)
}

/// The JSON of a sealed object.
pub fn open(key: &MasterKey, sealed: &[u8]) -> Result<Vec<u8>, UnpackedError> {
    decode(key.open(sealed)?)
}

/// The JSON of an unsealed object: decompressed when it is compressed.
pub fn decode(plain: Vec<u8>) -> Result<Vec<u8>, UnpackedError> {
    match plain.split_first() {
        Some((b'{' | b'[', _)) if plain.len() <= MAX_JSON => Ok(plain),
        Some((b'{' | b'[', _)) => Err(UnpackedError::TooLarge),
        Some((&COMPRESSED, frame)) => decompress(frame),
        first => Err(UnpackedError::Encoding(first.map(|(byte, _)| *byte))),
    }
}

fn decompress(frame: &[u8]) -> Result<Vec<u8>, UnpackedError> {
    let declared = get_frame_content_size(frame).ok().flatten().unwrap_or_default();
    if declared > MAX_JSON as u64 {
        return Err(UnpackedError::TooLarge);
    }
    let mut out = Vec::with_capacity(usize::try_from(declared).unwrap_or(MAX_JSON).min(FIRST_RESERVE));
    let reader = zstd::stream::read::Decoder::with_buffer(frame).map_err(UnpackedError::Zstd)?;
    reader.take(MAX_JSON as u64 + 1).read_to_end(&mut out).map_err(UnpackedError::Zstd)?;
    if out.len() > MAX_JSON { Err(UnpackedError::TooLarge) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Seeded;
    use crate::vault::crypto::tests::key;

    fn sealed(plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        key().seal_into([1; 16], plain, &mut out).unwrap();
        out
    }

    #[test]
    fn json_is_compressed_and_read_back() {
        let json = format!("{{\"text\":\"{}\"}}", "x".repeat(9000)).into_bytes();
        let object = seal(&key(), &Seeded::new(1), &json).unwrap();
        assert!(object.len() < 200);
        assert_eq!(key().open(&object).unwrap()[..5], [2, 0x28, 0xb5, 0x2f, 0xfd]);
        assert_eq!(open(&key(), &object).unwrap(), json);
    }

    #[test]
    fn raw_json_is_read_and_anything_else_refused() {
        assert_eq!(open(&key(), &sealed(b"{}")).unwrap(), b"{}");
        assert_eq!(open(&key(), &sealed(b"[]")).unwrap(), b"[]");
        assert!(matches!(open(&key(), &sealed(b"")), Err(UnpackedError::Encoding(None))));
        assert!(matches!(open(&key(), &sealed(b"\x01{}")), Err(UnpackedError::Encoding(Some(1)))));
        assert!(matches!(open(&key(), &sealed(b"\x02{}")), Err(UnpackedError::Zstd(_))));
        assert!(matches!(open(&key(), b"{}"), Err(UnpackedError::Crypto(CryptoError::TooShort(2)))));
    }

    #[test]
    fn a_bomb_is_defused() {
        let zeros = vec![0; 1 << 20];
        let mut bomb = vec![2];
        let mut encoder = zstd::stream::write::Encoder::new(&mut bomb, 3).unwrap();
        for _ in 0..513 {
            std::io::Write::write_all(&mut encoder, &zeros).unwrap();
        }
        encoder.finish().unwrap();
        assert!(bomb.len() < 1 << 16);
        assert!(matches!(open(&key(), &sealed(&bomb)), Err(UnpackedError::TooLarge)));
    }

    #[test]
    fn a_cut_frame_is_refused() {
        let mut plain = key().open(&seal(&key(), &Seeded::new(1), b"{\"a\":[1,2,3]}").unwrap()).unwrap();
        plain.pop();
        assert!(matches!(open(&key(), &sealed(&plain)), Err(UnpackedError::Zstd(_))));
    }
}
