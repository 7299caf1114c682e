//! Filling the catalog from the vaults, when it was lost or is not trusted.
//!
//! Vaults that cannot be reached are left out and named: after a disaster those that are left must do. What waits in this
//! host's spool is taken in too.

use std::path::{Path, PathBuf};

use super::error::ServiceError;
use super::host::{CATALOG, Service, archive, make_private};
use super::marks::Mark;
use crate::catalog::{self, Listed, Rebuilt, VaultContents};
use crate::config::VaultName;
use crate::vault::chain;

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Rebuild {
    /// What each vault gave.
    pub vaults: Vec<FromVault>,
    /// Vaults that could not be read, with the reason.
    pub unreachable: Vec<(VaultName, String)>,
    /// Records in all.
    pub records: usize,
    /// Snapshots in all.
    pub snapshots: usize,
}

/// What a vault gave.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FromVault {
    /// The vault.
    pub vault: VaultName,
    /// Records that count.
    pub records: usize,
    /// Snapshots.
    pub snapshots: usize,
    /// What is wrong with its records; those concerned were left out.
    pub flaws: Vec<String>,
}

/// Before [`Service::open`] for a rebuild: a catalog that is no usable database is moved aside, since it would let nothing be
/// opened. Where it is now; `None` when it is whole or there is none. Not beside a running service.
pub fn set_damaged_catalog_aside(state: &Path) -> Result<Option<PathBuf>, ServiceError> {
    make_private(state)?;
    let only = Mark::of_service(state)?;
    let _only = only.ok_or_else(|| ServiceError::AlreadyRunning(state.to_owned()))?;
    Ok(catalog::set_aside_damaged(&state.join(CATALOG))?)
}

impl Service {
    /// Forgets what the catalog knows and takes in what the vaults hold. Not beside a running service: the catalog alone
    /// knows what that is doing.
    pub async fn rebuild(&self) -> Result<Rebuild, ServiceError> {
        let only = Mark::of_service(&self.state)?;
        let _only = only.ok_or_else(|| ServiceError::AlreadyRunning(self.state.clone()))?;
        let (mut contents, mut vaults, mut unreachable) = (Vec::new(), Vec::new(), Vec::new());
        for name in self.config.vaults.keys() {
            match self.contents(name).await {
                Ok((found, flaws)) => {
                    let (records, snapshots) = (found.entries.len(), found.snapshots.len());
                    vaults.push(FromVault { vault: name.clone(), records, snapshots, flaws });
                    contents.push(found);
                }
                Err(error) => unreachable.push((name.clone(), chain(&error))),
            }
        }
        let Rebuilt { records, snapshots } = self.catalog.rebuild(&contents)?;
        self.take_in_spooled()?;
        Ok(Rebuild { vaults, unreachable, records, snapshots })
    }

    async fn contents(&self, name: &VaultName) -> Result<(VaultContents, Vec<String>), ServiceError> {
        let vault = self.vaults.open(name).await?;
        let audit = archive(&vault).audit().await?;
        let listed = vault.snapshots().await?;
        let damaged = listed.damaged.iter().map(|(id, error)| format!("snapshot {id}: {}", chain(error)));
        let flaws = audit.flaws.iter().map(ToString::to_string).chain(damaged).collect();
        let snapshots = listed.whole.iter().map(Listed::from).collect();
        Ok((VaultContents { vault: name.to_string(), entries: audit.entries, snapshots }, flaws))
    }
}
