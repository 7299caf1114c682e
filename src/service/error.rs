//! Why the service cannot do something at all. What fails for one plan is that run's status, and the rest goes on.

use std::io;
use std::path::PathBuf;

use super::vaults::OpenError;
use crate::catalog::CatalogError;
use crate::config::{PlanName, RunbookName};
use crate::drill::plan::NoVault;
use crate::record::archive::ArchiveError;
use crate::record::canonical::CanonicalError;
use crate::record::recorder::RecordError;
use crate::runbook::plan::Flaw;
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
    /// The plan does not say how it comes back.
    #[error("recover plan {0}: it names no runbook")]
    NoRunbook(PlanName),
    /// The runbook does not exist.
    #[error("find runbook {name:?}: the configuration has {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    NoSuchRunbook {
        /// As it was given.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The steps of a runbook can have no order.
    #[error("order the steps of runbook {runbook}: {}", flaws.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Runbook {
        /// The runbook.
        runbook: RunbookName,
        /// What is wrong with it.
        flaws: Vec<Flaw>,
    },
    /// No vault is left to recover from.
    #[error(transparent)]
    NoVault(#[from] NoVault),
    /// Evidence cannot be written down.
    #[error("write the evidence of a drill")]
    Evidence(#[from] CanonicalError),
    /// A plan cannot be drilled twice at the same time: drills are numbered.
    #[error("drill plan {0}: a drill of it is going on already")]
    Drilling(PlanName),
    /// The plan is being run already.
    #[error("run plan {0}: a run of it is going on already")]
    Busy(PlanName),
}
