//! Why a copy failed as a whole. What fails for one snapshot is in the outcome.

use crate::vault::pack::PackError;
use crate::vault::{Id, VaultError};

/// Why nothing more could be copied. What was acknowledged before stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicateError {
    /// Both addresses lead to one vault.
    #[error("copy vault {} into itself", .id.get(..8).unwrap_or(.id))]
    SameVault {
        /// The vault's id.
        id: String,
    },
    /// The vault that is copied from cannot be reached or read. Damage of single blobs is not this.
    #[error("read the vault that is copied from")]
    Source(#[source] VaultError),
    /// The copy could not be read or written.
    #[error("write the copy")]
    Copy(#[source] VaultError),
    /// A pack could not be built.
    #[error("seal what is copied")]
    Seal(#[source] PackError),
    /// The store acknowledged a pack, and then did not give it back as it was.
    #[error("read back pack {} as it was written; no snapshot that needs it was written", pack.short())]
    ReadBack {
        /// The pack.
        pack: Id,
        /// What came back.
        #[source]
        source: Box<VaultError>,
    },
    /// Each time a snapshot had been copied, a prune of the copy turned out to have gone on meanwhile.
    #[error("copy: prunes of the copy went on meanwhile, each time; the snapshot was withdrawn there")]
    Overtaken,
    /// The operator asked to stop.
    #[error("copy: interrupted; what was copied is kept, and the next run goes on from there")]
    Cancelled,
}
