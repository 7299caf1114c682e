//! Retention on request: explained for a person, and carried out with their consent.

use super::error::ServiceError;
use super::host::Service;
use super::steps::{Done, Step};
use crate::config::{PlanName, VaultName};
use crate::retention::plan::Consent;
use crate::retention::run::{self as retention, Decided};

/// What one plan keeps and drops in one vault.
#[derive(Debug, Clone)]
pub struct Explained {
    /// The plan.
    pub plan: PlanName,
    /// The vault.
    pub vault: VaultName,
    /// The decision and what it was made from.
    pub decided: Decided,
}

impl Service {
    /// Decides retention for these plans (none: all), after listing each vault concerned. Changes nothing.
    pub async fn explain(&self, plans: &[String]) -> Result<Vec<Explained>, ServiceError> {
        let mut names = Vec::new();
        for plan in plans {
            names.push(self.plan(plan)?.0);
        }
        if plans.is_empty() {
            names.extend(self.config.plans.keys());
        }
        let scopes: Vec<_> = names.into_iter().flat_map(|name| retention::scopes(&self.config, name)).collect();
        let mut vaults: Vec<&VaultName> = scopes.iter().map(|scope| scope.vault).collect();
        vaults.sort_unstable();
        vaults.dedup();
        for vault in vaults {
            self.refresh(vault).await?;
        }
        let now = self.env.clock.now();
        let explain = |scope: &retention::Scope<'_>| {
            let decided = retention::decide(now, &self.catalog, self.host(), scope)?;
            Ok(Explained { plan: scope.plan.clone(), vault: scope.vault.clone(), decided })
        };
        scopes.iter().map(explain).collect()
    }

    /// Drops what was explained. `acknowledged` is the number that an operator agreed to.
    pub async fn retain(&self, explained: &[Explained], acknowledged: Option<usize>) -> Vec<Step> {
        let dropping: usize = explained.iter().map(|scope| scope.decided.outcome.drop.len()).sum();
        let consent = if acknowledged == Some(dropping) { Consent::Given } else { Consent::None };
        let mut steps = Vec::new();
        for scope in explained.iter().filter(|scope| !scope.decided.outcome.drop.is_empty()) {
            let applied = async {
                let vault = self.vaults.open(&scope.vault).await?;
                let applied = retention::apply(&vault, &scope.decided, consent).await;
                self.refresh(&scope.vault).await?;
                Ok(Some(Done::of_retention(&scope.plan, &scope.vault, applied)))
            };
            self.step("retention", Some(&scope.plan), &scope.vault, &mut steps, applied).await;
            self.deliver_soon(&scope.vault).await;
        }
        steps
    }
}
