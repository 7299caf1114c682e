//! What commands about plans need: a configuration that can be used, and the service over it.

use std::sync::Arc;

use serde::Serialize;

use super::configured::refused;
use super::context::Context;
use super::error::{Failure, chain};
use super::hints;
use super::target::Target;
use crate::backup::Threads;
use crate::catalog::Catalog;
use crate::config::{self, Config, Finding, Severity};
use crate::monitor::{Cancel, Monitor, Silent};
use crate::record::{Draft, Recorder, TimeKind};
use crate::service::host::{CATALOG, archive};
use crate::service::{Service, ServiceError, Setup, rebuild};
use crate::vault::{Vault, whoami};

impl Context {
    /// The configuration, which must be there.
    pub(crate) fn configured(&self) -> Result<&Config, Failure> {
        self.config()?.ok_or_else(|| {
            Failure::usage("there is no configuration")
                .hint("write ./drctl.toml or /etc/drctl/drctl.toml, or name a file with --config FILE")
        })
    }

    /// The configuration, in which nothing is that cannot come true.
    fn sound(&self) -> Result<&Config, Failure> {
        let config = self.configured()?;
        let mut findings: Vec<Finding> = config::check(config);
        findings.retain(|finding| finding.severity == Severity::Error);
        if findings.is_empty() { Ok(config) } else { Err(refused(&findings)) }
    }

    /// A service over the configuration.
    pub(crate) fn service(&self, monitor: Arc<dyn Monitor>, cancel: Cancel) -> Result<Service, Failure> {
        Service::open(self.setup()?, monitor, cancel).map_err(Failure::of)
    }

    /// A service whose catalog is about to be filled anew: a damaged one is moved out of the way first, which the user is
    /// told at once, whatever becomes of the rest.
    pub(crate) fn service_anew(&self, cancel: Cancel) -> Result<Service, Failure> {
        let setup = self.setup()?;
        let moved = rebuild::set_damaged_catalog_aside(&setup.state).map_err(Failure::of)?;
        if let Some(aside) = moved {
            let catalog = setup.state.join(CATALOG);
            self.out.warn(&format!("the catalog {} is damaged; it is now {}", catalog.display(), aside.display()));
        }
        Service::open(setup, Arc::new(Silent), cancel).map_err(Failure::of)
    }

    fn setup(&self) -> Result<Setup, Failure> {
        let config = self.sound()?.clone();
        let state = self.state_dir().ok_or_else(no_state)?;
        Ok(Setup {
            config,
            state,
            host: whoami::hostname(),
            username: whoami::username(),
            time: TimeKind::Real,
            env: self.env.clone(),
            cache: self.cache(),
            shared_key: self.shared_key(),
            threads: Threads::per_processor(),
        })
    }

    /// Writes the record of something that was done by hand, and delivers it. What was done stays done: that it could not
    /// be recorded, or not delivered yet, is a warning.
    pub(crate) async fn record(&self, target: &Target, vault: &Vault, draft: impl FnOnce(&Recorder) -> Draft) {
        if let Err(refused) = vault.writable() {
            self.out.note(&format!("no record was written: failed to {refused}"));
            return;
        }
        let Some(state) = self.state_dir() else {
            self.out.warn("no record was written: there is no folder for the host's key; name one with --state-dir");
            return;
        };
        let recorded = async {
            let recorder = Recorder::open(&state, &whoami::hostname(), TimeKind::Real, self.env.clone())?;
            let entry = recorder.write(target.label(), draft(&recorder))?;
            if target.name.is_some() {
                Catalog::open(&state.join(CATALOG))?.apply(target.label(), &entry)?;
            }
            Ok::<_, ServiceError>(recorder.deliver(target.label(), &archive(vault)).await?)
        };
        match recorded.await {
            Ok(delivery) => {
                for (run, why) in delivery.stuck {
                    self.out.warn(&format!("record {run} cannot be delivered: {why}"));
                }
            }
            Err(error) => {
                let way_out = hints::advise(&error).hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                self.out.warn(&format!("the run's record is not in the vault: failed to {}{way_out}", chain(&error)));
            }
        }
    }
}

fn no_state() -> Failure {
    Failure::usage("there is no folder for the catalog and the host's key").hint("name one with --state-dir DIR")
}

/// A word for what serializes as one.
pub(crate) fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}
