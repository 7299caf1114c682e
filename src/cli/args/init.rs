//! `drctl init`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Create a vault.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl init --vault /mnt/backup/vault                     asks for a password, twice
  drctl init --vault /mnt/backup/vault --generate-key ~/vault.key
  drctl init --vault /mnt/backup/vault --native            for drctl alone: pruned while backups run
  drctl init --vault s3://acme-backup/prod --s3-region eu-central-1 --key-file /etc/drctl/prod.key
  drctl init --vault /mnt/copy --key-file copy.key --same-chunks-as /mnt/vault --same-chunks-key-file vault.key

Without its key a vault cannot be read by anyone. Keep a copy of the key somewhere that is not lost together with
this machine.")]
pub(crate) struct Init {
    /// Make a strong password and write it to this new file, which only you can read
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key_file", "password_command"])]
    pub(crate) generate_key: Option<PathBuf>,
    /// How files are cut into pieces
    #[arg(long, value_enum, default_value_t = ChunkerName::Gear)]
    pub(crate) chunker: ChunkerName,
    /// Let nobody but drctl write to it: then it can be pruned while backups run. restic can still read it, never write.
    /// Cannot be changed later
    #[arg(long)]
    pub(crate) native: bool,
    /// Cut files as this vault does, so that copies between the two share what they have in common
    #[arg(long, value_name = "URL|NAME", conflicts_with = "chunker")]
    pub(crate) same_chunks_as: Option<String>,
    /// Read that vault's password from this file [otherwise as for any vault: DRCTL_KEY_FILE, DRCTL_KEY]
    #[arg(long, value_name = "FILE", requires = "same_chunks_as")]
    pub(crate) same_chunks_key_file: Option<PathBuf>,
}

/// How files are cut into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChunkerName {
    /// Our own: the fastest
    Gear,
    /// restic's: for vaults that restic backs up into as well, so that both find the same pieces
    Rabin,
}
