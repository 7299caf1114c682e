//! Vaults and the references to their secrets.
//!
//! Invariant: no secret is ever held here, only where it comes from. Reading it is the command line's work.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::objective::Disaster;
use crate::units::{ByteSize, Percent, Rate, Span};

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretRef {
    /// A file that holds it; one newline at the end is dropped.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A program and its arguments that prints it, run without a shell.
    Command(Vec<String>),
}

/// Where a store's credentials come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialsRef {
    /// The standard AWS environment.
    Environment,
    /// A profile of the AWS configuration files.
    Profile(String),
    /// A pair of keys.
    Keys {
        /// The access key's id.
        access_key: SecretRef,
        /// Its secret.
        secret_key: SecretRef,
        /// For temporary credentials.
        session_token: Option<SecretRef>,
    },
}

/// Bandwidth. `None` is without bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Limits {
    /// To the vault.
    pub upload: Option<Rate>,
    /// From the vault.
    pub download: Option<Rate>,
}

/// Who prunes a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PrunedBy {
    /// The service, after retention.
    #[default]
    Service,
    /// An operator, with `drctl prune` or another tool.
    Hand,
}

/// How a vault is pruned. It belongs to the vault, so that plans that share one cannot disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PruneOptions {
    /// Who does it.
    pub by: PrunedBy,
    /// The share of the vault that may stay unused before packs are rewritten.
    pub max_unused: Percent,
    /// The most to rewrite in one run. `None` is without bound.
    pub max_repack: Option<ByteSize>,
    /// How long condemned packs stay before they are deleted, in a vault that is pruned while backups run.
    pub grace: Span,
}

/// A place for snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VaultConfig {
    /// `s3://...`, `file://...`, `memory://...` or an absolute path. Holds no secret.
    pub url: String,
    /// The store's region, or a name for the site.
    pub region: Option<String>,
    /// The S3 server, when it is not Amazon's.
    pub endpoint: Option<String>,
    /// Whether the bucket is named in the path; `None` lets the store decide.
    pub path_style: Option<bool>,
    /// PEM file of a certificate authority to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// URL of a proxy.
    pub proxy: Option<String>,
    /// The store's credentials.
    pub credentials: CredentialsRef,
    /// The vault's password.
    pub key: SecretRef,
    /// Bandwidth.
    pub limits: Limits,
    /// How it is pruned.
    pub prune: PruneOptions,
}

impl VaultConfig {
    /// Whether the vault is on a file system, or in memory, rather than behind a network protocol of its own.
    pub fn is_local(&self) -> bool {
        self.url.starts_with("file://") || self.url.starts_with("memory://") || !self.url.contains("://")
    }

    /// Whether the vault is lost when the host is. A local path that names a region is somebody's mount of another
    /// site; memory is never elsewhere.
    pub fn dies_with_host(&self) -> bool {
        self.url.starts_with("memory://") || (self.is_local() && self.region.is_none())
    }

    /// Whether the vault is left when `disaster` strikes a plan whose own vault is `own`.
    ///
    /// The loss of the *host* leaves every vault but those on a local path that names no region; the loss of the *region*
    /// those that name another region than `own` does; an *attack* those behind a network with credentials other than
    /// those of `own`. Whether these may delete is for the store's policy to say; it cannot be seen from here.
    pub fn survives(&self, disaster: Disaster, own: &Self) -> bool {
        match disaster {
            Disaster::Host => !self.dies_with_host(),
            Disaster::Region => match (&own.region, &self.region) {
                (Some(lost), Some(region)) => lost != region,
                (None, _) | (_, None) => false,
            },
            Disaster::Attack => !self.is_local() && self.credentials != own.credentials,
        }
    }
}
