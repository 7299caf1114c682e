//! `drctl adopt`

use clap::Args;

/// Take on a repository that restic or rustic made.
///
/// Says what will change, asks, and writes drctl's settings beside what is there. Nothing of theirs is changed, moved or
/// removed, and both go on working in it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl adopt --vault /mnt/backup/restic --key-file restic-password --dry-run
  drctl adopt --vault s3://acme-backup/restic --key-file restic-password --yes

restic may go on at any time: both heed the same locks. rustic takes no locks: never let it write while anybody prunes.")]
pub(crate) struct Adopt {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Show what would be done, change nothing
    #[arg(short = 'n', long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
}
