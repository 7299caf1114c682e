//! The files as they are written: every key, its type, and nothing decided.
//!
//! These types are the schema: `structure` checks a file against what `schemars` makes of them and serde fills them in.
//! A choice between alternatives ("a file, or a variable, or a command") is a table with optional keys here, because
//! serde's enums lose the position of what is wrong inside them; `resolve` turns it into an enum. Text that editors show
//! while a person types stands in the docstrings. Extensions named `x-later` list what later versions will know, so that
//! it can be refused by name.

mod plan;
mod runbook;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

pub(super) use plan::{Canary, Plan, Production, Recover, Schedule, Source, SourceKind};
pub(super) use runbook::{Digest, Runbook, SqliteQuery, Step, StepKind};

use crate::config::vault::PrunedBy;
use crate::units::{Age, ByteSize, Percent, Rate, Span};

/// One configuration file. Any key may stand in any file; each name is defined once.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    /// Files to read as well, as globs relative to this file's folder.
    pub(super) include: Vec<String>,
    /// Folder of the catalog, caches and spools. By default DRCTL_STATE_DIR or the system's state folder.
    pub(super) state_dir: Option<PathBuf>,
    /// Programs to run when something happens.
    pub(super) hooks: Option<Hooks>,
    /// Vaults by name.
    pub(super) vault: BTreeMap<String, Vault>,
    /// How long to keep snapshots, by name. `gfs` exists: daily 30d, weekly 12w, monthly 12mo.
    pub(super) retention: BTreeMap<String, Retention>,
    /// Plans by name.
    pub(super) plan: BTreeMap<String, Plan>,
    /// Runbooks by name.
    pub(super) runbook: BTreeMap<String, Runbook>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Hooks {
    /// Program and arguments, run without a shell when a run did not succeed; what happened is in DRCTL_ variables.
    pub(super) on_failure: Vec<String>,
    /// The longest that it may take. 1m by default.
    pub(super) timeout: Option<Span>,
}

/// Where a secret comes from: exactly one of the keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Secret {
    /// A file that holds it; one newline at the end is dropped.
    pub(super) file: Option<PathBuf>,
    /// An environment variable that holds it.
    pub(super) env: Option<String>,
    /// A program and its arguments that prints it.
    pub(super) command: Option<Vec<String>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-later" = ["immutability", "recipients"]))]
pub(super) struct Vault {
    /// `s3://bucket/prefix`, `file:///folder`, or a folder relative to this file. Never holds a secret.
    pub(super) url: String,
    /// The region that it lies in: the store's own name for it, or any name for a site. A vault on a local path that
    /// names no region counts as part of this host.
    pub(super) region: Option<String>,
    /// The S3 server, when it is not Amazon's.
    pub(super) endpoint: Option<String>,
    /// Whether the bucket is named in the path instead of the host name.
    pub(super) path_style: Option<bool>,
    /// PEM file with the certificate authority to trust besides the system's.
    pub(super) ca_file: Option<PathBuf>,
    /// URL of a proxy.
    pub(super) proxy: Option<String>,
    /// By default the standard AWS environment.
    pub(super) credentials: Option<Credentials>,
    /// The vault's password.
    pub(super) key: Secret,
    /// Bandwidth.
    #[serde(default)]
    pub(super) limits: Limits,
    /// How it is pruned.
    #[serde(default)]
    pub(super) prune: Prune,
}

/// Exactly one of: `profile`; `environment = true`; `access_key` with `secret_key`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    /// A profile of the AWS configuration files.
    pub(super) profile: Option<String>,
    /// The standard AWS environment: variables, web identity, instance role.
    pub(super) environment: Option<bool>,
    /// The access key's id.
    pub(super) access_key: Option<Secret>,
    /// The access key's secret.
    pub(super) secret_key: Option<Secret>,
    /// For temporary credentials.
    pub(super) session_token: Option<Secret>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Upload to the vault.
    pub(super) upload: Option<Rate>,
    /// Download from the vault.
    pub(super) download: Option<Rate>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Prune {
    /// `service`: after retention, while no backup runs. `hand`: only when an operator says so. By default `service`.
    pub(super) by: Option<PrunedBy>,
    /// How much of the vault may stay unused before packs are rewritten. 5% by default.
    pub(super) max_unused: Option<Percent>,
    /// The most to rewrite in one run. No bound by default.
    pub(super) max_repack: Option<ByteSize>,
    /// In a vault made with `init --native`: how long condemned packs stay before they are deleted. A day by default.
    pub(super) grace: Option<Span>,
}

/// Tiers to keep. A snapshot stays while any of its tiers keeps it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-later" = ["hourly", "yearly"]))]
pub(super) struct Retention {
    /// What daily runs leave.
    pub(super) daily: Option<Keep>,
    /// What weekly runs leave.
    pub(super) weekly: Option<Keep>,
    /// What monthly runs leave.
    pub(super) monthly: Option<Keep>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Keep {
    /// How long.
    pub(super) keep: Age,
    /// This many of the newest stay even when they are older. 1 by default.
    pub(super) min: Option<u32>,
}
