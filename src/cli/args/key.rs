//! `drctl key`

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// List, add, remove and change the keys of a vault.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl key list
  drctl key add --new-key-file /media/usb/second.key       a second, independent way into the vault
  drctl key passwd                                         change the password that you use
  drctl key remove 7c2f
  drctl key rotate --to /mnt/backup/vault2 --generate-key ~/vault2.key   when someone may have the old master key")]
pub(crate) struct Key {
    /// What to do with the keys.
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What to do with the keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// List the keys of the vault
    List,
    /// Add a key: another password that opens the vault
    Add(NewKey),
    /// Remove a key; what it opened stays open to the others
    Remove {
        /// The beginning of the key's id: four digits at least
        #[arg(value_name = "KEY")]
        id: String,
    },
    /// Change the password that you use: adds a key, then removes the old one
    Passwd(NewKey),
    /// Seal the whole vault anew under a new master key, into another place; run it again to go on
    Rotate(Rotate),
}

/// Where to, and under which key.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// Where the new vault goes, beside the old one, which stays as it is
    #[arg(long, value_name = "URL|NAME")]
    pub(crate) to: String,
    /// Take credentials for it from this profile of the AWS configuration [otherwise the standard AWS environment]
    #[arg(long, value_name = "NAME")]
    pub(crate) to_aws_profile: Option<String>,
    /// The key that opens it.
    #[command(flatten)]
    pub(crate) new: NewKey,
}

/// Where the new password comes from; without options it is asked for, twice.
#[derive(Debug, Args)]
pub(crate) struct NewKey {
    /// Read the new password from this file
    #[arg(long, value_name = "FILE")]
    pub(crate) new_key_file: Option<PathBuf>,
    /// Make a strong password and write it to this new file, which only you can read
    #[arg(long, value_name = "FILE", conflicts_with = "new_key_file")]
    pub(crate) generate_key: Option<PathBuf>,
}
