//! `drctl prune`

use std::str::FromStr;

use clap::Args;

use crate::units::ByteSize;

/// Delete what no snapshot needs any more.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl prune --dry-run              what would be deleted and rewritten
  drctl prune
  drctl prune --max-unused 0         leave nothing unused, at the price of more rewriting")]
pub(crate) struct Prune {
    /// Show what would be done, change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// How much unused data may stay: a share of the vault ("5%"), a size ("1GiB") or "unlimited"
    #[arg(long, value_name = "LIMIT", default_value = "5%")]
    pub(crate) max_unused: MaxUnused,
}

/// How much unused data may stay in packs that are still needed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum MaxUnused {
    /// This share of what is used: at least 0, less than 100.
    Percent(f64),
    /// So many bytes.
    Size(ByteSize),
    /// Never rewrite a pack to save space.
    Unlimited,
}

impl FromStr for MaxUnused {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        if let Some(percent) = text.strip_suffix('%') {
            return match percent.trim().parse::<f64>() {
                Ok(share) if (0.0..100.0).contains(&share) => Ok(Self::Percent(share)),
                Ok(_) | Err(_) => Err("a share is at least 0% and less than 100%, as in \"5%\"".to_owned()),
            };
        }
        text.parse().map(Self::Size).map_err(|_| {
            "write a share (\"5%\"), a size (\"1GiB\") or \"unlimited\"".to_owned()
        })
    }
}
