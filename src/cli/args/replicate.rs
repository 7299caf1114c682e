//! `drctl replicate`

use std::path::PathBuf;

use clap::Args;

/// Bring the copies of plans up to date, or copy snapshots to another vault.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl replicate                           what the copies of all plans lack; `drctl serve` does the same
  drctl replicate orders                    those of one plan
  drctl replicate --status                  how far each copy is behind
  drctl replicate --all --from /mnt/vault --key-file ~/vault.key --to /mnt/copy --to-key-file ~/copy.key
  drctl replicate --all --from s3://acme-eu/prod --to s3://acme-us/prod?region=us-east-1 --to-key-file us.key --to-aws-profile replicator
  drctl replicate 4bba301e --vault primary --to dr          vaults by their names in drctl.toml
  drctl replicate --all --to /mnt/copy --dry-run            what the copy lacks

The copy is a vault with a key of its own, made once so that both cut files alike:
  drctl init --vault /mnt/copy --key-file ~/copy.key --same-chunks-as /mnt/vault --same-chunks-key-file ~/vault.key

Newest first. A snapshot is written only when all of it has arrived and was read back. One that is damaged at its source
is listed, the others are copied, and the exit code is 3. An interrupted copy goes on where it stopped.")]
pub(crate) struct Replicate {
    /// Plans whose copies are brought up to date; with --to snapshots to copy, by the beginning of their ids
    #[arg(value_name = "PLAN|SNAPSHOT")]
    pub(crate) what: Vec<String>,
    /// Show how far the copies of the plans are behind
    #[arg(long, conflicts_with = "to")]
    pub(crate) status: bool,
    /// Copy every snapshot that the copy lacks
    #[arg(long, requires = "to", conflicts_with = "what")]
    pub(crate) all: bool,
    /// The vault to copy from, opened with --key-file [the same as --vault]
    #[arg(long, value_name = "URL|NAME", conflicts_with = "vault", requires = "to")]
    pub(crate) from: Option<String>,
    /// The vault to copy to, when it is not the copies of plans that are meant
    #[arg(long, value_name = "URL|NAME")]
    pub(crate) to: Option<String>,
    /// Read the password of the vault to copy to from this file [otherwise as for any vault: DRCTL_KEY_FILE, DRCTL_KEY]
    #[arg(long, value_name = "FILE", conflicts_with = "to_password_command", requires = "to")]
    pub(crate) to_key_file: Option<PathBuf>,
    /// Take the first line that this program prints as the password of the vault to copy to
    #[arg(long, value_name = "COMMAND", requires = "to")]
    pub(crate) to_password_command: Option<String>,
    /// Take the credentials for the vault to copy to from this profile of the AWS configuration
    #[arg(long, value_name = "NAME", requires = "to")]
    pub(crate) to_aws_profile: Option<String>,
    /// Trust the copy's store to have what it acknowledged: compare sizes instead of reading back
    #[arg(long, requires = "to")]
    pub(crate) no_read_back: bool,
    /// Show what would be copied, write nothing
    #[arg(short = 'n', long, requires = "to")]
    pub(crate) dry_run: bool,
}
