//! What the last round could not do: steps that leave no record, because they could not even be tried.
//!
//! One file in the state folder, replaced at the end of every round, so that `status` can tell without reaching any vault.
//! It proves nothing and is never counted on: when it is lost, status says nothing of steps until the next round.

use std::fs;
use std::io;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::evidence::write_durably;
use super::host::Service;
use super::steps::Step;
use crate::config::VaultName;

const FILE: &str = "round.json";

/// How the last round ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// When it ended.
    pub ended: Timestamp,
    /// What could not be tried in it.
    pub untried: Vec<Untried>,
}

/// Something that could not be tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Untried {
    /// As records name the step, or "list" for the list of a vault's snapshots.
    pub kind: String,
    /// The plan, for steps of one plan.
    pub plan: Option<String>,
    /// The vault concerned.
    pub vault: String,
    /// Why, in one line that reads after "failed to".
    pub why: String,
}

impl Service {
    /// Keeps what could not be tried: steps, and vaults that could not be listed where no step says so already.
    pub(super) fn keep_round(&self, unlisted: Vec<(VaultName, String)>, steps: &[Step]) {
        let steps = steps.iter().filter(|step| step.status.is_none());
        let mut untried: Vec<Untried> = steps
            .map(|step| Untried {
                kind: step.kind.to_owned(),
                plan: step.plan.as_ref().map(ToString::to_string),
                vault: step.vault.to_string(),
                why: step.what.clone(),
            })
            .collect();
        for (vault, why) in unlisted {
            if untried.iter().all(|step| step.vault != vault.as_str()) {
                untried.push(Untried { kind: "list".to_owned(), plan: None, vault: vault.to_string(), why });
            }
        }
        let round = Round { ended: self.env.clock.now(), untried };
        let written = serde_json::to_vec(&round).map_err(io::Error::from);
        if let Err(error) = written.and_then(|text| write_durably(&self.state.join(FILE), &text)) {
            tracing::error!(%error, "what the round could not do is not kept for the status");
        }
    }

    /// The last round, as far as it is known; what it says of plans and vaults that are no longer configured is left out.
    pub(super) fn last_round(&self) -> Option<Round> {
        let path = self.state.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "what the last round could not do cannot be read");
                return None;
            }
        };
        let round: Result<Round, _> = serde_json::from_slice(&text);
        let mut round = round
            .inspect_err(|error| {
                tracing::warn!(file = %path.display(), %error, "what the last round could not do cannot be read");
            })
            .ok()?;
        round.untried.retain(|untried| {
            let is_there = untried.plan.as_ref().is_none_or(|plan| self.config.plans.contains_key(plan.as_str()));
            is_there && self.config.vaults.contains_key(untried.vault.as_str())
        });
        Some(round)
    }
}
