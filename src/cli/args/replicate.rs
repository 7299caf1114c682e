//! `drctl replicate`

use std::path::PathBuf;

use clap::{ArgGroup, Args};

/// Copy snapshots to another vault.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).args(["snapshot", "all"]),
    after_help = "\
Examples:
  drctl replicate --all --from /mnt/vault --key-file ~/vault.key --to /mnt/copy --to-key-file ~/copy.key
  drctl replicate --all --from s3://acme-eu/prod --to s3://acme-us/prod?region=us-east-1 --to-key-file us.key --to-aws-profile replicator
  drctl replicate 4bba301e --vault primary --to dr          vaults by their names in drctl.toml
  drctl replicate --all --to /mnt/copy --dry-run            what the copy lacks

The copy is a vault with a key of its own, made once so that both cut files alike:
  drctl init --vault /mnt/copy --key-file ~/copy.key --same-chunks-as /mnt/vault --same-chunks-key-file ~/vault.key

Newest first. A snapshot is written only when all of it has arrived and was read back. One that is damaged at its source
is listed, the others are copied, and the exit code is 3. An interrupted copy goes on where it stopped.")]
pub(crate) struct Replicate {
    /// Copy these snapshots, by the beginning of their ids
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshot: Vec<String>,
    /// Copy every snapshot that the copy lacks
    #[arg(long)]
    pub(crate) all: bool,
    /// The vault to copy from, opened with --key-file [the same as --vault]
    #[arg(long, value_name = "URL|NAME", conflicts_with = "vault")]
    pub(crate) from: Option<String>,
    /// The vault to copy to
    #[arg(long, value_name = "URL|NAME")]
    pub(crate) to: String,
    /// Read the password of the vault to copy to from this file [otherwise as for any vault: DRCTL_KEY_FILE, DRCTL_KEY]
    #[arg(long, value_name = "FILE", conflicts_with = "to_password_command")]
    pub(crate) to_key_file: Option<PathBuf>,
    /// Take the first line that this program prints as the password of the vault to copy to
    #[arg(long, value_name = "COMMAND")]
    pub(crate) to_password_command: Option<String>,
    /// Take the credentials for the vault to copy to from this profile of the AWS configuration
    #[arg(long, value_name = "NAME")]
    pub(crate) to_aws_profile: Option<String>,
    /// Trust the copy's store to have what it acknowledged: compare sizes instead of reading back
    #[arg(long)]
    pub(crate) no_read_back: bool,
    /// Show what would be copied, write nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}
