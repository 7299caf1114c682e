//! Why a vault was not healed as far as it could be. What cannot be healed is in the outcome.

use crate::check::CheckError;
use crate::vault::pack::PackError;
use crate::vault::{Id, VaultError};

/// Why healing stopped. Whatever was stored until then stays, and nothing is gone that it does not replace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HealError {
    /// Both addresses are one.
    #[error("heal the vault at {url} from itself")]
    SameVault {
        /// The address.
        url: String,
    },
    /// The vault could not be read or written.
    #[error("use the vault")]
    Vault(#[from] VaultError),
    /// The vault that is healed from cannot be reached or read. Damage of single blobs is not this.
    #[error("read the vault to heal from")]
    Copy(#[source] VaultError),
    /// A pack could not be built.
    #[error("seal what was found")]
    Seal(#[source] PackError),
    /// The store acknowledged a pack, and then did not give it back as it was.
    #[error("read back pack {} as it was written; nothing was removed for it", pack.short())]
    ReadBack {
        /// The pack.
        pack: Id,
        /// What came back.
        #[source]
        source: Box<VaultError>,
    },
    /// The operator asked to stop.
    #[error("heal: interrupted; what was stored is kept, and the next run goes on")]
    Cancelled,
}

impl From<CheckError> for HealError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Vault(error) => Self::Vault(error),
            CheckError::Cancelled => Self::Cancelled,
        }
    }
}
