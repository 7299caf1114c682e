//! What it takes to carry plans out on one host: configuration, vaults, catalog, records.
//!
//! Invariant: a run is durable in the spool before it is in the catalog, and in the catalog before it is delivered. A
//! crash in between leaves a record in the spool, which [`Service::open`] takes in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::error::ServiceError;
use super::secret::SharedKey;
use super::vaults::Vaults;
use crate::backup::Threads;
use crate::catalog::{Catalog, Listed};
use crate::clock::Env;
use crate::config::{Config, Plan, PlanName, VaultName};
use crate::monitor::{Cancel, Monitor};
use crate::record::recorder::Delivery;
use crate::record::spool::Spool;
use crate::record::{Archive, Draft, Entry, Record, Recorder, TimeKind};
use crate::vault::{CacheMode, Vault};

/// The catalog's file in the state folder.
pub const CATALOG: &str = "catalog.sqlite";

/// How long a step that does not need it waits for a vault's records to be delivered. They stay in the spool otherwise.
const DELIVERY: Duration = Duration::from_secs(60);

/// What a service is made of.
#[derive(Debug)]
pub struct Setup {
    /// What was configured.
    pub config: Config,
    /// Where catalog, spool, host key and caches are.
    pub state: PathBuf,
    /// This host's name in snapshots and records.
    pub host: String,
    /// The user's name in snapshots.
    pub username: String,
    /// Which clock `env` has.
    pub time: TimeKind,
    /// Clock and randomness.
    pub env: Env,
    /// Where index and trees may be kept.
    pub cache: CacheMode,
    /// Whether key files may be readable for others.
    pub shared_key: SharedKey,
    /// How each backup spreads its work.
    pub threads: Threads,
}

/// A host that carries plans out.
pub struct Service {
    pub(super) config: Config,
    pub(super) state: PathBuf,
    pub(super) username: String,
    pub(super) time: TimeKind,
    pub(super) env: Env,
    pub(super) threads: Threads,
    pub(super) vaults: Vaults,
    pub(super) catalog: Catalog,
    pub(super) recorder: Recorder,
    pub(super) monitor: Arc<dyn Monitor>,
    pub(super) cancel: Cancel,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("state", &self.state).field("host", &self.host()).finish_non_exhaustive()
    }
}

impl Service {
    /// A service with the catalog and the host key of its state folder, both made when there are none.
    pub fn open(setup: Setup, monitor: Arc<dyn Monitor>, cancel: Cancel) -> Result<Self, ServiceError> {
        let Setup { config, state, host, username, time, env, cache, shared_key, threads } = setup;
        make_private(&state)?;
        let catalog = Catalog::open(&state.join(CATALOG))?;
        let recorder = Recorder::open(&state, &host, time, env.clone())?;
        let vaults = Vaults::of(&config, cache, shared_key, env.clone());
        let service = Self { config, state, username, time, env, threads, vaults, catalog, recorder, monitor, cancel };
        service.take_in_spooled()?;
        Ok(service)
    }

    /// What was configured.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The vaults.
    pub fn vaults(&self) -> &Vaults {
        &self.vaults
    }

    /// What is known of runs and snapshots.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The pen of this process.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Clock and randomness.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Where catalog, spool, host key and caches are.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Which clock the times are from.
    pub fn time(&self) -> TimeKind {
        self.time
    }

    /// This host's name.
    pub fn host(&self) -> &str {
        self.recorder.host()
    }

    /// What long work says goes here.
    pub fn monitor(&self) -> &Arc<dyn Monitor> {
        &self.monitor
    }

    /// Asks everything to stop at the next safe point.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// The plan of this name.
    pub fn plan(&self, name: &str) -> Result<(&PlanName, &Plan), ServiceError> {
        self.config.plans.get_key_value(name).ok_or_else(|| ServiceError::NoSuchPlan {
            name: name.chars().take(80).collect(),
            known: self.config.plans.keys().map(ToString::to_string).collect(),
        })
    }

    /// Writes the record of a finished run and takes it into the catalog. Durable when it returns; not yet delivered.
    pub fn record(&self, vault: &str, draft: Draft) -> Result<Entry, ServiceError> {
        let entry = self.recorder.write(vault, draft)?;
        self.catalog.apply(vault, &entry)?;
        Ok(entry)
    }

    /// Delivers what waits for a vault.
    pub async fn deliver(&self, name: &VaultName) -> Result<Delivery, ServiceError> {
        let vault = self.vaults.open(name).await?;
        vault.writable()?;
        let delivery = self.recorder.deliver(name.as_str(), &archive(&vault)).await?;
        for (run, why) in &delivery.stuck {
            tracing::error!(vault = %name, %run, why, "a record cannot be delivered; it stays in the spool");
        }
        Ok(delivery)
    }

    /// Delivers what waits for a vault if that is possible soon; logs when it is not.
    pub(super) async fn deliver_soon(&self, name: &VaultName) {
        match tokio::time::timeout(DELIVERY, self.deliver(name)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(vault = %name, error = crate::vault::chain(&error), "records wait in the spool");
            }
            Err(_) => tracing::warn!(vault = %name, "records wait in the spool: the vault does not answer"),
        }
    }

    /// Reads a vault's list of snapshots into the catalog.
    pub async fn refresh(&self, name: &VaultName) -> Result<Vault, ServiceError> {
        let vault = self.vaults.open(name).await?;
        let listed = vault.snapshots().await?;
        for (id, error) in &listed.damaged {
            let error = crate::vault::chain(error);
            tracing::error!(vault = %name, snapshot = %id.short(), error, "a snapshot cannot be read");
        }
        let listed: Vec<Listed> = listed.whole.iter().map(Listed::from).collect();
        self.catalog.list_snapshots(name.as_str(), &listed)?;
        Ok(vault)
    }

    /// Takes in what a crash left between spool and catalog. Taking a record in twice changes nothing.
    pub(super) fn take_in_spooled(&self) -> Result<(), ServiceError> {
        let spool = Spool::at(&self.state);
        for (vault, _) in self.recorder.waiting()? {
            for spooled in spool.waiting(&vault).map_err(crate::record::recorder::RecordError::from)? {
                let Ok(signed) = spooled.content else { continue };
                if let Ok(record) = serde_json::from_str::<Record>(&signed.record) {
                    self.catalog.apply(&vault, &Entry { digest: signed.digest(), record })?;
                }
            }
        }
        Ok(())
    }
}

/// The records of an open vault.
pub fn archive(vault: &Vault) -> Archive {
    Archive::new(vault.store().clone(), vault.key().clone(), vault.env().clone())
}

/// Makes the folder when it is not there: nobody else's business.
pub(super) fn make_private(folder: &Path) -> Result<(), ServiceError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| ServiceError::State { op: "make the state folder", path: folder.to_owned(), source })
}
