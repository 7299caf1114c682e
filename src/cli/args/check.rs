//! `drctl check`

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::units::ByteSize;

/// Check that a vault is whole, and heal what is damaged.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl check                                 index, packs, trees and snapshots fit together
  drctl check --read-data                     also reads back and verifies every byte
  drctl check --read-data-subset 5%           a random part of the packs
  drctl check --read-data-subset 3/7          the third of seven parts: a part a day reads all in a week
  drctl check --read-data-subset 20GiB
  drctl check --read-data --heal-from /mnt/copy --heal-from-key-file ~/copy.key     replaces what is damaged
  drctl check --read-data --heal-from dr --heal-from-source     from a vault in drctl.toml, and from unchanged files

To heal, nobody else may work in the vault. What is fetched is verified before it is stored, what was stored is read back
before anything damaged goes, and what is damaged everywhere stays as it is, and listed. The exit code is 0 when nothing
damaged is left.")]
pub(crate) struct Check {
    /// Read back and verify every byte
    #[arg(long, conflicts_with = "read_data_subset")]
    pub(crate) read_data: bool,
    /// Read back and verify a part: "5%", "3/7" or a size
    #[arg(long, value_name = "PART")]
    pub(crate) read_data_subset: Option<Subset>,
    /// Take no lock, so that read-only credentials will do; a prune meanwhile looks like damage
    #[arg(long)]
    pub(crate) no_lock: bool,
    /// Replace what is damaged by what this vault has of it
    #[arg(long, value_name = "URL|NAME", requires = "read_data", conflicts_with = "no_lock")]
    pub(crate) heal_from: Option<String>,
    /// Read the password of the vault to heal from in this file [otherwise as for any vault: DRCTL_KEY_FILE, DRCTL_KEY]
    #[arg(long, value_name = "FILE", conflicts_with = "heal_from_password_command", requires = "heal_from")]
    pub(crate) heal_from_key_file: Option<PathBuf>,
    /// Take the first line that this program prints as the password of the vault to heal from
    #[arg(long, value_name = "COMMAND", requires = "heal_from")]
    pub(crate) heal_from_password_command: Option<String>,
    /// Take the credentials for the vault to heal from out of this profile of the AWS configuration
    #[arg(long, value_name = "NAME", requires = "heal_from")]
    pub(crate) heal_from_aws_profile: Option<String>,
    /// Replace what is damaged by what files of this host still hold that were not changed since
    #[arg(long, requires = "read_data", conflicts_with = "no_lock")]
    pub(crate) heal_from_source: bool,
}

impl Check {
    /// Whether damage is to be mended.
    pub(crate) fn heals(&self) -> bool {
        self.heal_from.is_some() || self.heal_from_source
    }
}

/// A part of the packs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Subset {
    /// This share of them, drawn at random: more than 0, at most 100.
    Percent(f64),
    /// Part `part` of `of`, the same ones each time.
    Part {
        /// From 1.
        part: u32,
        /// At least `part`.
        of: u32,
    },
    /// About so many bytes, drawn at random.
    Size(ByteSize),
}

impl FromStr for Subset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(percent) = text.strip_suffix('%') {
            return match percent.trim().parse::<f64>() {
                Ok(share) if share > 0.0 && share <= 100.0 => Ok(Self::Percent(share)),
                Ok(_) | Err(_) => Err("a share is more than 0% and at most 100%, as in \"5%\"".to_owned()),
            };
        }
        if let Some((part, of)) = text.split_once('/') {
            return match (part.trim().parse(), of.trim().parse()) {
                (Ok(part), Ok(of)) if 1 <= part && part <= of => Ok(Self::Part { part, of }),
                _ => Err("a part is 1/n to n/n, as in \"3/7\"".to_owned()),
            };
        }
        text.parse()
            .map(Self::Size)
            .map_err(|_| "write a share (\"5%\"), a part (\"3/7\") or a size (\"20GiB\")".to_owned())
    }
}
