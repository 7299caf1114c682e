//! Blobs out of their seal, verified and still compressed: to be sealed anew, in another pack or under another key.

use std::num::NonZeroU32;

use bytes::Bytes;

use super::blob::{BlobKey, Located};
use super::error::{VaultError, chain};
use super::handle::Vault;
use super::index::Index;
use super::opening::off_thread;
use super::pack::Opener;
use super::ranges::Group;

/// A blob's content as it was sealed; its plaintext was compared with its id.
#[derive(Debug)]
pub struct Payload {
    /// Which blob it is.
    pub key: BlobKey,
    /// Its content, compressed as it was.
    pub bytes: Vec<u8>,
    /// Bytes of the plaintext when it is compressed.
    pub uncompressed: Option<NonZeroU32>,
}

/// What came of a range.
#[derive(Debug, Default)]
pub struct Payloads {
    /// The blobs that could be had.
    pub opened: Vec<Payload>,
    /// Those that could not, and why.
    pub lost: Vec<(BlobKey, String)>,
    /// Bytes that were fetched.
    pub bytes: u64,
}

impl Vault {
    /// Fetches a range and opens what is wanted of it. What does not open is looked for in every other place that `index`
    /// knows. Fails only when the store cannot be read.
    pub async fn payloads<T: Send + Sync + 'static>(
        &self,
        index: &Index,
        group: Group<T>,
        place: fn(&T) -> (BlobKey, Located),
    ) -> Result<Payloads, VaultError> {
        let bytes = match self.load_pack_range(&group.pack, group.start..group.end).await {
            Ok(bytes) => bytes,
            // The range as a whole cannot be had; single blobs may.
            Err(error) if error.is_damage() => Bytes::new(),
            Err(error) => return Err(error),
        };
        let mut found = Payloads { bytes: bytes.len() as u64, ..Payloads::default() };
        let key = self.key().clone();
        let open = move || {
            let mut opener = Opener::new(key);
            let (mut opened, mut missing) = (Vec::with_capacity(group.items.len()), Vec::new());
            for (key, at) in group.items.iter().map(place) {
                let sealed = group.sealed(&bytes, &at);
                match sealed.map(|sealed| opener.open_payload(&key.id, sealed, at.uncompressed)) {
                    Some(Ok(bytes)) => opened.push(Payload { key, bytes, uncompressed: at.uncompressed }),
                    Some(Err(_)) | None => missing.push(key),
                }
            }
            (opened, missing)
        };
        let (opened, missing) = off_thread(open).await;
        found.opened = opened;
        for key in missing {
            match self.payload(index, key).await? {
                Ok(opened) => found.opened.push(opened),
                Err(why) => found.lost.push((key, why)),
            }
        }
        Ok(found)
    }

    /// One blob, from the first place where it is whole. The inner error says why it is in none.
    pub async fn payload(&self, index: &Index, key: BlobKey) -> Result<Result<Payload, String>, VaultError> {
        match self.payload_from(index.get_all(key), key).await? {
            Err(why) => match self.look_again(key).await? {
                places if places.is_empty() => Ok(Err(why)),
                places => self.payload_from(places, key).await,
            },
            opened => Ok(opened),
        }
    }

    async fn payload_from(&self, places: Vec<Located>, key: BlobKey) -> Result<Result<Payload, String>, VaultError> {
        let mut why = "no index names it".to_owned();
        for at in places {
            let start = u64::from(at.offset);
            let place = format!("pack {}", at.pack.short());
            match self.load_pack_range(&at.pack, start..start + u64::from(at.length)).await {
                Ok(sealed) => {
                    let master = self.key().clone();
                    let open = move || Opener::new(master).open_payload(&key.id, &sealed, at.uncompressed);
                    match off_thread(open).await {
                        Ok(bytes) => return Ok(Ok(Payload { key, bytes, uncompressed: at.uncompressed })),
                        Err(error) => why = format!("{place}: failed to {}", chain(&error)),
                    }
                }
                Err(error) if error.is_damage() => why = format!("{place}: failed to {}", chain(&error)),
                Err(error) => return Err(error),
            }
        }
        Ok(Err(why))
    }
}
