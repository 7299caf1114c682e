//! The host's key, and records signed with it.
//!
//! Each host has one Ed25519 key, made on first use and kept in its state folder, readable by nobody else. The signature
//! covers a fixed prefix and the record's canonical text; the text is stored as signed.
//!
//! A signature proves which key wrote a record, not that the host told the truth; and whoever holds the vault's password
//! can add a host. Pinning keys elsewhere is the audit's business.

use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::canonical::{CanonicalError, canonical};
use super::entry::Record;
use crate::clock::Random;
use crate::vault::Id;

/// Separates these signatures from any others the key might ever make.
const PREFIX: &[u8] = b"drctl record 1\n";
/// The file in the state folder.
const FILE: &str = "host.key";

/// A host's key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// The file could not be read or written.
    #[error("{op} the host key {}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others can read it.
    #[error("use the host key {}: others can read it (mode {mode:o}); make it private with chmod 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not 64 hex digits.
    #[error("read the host key {}: it is not 64 hex digits; move it away and a new one is made", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// The key with which this host signs.
pub struct HostKey(SigningKey);

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostKey({})", fingerprint(&self.0.verifying_key()))
    }
}

impl HostKey {
    /// The key in the state folder, made when there is none.
    ///
    /// The new key is durable under another name before it gets its own, so that a crash leaves either no key or a whole
    /// one; of two processes that make one at once, both use that of the first.
    pub fn load_or_create(state: &Path, random: &dyn Random) -> Result<Self, HostKeyError> {
        let path = state.join(FILE);
        match Self::load(&path) {
            Err(HostKeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::create(state, &path, random)?;
                Self::load(&path)
            }
            loaded => loaded,
        }
    }

    fn load(path: &Path) -> Result<Self, HostKeyError> {
        let failed = |op| move |source| HostKeyError::Io { op, path: path.to_owned(), source };
        let mode = std::fs::metadata(path).map_err(failed("look at"))?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(HostKeyError::Exposed { path: path.to_owned(), mode });
        }
        let text = Zeroizing::new(std::fs::read(path).map_err(failed("read"))?);
        let mut secret = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim_ascii(), secret.as_mut())
            .map_err(|_| HostKeyError::Malformed { path: path.to_owned() })?;
        Ok(Self(SigningKey::from_bytes(&secret)))
    }

    fn create(state: &Path, path: &Path, random: &dyn Random) -> Result<(), HostKeyError> {
        let failed = |op| move |source| HostKeyError::Io { op, path: path.to_owned(), source };
        let mut secret = Zeroizing::new([0; 32]);
        random.fill(secret.as_mut());
        let text = Zeroizing::new(hex::encode(secret.as_ref()) + "\n");
        std::fs::create_dir_all(state).map_err(failed("make the folder of"))?;
        let mut file = tempfile::Builder::new()
            .prefix(".host-key-")
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(state)
            .map_err(failed("create"))?;
        file.write_all(text.as_bytes()).map_err(failed("write"))?;
        file.as_file().sync_all().map_err(failed("write"))?;
        match file.persist_noclobber(path) {
            Ok(_) => {}
            Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(lost) => return Err(failed("create")(lost.error)),
        }
        super::sync_folder(state).map_err(failed("write"))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs a record.
    pub fn sign(&self, record: &Record) -> Result<Signed, CanonicalError> {
        let text = canonical(record)?;
        let signature = self.0.sign(&message(&text));
        Ok(Signed { key: self.public().hex(), signature: hex::encode(signature.to_bytes()), record: text })
    }
}

/// The public half of a host's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// From 64 hex digits. `None` when it is no key, or one that verifies anything.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak()).map(Self)
    }

    /// As 64 hex digits.
    pub fn hex(&self) -> String {
        hex::encode(self.0.as_bytes())
    }

    /// Its short name: 32 hex digits of its SHA-256.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.0)
    }
}

fn fingerprint(key: &VerifyingKey) -> String {
    Id::of(key.as_bytes()).to_string()[..32].to_owned()
}

fn message(text: &str) -> Vec<u8> {
    [PREFIX, text.as_bytes()].concat()
}

/// A record as it is stored: canonical text, signature, and the key that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The public key, as 64 hex digits.
    pub key: String,
    /// The canonical text of the record.
    pub record: String,
    /// Over the prefix and the text, as 128 hex digits.
    pub signature: String,
}

impl Signed {
    /// What the next record in the chain names as the one before.
    pub fn digest(&self) -> Id {
        Id::of(self.record.as_bytes())
    }

    /// The key that signed it; `None` when the signature does not fit.
    pub fn signer(&self) -> Option<PublicKey> {
        let key = PublicKey::parse(&self.key)?;
        let mut signature = [0; 64];
        hex::decode_to_slice(&self.signature, &mut signature).ok()?;
        key.0.verify_strict(&message(&self.record), &Signature::from_bytes(&signature)).ok().map(|()| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Seeded;
    use crate::record::tests::record;

    #[test]
    fn the_key_is_made_once_private_and_stays_the_same() {
        let state = tempfile::tempdir().expect("a folder");
        let nested = state.path().join("state");
        let first = HostKey::load_or_create(&nested, &Seeded::new(1)).expect("made");
        let again = HostKey::load_or_create(&nested, &Seeded::new(2)).expect("loaded");
        assert_eq!(first.public(), again.public());
        let path = nested.join(FILE);
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&nested).expect("readable").count(), 1);
        assert_eq!(first.public().fingerprint().len(), 32);
        assert!(!format!("{first:?}").contains(std::fs::read_to_string(path).expect("text").trim()));
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let state = tempfile::tempdir().expect("a folder");
        HostKey::load_or_create(state.path(), &Seeded::new(1)).expect("made");
        let path = state.path().join(FILE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("chmod");
        let exposed = HostKey::load_or_create(state.path(), &Seeded::new(1)).expect_err("exposed");
        assert!(matches!(exposed, HostKeyError::Exposed { mode: 0o640, .. }), "{exposed}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        std::fs::write(&path, "not a key").expect("written");
        let malformed = HostKey::load_or_create(state.path(), &Seeded::new(1)).expect_err("malformed");
        assert!(matches!(malformed, HostKeyError::Malformed { .. }), "{malformed}");
    }

    #[test]
    fn a_signature_fits_its_text_and_key_only() {
        let state = tempfile::tempdir().expect("a folder");
        let key = HostKey::load_or_create(state.path(), &Seeded::new(1)).expect("made");
        let signed = key.sign(&record(1)).expect("signed");
        assert_eq!(signed.signer(), Some(key.public()));

        let text = Signed { record: signed.record.replace("\"ok\"", "\"failed\""), ..signed.clone() };
        assert_ne!(text.record, signed.record);
        assert_eq!(text.signer(), None);
        let other = tempfile::tempdir().expect("a folder");
        let other = HostKey::load_or_create(other.path(), &Seeded::new(9)).expect("made");
        assert_eq!(Signed { key: other.public().hex(), ..signed.clone() }.signer(), None);
        assert_eq!(Signed { signature: "00".repeat(64), ..signed.clone() }.signer(), None);
        assert_eq!(Signed { signature: String::new(), ..signed }.signer(), None);
        assert_eq!(PublicKey::parse(&"00".repeat(32)), None);
    }
}
