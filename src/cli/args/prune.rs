//! `drctl prune`

use std::str::FromStr;

use clap::Args;

use crate::prune::decision::MaxUnused;
use crate::units::{ByteSize, Span};

/// Delete what no snapshot needs any more.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl prune --dry-run              what would be deleted and rewritten
  drctl prune
  drctl prune --max-unused 0         leave nothing unused, at the price of more rewriting
  drctl prune --max-repack 10GB      rewrite no more than that now, the most wasteful packs first

A vault made with `init --native` is pruned while backups run: what nothing needs is condemned, and deleted by the first
prune that comes a day later.
  drctl prune --grace 0s             delete it now; a backup that is running may have to store some of it again")]
pub(crate) struct Prune {
    /// Show what would be done, change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// How much of the vault may stay unused: a share ("5%"), or "unlimited" never to rewrite a pack
    #[arg(long, value_name = "SHARE", default_value = "5%")]
    pub(crate) max_unused: Share,
    /// How much may be fetched and stored again; what that leaves is for the next prune
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_repack: Option<ByteSize>,
    /// In a vault made with --native: how long what is condemned stays before it is deleted [default: 1d]
    #[arg(long, value_name = "TIME")]
    pub(crate) grace: Option<Span>,
}

/// How much unused data may stay in packs that are still needed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share(pub(crate) MaxUnused);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let percent = match text {
            "unlimited" => Some(100),
            _ => text.strip_suffix('%').unwrap_or(text).trim().parse().ok(),
        };
        percent
            .and_then(MaxUnused::percent)
            .map(Self)
            .ok_or_else(|| "write a whole share from 0% to 100% (\"5%\"), or \"unlimited\"".to_owned())
    }
}
