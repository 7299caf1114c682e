//! Why the service cannot do something at all. What fails for one plan is that run's status, and the rest goes on.

use std::io;
use std::path::PathBuf;

use super::vaults::OpenError;
use crate::catalog::CatalogError;
use crate::config::PlanName;
use crate::record::archive::ArchiveError;
use crate::record::recorder::RecordError;
use crate::vault::VaultError;

/// Why the service cannot do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The state folder cannot be used.
    #[error("{op} {}", path.display())]
    State {
        /// What was tried.
        op: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another service works with the state folder.
    #[error("start: another drctl service works with the state folder {}", .0.display())]
    AlreadyRunning(PathBuf),
    /// The alarm clock cannot be set.
    #[error("set the service's alarm clock: {0}")]
    Alarm(String),
    /// The catalog cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A record cannot be written or delivered.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The records of a vault cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A vault cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A vault cannot be read or written.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The configuration has no such plan.
    #[error("find plan {name:?}: the configuration has {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    NoSuchPlan {
        /// As it was given.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The plan is being run already.
    #[error("run plan {0}: a run of it is going on already")]
    Busy(PlanName),
}
