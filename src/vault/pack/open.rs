//! Opening blobs: decrypt, decompress, compare with the id.

use std::cell::RefCell;
use std::io::{self, BufRead, Cursor, Read};
use std::num::NonZeroU32;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use zstd::stream::read::Decoder;
use zstd::zstd_safe::{DCtx, get_error_name};

use super::{PackError, plausible};
use crate::vault::blob::BlobType;
use crate::vault::crypto::MasterKey;
use crate::vault::id::Id;

/// Opens a sealed blob and verifies that its plaintext is `expect`'s.
///
/// `uncompressed` must be the plaintext's exact length when the blob was compressed. Whoever opens many blobs keeps an
/// [`Opener`].
pub fn open_blob(
    key: &MasterKey,
    expect: &Id,
    sealed: &[u8],
    uncompressed: Option<NonZeroU32>,
) -> Result<Vec<u8>, PackError> {
    thread_local! {
        /// Making one costs as much as opening a small blob.
        static CONTEXT: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
    }
    CONTEXT.with_borrow_mut(|context| open(key, context, expect, sealed, uncompressed))
}

/// Plaintexts beyond this many bytes are verified as they are decompressed, not held.
const HELD: u32 = 16 << 20;
/// Bytes decompressed at a time when a plaintext is not held.
const STEP: usize = 128 << 10;

/// Opens blobs for one thread: owns a decompression context and buffers that are reused.
pub struct Opener {
    key: Arc<MasterKey>,
    context: DCtx<'static>,
    payload: Vec<u8>,
    plain: Vec<u8>,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}

impl Opener {
    /// Opens what `key` sealed.
    pub fn new(key: Arc<MasterKey>) -> Self {
        Self { key, context: DCtx::create(), payload: Vec::new(), plain: Vec::new() }
    }

    /// As [`open_blob`], without an allocation.
    pub fn open(&mut self, expect: &Id, sealed: &[u8], uncompressed: Option<NonZeroU32>) -> Result<&[u8], PackError> {
        check_lengths(sealed.len(), uncompressed)?;
        if self.payload.len() > HELD as usize {
            self.payload = Vec::new();
        }
        let payload = self.key.open_to(sealed, &mut self.payload)?;
        let plain: &[u8] = match uncompressed {
            None => payload,
            Some(len) => {
                // A buffer that grew would be copied.
                let room = self.plain.capacity();
                if room < len.get() as usize || room > HELD as usize {
                    self.plain = Vec::new();
                }
                inflate_into(&mut self.context, payload, len, &mut self.plain)?;
                &self.plain
            }
        };
        verify(expect, plain)?;
        Ok(plain)
    }

    /// Whether a sealed blob opens and is what it should be. One that is long is not held as a whole.
    pub fn prove(&mut self, expect: &Id, sealed: &[u8], uncompressed: Option<NonZeroU32>) -> Result<(), PackError> {
        if uncompressed.is_none_or(|len| len.get() <= HELD) {
            return self.open(expect, sealed, uncompressed).map(drop);
        }
        check_lengths(sealed.len(), uncompressed)?;
        BlobReader::over(self.key.open_to_read(sealed)?, expect, uncompressed)?.read_to_end().map(drop)
    }

    /// Opens a sealed blob, verifies its plaintext, and returns what was sealed, compressed as it is: to be sealed anew
    /// under another key ([`PackBuilder::add_payload`](super::PackBuilder::add_payload)).
    pub fn open_payload(
        &mut self,
        expect: &Id,
        sealed: &[u8],
        uncompressed: Option<NonZeroU32>,
    ) -> Result<Vec<u8>, PackError> {
        if uncompressed.is_some_and(|len| len.get() > HELD) {
            return BlobReader::open(&self.key, expect, sealed, uncompressed)?.into_payload();
        }
        check_lengths(sealed.len(), uncompressed)?;
        let payload = self.key.open(sealed)?;
        match uncompressed {
            None => verify(expect, &payload)?,
            Some(len) => verify(expect, &inflate(&mut self.context, &payload, len)?)?,
        }
        Ok(payload)
    }
}

fn open(
    key: &MasterKey,
    context: &mut DCtx<'static>,
    expect: &Id,
    sealed: &[u8],
    uncompressed: Option<NonZeroU32>,
) -> Result<Vec<u8>, PackError> {
    check_lengths(sealed.len(), uncompressed)?;
    let payload = key.open(sealed)?;
    let plain = match uncompressed {
        None => payload,
        Some(len) => inflate(context, &payload, len)?,
    };
    verify(expect, &plain)?;
    Ok(plain)
}

fn inflate(context: &mut DCtx<'static>, payload: &[u8], len: NonZeroU32) -> Result<Vec<u8>, PackError> {
    let mut plain = Vec::new();
    inflate_into(context, payload, len, &mut plain).map(|()| plain)
}

fn inflate_into(
    context: &mut DCtx<'static>,
    payload: &[u8],
    len: NonZeroU32,
    plain: &mut Vec<u8>,
) -> Result<(), PackError> {
    let declared = len.get() as usize;
    plain.clear();
    plain.reserve_exact(declared);
    // It may have more room than that from blobs before: what does not end in time is found too long, or refused.
    match context.decompress(plain, payload) {
        Ok(found) if found == declared => Ok(()),
        Ok(found) => Err(PackError::WrongLength { declared: declared as u64, found: found as u64 }),
        Err(code) => Err(PackError::Zstd(get_error_name(code))),
    }
}

fn verify(expect: &Id, plain: &[u8]) -> Result<(), PackError> {
    match Id::of(plain) {
        found if found == *expect => Ok(()),
        found => Err(PackError::NotItsId { expected: *expect, found }),
    }
}

fn check_lengths(sealed: usize, uncompressed: Option<NonZeroU32>) -> Result<(), PackError> {
    let length = u32::try_from(sealed).map_err(|_| PackError::Implausible(sealed as u64))?;
    plausible(BlobType::Tree, length, uncompressed)
}

/// A blob's plaintext, decompressed as it is read, for what should not be held in memory.
///
/// Whether it is the right plaintext is known only at its end: the read that would return 0 fails when it is not. Nothing
/// made of it may count before that. Every error is of kind `InvalidData` and holds a [`PackError`].
pub struct BlobReader<R = Cursor<Vec<u8>>> {
    plain: Plain<R>,
    hash: Sha256,
    expect: Id,
    /// Bytes that it must have when it was compressed.
    declared: Option<u64>,
    found: u64,
}

enum Plain<R> {
    Stored(R),
    Compressed(Box<Decoder<'static, R>>),
}

impl<R> std::fmt::Debug for BlobReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobReader").field("expect", &self.expect).finish_non_exhaustive()
    }
}

impl BlobReader {
    /// Opens a sealed blob for reading.
    pub fn open(
        key: &MasterKey,
        expect: &Id,
        sealed: &[u8],
        uncompressed: Option<NonZeroU32>,
    ) -> Result<Self, PackError> {
        check_lengths(sealed.len(), uncompressed)?;
        Self::over(Cursor::new(key.open(sealed)?), expect, uncompressed)
    }

    /// Reads and verifies all of it, and returns what was sealed, compressed as it is.
    fn into_payload(self) -> Result<Vec<u8>, PackError> {
        self.read_to_end().map(Cursor::into_inner)
    }
}

impl<R: BufRead> BlobReader<R> {
    /// Reads what was sealed, once it was authenticated.
    pub fn over(payload: R, expect: &Id, uncompressed: Option<NonZeroU32>) -> Result<Self, PackError> {
        let (plain, declared) = match uncompressed {
            None => (Plain::Stored(payload), None),
            Some(len) => {
                let decoder = Decoder::with_buffer(payload).map_err(|_| PackError::Zstd("no memory for a context"))?;
                (Plain::Compressed(Box::new(decoder)), Some(u64::from(len.get())))
            }
        };
        Ok(Self { plain, hash: Sha256::new(), expect: *expect, declared, found: 0 })
    }

    /// Reads and verifies all of it, and gives back where it came from.
    fn read_to_end(mut self) -> Result<R, PackError> {
        let mut piece = vec![0; STEP];
        loop {
            match self.read(&mut piece) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(error.downcast().unwrap_or_else(PackError::Source)),
            }
        }
        Ok(match self.plain {
            Plain::Stored(payload) => payload,
            Plain::Compressed(decoder) => decoder.finish(),
        })
    }

    fn end(&self) -> Result<usize, PackError> {
        if let Some(declared) = self.declared.filter(|declared| self.found != *declared) {
            return Err(PackError::WrongLength { declared, found: self.found });
        }
        match Id(self.hash.clone().finalize().into()) {
            found if found == self.expect => Ok(0),
            found => Err(PackError::NotItsId { expected: self.expect, found }),
        }
    }
}

impl<R: BufRead> Read for BlobReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        if buf.is_empty() {
            return Ok(0);
        }
        let count = match &mut self.plain {
            Plain::Stored(plain) => plain.read(buf)?,
            Plain::Compressed(plain) => {
                plain.read(buf).map_err(|_| invalid(PackError::Zstd("the stream is damaged")))?
            }
        };
        if count == 0 {
            return self.end().map_err(invalid);
        }
        self.found += count as u64;
        if let Some(declared) = self.declared.filter(|declared| self.found > *declared) {
            return Err(invalid(PackError::WrongLength { declared, found: self.found }));
        }
        self.hash.update(&buf[..count]);
        Ok(count)
    }
}
