//! `drctl init`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Create a vault.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl init --vault /mnt/backup/vault                     asks for a password, twice
  drctl init --vault /mnt/backup/vault --generate-key ~/vault.key
  drctl init --vault s3://acme-backup/prod --s3-region eu-central-1 --key-file /etc/drctl/prod.key

Without its key a vault cannot be read by anyone. Keep a copy of the key somewhere that is not lost together with
this machine.")]
pub(crate) struct Init {
    /// Make a strong password and write it to this new file, which only you can read
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key_file", "password_command"])]
    pub(crate) generate_key: Option<PathBuf>,
    /// How files are cut into pieces
    #[arg(long, value_enum, default_value_t = ChunkerName::Gear)]
    pub(crate) chunker: ChunkerName,
}

/// How files are cut into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChunkerName {
    /// Our own: the fastest
    Gear,
    /// restic's: for vaults that restic backs up into as well, so that both find the same pieces
    Rabin,
}
