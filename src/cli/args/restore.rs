//! `drctl restore`

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::select::Filter;

/// Restore files and folders. Reads the vault only: no lock, no record.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("target").args(["to", "in_place"]),
    after_help = "\
Examples:
  drctl restore latest --to /srv/restored
  drctl restore orders --at '2026-11-20 13:00' --to /srv/restored
  drctl restore 4bba301e:/home/ana --to /home/ana --overwrite
  drctl restore latest --in-place --overwrite --include /etc/nginx --dry-run

A target that is not empty is refused without --overwrite. What the snapshot does not have stays, unless --delete.")]
pub(crate) struct Restore {
    /// What to restore: "latest", the beginning of a snapshot's id, or a plan; with a path if wanted (4bba301e:/etc)
    #[arg(value_name = "SNAPSHOT|PLAN")]
    pub(crate) snapshot: String,
    /// The newest snapshot taken at this time or before ("2026-11-20 13:00", "2h ago")
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// Let snapshots count for "latest" that no signed record vouches for, too
    #[arg(long)]
    pub(crate) unsigned: bool,
    /// Restore beneath this folder
    #[arg(short = 't', long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
    /// Restore to where the files came from
    #[arg(long)]
    pub(crate) in_place: bool,
    /// Only what fits this pattern; may be repeated
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) include: Vec<String>,
    /// Not what fits this pattern; may be repeated
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// Only this part of the snapshot
    #[arg(short, long, value_name = "SUBPATH")]
    pub(crate) path: Option<String>,
    /// Write over what is there and differs; only that is fetched
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Take files whose size and modification time are the snapshot's to be whole, without reading them
    #[arg(long, requires = "overwrite")]
    pub(crate) trust_times: bool,
    /// Delete what the snapshot does not have
    #[arg(long, requires = "overwrite")]
    pub(crate) delete: bool,
    /// Restore device nodes, setuid and setgid bits and file capabilities, too
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Show what would be written, write nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Only snapshots of this host count for "latest"
    #[command(flatten)]
    pub(crate) filter: RestoreFilter,
}

/// Which snapshots count for "latest"; `--path` means something else here.
#[derive(Debug, Clone, Args)]
pub(crate) struct RestoreFilter {
    /// Only snapshots of this host count; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Vec<String>,
    /// Only snapshots with these tags count (commas: all of them); may be repeated
    #[arg(long, value_name = "TAG[,TAG]")]
    pub(crate) tag: Vec<String>,
}

impl From<&RestoreFilter> for Filter {
    fn from(filter: &RestoreFilter) -> Self {
        Self { host: filter.host.clone(), tag: filter.tag.clone(), path: Vec::new() }
    }
}
