//! Our own settings of a vault: what it is cut with, how large its packs are, and who else writes to it.
//!
//! Sealed, in `drctl/vault`, written once when the vault is made or adopted and never changed. A vault that another tool
//! made has none until then: it is cut with Rabin and its own polynomial, so that what both tools write is stored once.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::config::seal_json;
use super::crypto::MasterKey;
use super::error::{Damage, VaultError};
use super::layout::SETTINGS;
use crate::clock::Env;

/// The version of the settings that is written.
const VERSION: u32 = 1;

/// What files of a vault are cut with. Vaults that are to share blobs must have the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Chunker {
    /// Our own, keyed by a secret, so that sizes of pieces tell nothing about content.
    Gear {
        /// 32 random bytes.
        secret: [u8; 32],
    },
    /// restic's.
    Rabin {
        /// Irreducible, of degree 53.
        polynomial: u64,
    },
}

impl std::fmt::Debug for Chunker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gear { .. } => f.write_str("Gear(***)"),
            Self::Rabin { polynomial } => write!(f, "Rabin({polynomial:x})"),
        }
    }
}

/// Who writes to a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Nobody but drctl. Stock tools only read.
    Native,
    /// Stock tools may write too, so everybody heeds the locks.
    #[default]
    Shared,
}

/// What the object `drctl/vault` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    version: u32,
    pub(super) created: Timestamp,
    pub(super) chunker: ChunkerSetting,
    pub(super) pack_size: u32,
    pub(super) sharing: Sharing,
}

/// The chunker as it is stored: Rabin's polynomial is in the configuration already.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum ChunkerSetting {
    Gear {
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        secret: [u8; 32],
    },
    Rabin,
}

impl std::fmt::Debug for ChunkerSetting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gear { .. } => "Gear(***)",
            Self::Rabin => "Rabin",
        })
    }
}

impl Settings {
    pub(super) fn new(created: Timestamp, chunker: ChunkerSetting, pack_size: u32, sharing: Sharing) -> Self {
        Self { version: VERSION, created, chunker, pack_size, sharing }
    }

    pub(super) fn seal(&self, key: &MasterKey, env: &Env) -> Result<Vec<u8>, VaultError> {
        seal_json(self, key, env)
    }

    pub(super) fn open(key: &MasterKey, sealed: &[u8]) -> Result<Self, VaultError> {
        let json = Zeroizing::new(key.open(sealed).map_err(|error| VaultError::damaged(SETTINGS, error))?);
        Self::parse(&json)
    }

    /// Reads what the object `drctl/vault` opened to. Refuses versions that are not known, by their number.
    pub fn parse(json: &[u8]) -> Result<Self, VaultError> {
        let damaged = |why: Damage| VaultError::damaged(SETTINGS, why);
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_slice(json).map_err(|error| damaged(error.into()))?;
        if version > VERSION {
            return Err(VaultError::NewerVersion { object: SETTINGS, version });
        }
        serde_json::from_slice(json).map_err(|error| damaged(error.into()))
    }
}

fn to_base64<S: Serializer>(secret: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(secret))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = Zeroizing::new(String::deserialize(deserializer)?);
    let bytes = BASE64_STANDARD.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| serde::de::Error::custom("a chunker's secret is 32 bytes in base64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::crypto::tests::key;
    use crate::vault::tests::env;

    /// Settings are a format: this text must stay readable.
    const GEAR: &str = r#"{"version":1,"created":"2026-01-01T00:00:00Z","chunker":{"kind":"gear","secret":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="},"pack_size":16777216,"sharing":"native"}"#;

    fn sealed(json: &str) -> Vec<u8> {
        let mut out = Vec::new();
        key().seal_into([1; 16], json.as_bytes(), &mut out).unwrap();
        out
    }

    #[test]
    fn they_are_written_as_they_are_read() {
        let env = env();
        let chunker = ChunkerSetting::Gear { secret: [7; 32] };
        let settings = Settings::new(env.clock.now(), chunker, 16 << 20, Sharing::Native);
        assert_eq!(serde_json::to_string(&settings).unwrap(), GEAR);
        assert_eq!(Settings::open(&key(), &sealed(GEAR)).unwrap(), settings);
        assert_eq!(Settings::open(&key(), &settings.seal(&key(), &env).unwrap()).unwrap(), settings);
        let rabin = GEAR.replace(
            r#"{"kind":"gear","secret":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="}"#,
            r#"{"kind":"rabin"}"#,
        );
        assert_eq!(Settings::open(&key(), &sealed(&rabin)).unwrap().chunker, ChunkerSetting::Rabin);
    }

    #[test]
    fn newer_ones_are_refused_as_such_and_damaged_ones_as_damaged() {
        let newer = Settings::open(&key(), &sealed(r#"{"version":2,"chunker":"quantum"}"#));
        assert!(matches!(newer, Err(VaultError::NewerVersion { object: SETTINGS, version: 2 })), "{newer:?}");
        for bad in ["", "{}", r#"{"version":1}"#, &GEAR.replace("BwcH", "????"), &GEAR.replace("BwcH", "")] {
            assert!(matches!(Settings::open(&key(), &sealed(bad)), Err(VaultError::Damaged { .. })), "{bad}");
        }
    }

    #[test]
    fn no_secret_is_printed() {
        let text =
            format!("{:?} {:?}", Settings::open(&key(), &sealed(GEAR)).unwrap(), Chunker::Gear { secret: [7; 32] });
        assert!(!text.contains("7, 7") && !text.contains("BwcH") && text.contains("Gear(***)"), "{text}");
    }
}
