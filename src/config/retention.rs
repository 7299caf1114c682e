//! Tiers: how long snapshots are kept.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Age;

/// Which part of the past a snapshot stands for. A snapshot may serve several. Ordered from the finest to the coarsest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// One a day, or oftener.
    Daily,
    /// One a week.
    Weekly,
    /// One a month.
    Monthly,
}

impl Tier {
    /// All of them, the finest first.
    pub const ALL: [Self; 3] = [Self::Daily, Self::Weekly, Self::Monthly];

    /// The name in configuration and in tags (`tier=daily`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How long one tier is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Keep {
    /// The tier.
    pub tier: Tier,
    /// Younger snapshots stay.
    pub age: Age,
    /// So many of the newest stay even when they are older: backups that stopped must not drain a vault.
    pub min: u32,
}

/// The tiers of one retention, each at most once, the finest first. A snapshot stays while any tier that it serves
/// keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Tiers(pub(super) Vec<Keep>);

impl Tiers {
    /// The name of the retention that exists without being defined.
    pub const GFS: &str = "gfs";

    /// Grandfather, father, son: what `gfs` means unless a file defines it otherwise.
    pub fn gfs() -> Self {
        Self(vec![
            Keep { tier: Tier::Daily, age: Age::days(30), min: 7 },
            Keep { tier: Tier::Weekly, age: Age::weeks(12), min: 4 },
            Keep { tier: Tier::Monthly, age: Age::months(12), min: 3 },
        ])
    }

    /// The tiers that are kept.
    pub fn as_slice(&self) -> &[Keep] {
        &self.0
    }

    /// What is kept of a tier.
    pub fn get(&self, tier: Tier) -> Option<Keep> {
        self.0.iter().copied().find(|keep| keep.tier == tier)
    }
}
