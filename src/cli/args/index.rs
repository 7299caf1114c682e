//! `drctl index`

use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  drctl index rebuild --dry-run            what would be read and replaced
  drctl index rebuild                      index files are lost or damaged
  drctl index rebuild --read-all-packs     believe none of them

Packs that a valid index file names are not read again; of the others only the header is. A damaged index file is removed
once what replaces it was read back. A pack whose header cannot be read is listed, what index files say of it stays, and the
exit code is 3: heal it with `drctl check --read-data --heal-from COPY`. Nobody else may work in the vault meanwhile.";

/// Rebuild the index of a vault.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Index {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What to do with the index.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Action {
    /// Make it anew from what the packs say that they hold
    Rebuild(Rebuild),
}

/// Make the index anew from what the packs say that they hold.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Rebuild {
    /// Show what would be done, write nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Believe no index file: read the header of every pack
    #[arg(long)]
    pub(crate) read_all_packs: bool,
}
