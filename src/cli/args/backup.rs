//! `drctl backup`

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::config::Tier;
use crate::units::Span;

/// Back up plans of the configuration, or files and folders.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("source").required(true).multiple(true).args(["plans", "path", "files_from", "stdin"]),
    after_help = "\
Examples:
  drctl backup orders documents
  drctl backup orders --tier monthly
  drctl backup --path /home --path /etc --exclude '*.tmp' --exclude-caches
  drctl backup --path / --one-file-system --tag full
  drctl backup --files-from list.txt --dry-run
  mariadb-dump shop | drctl backup --stdin --stdin-name shop.sql

Patterns follow the rules of .gitignore, anchored at each path. A file that cannot be read is listed, the rest is
backed up, and the exit code is 3.")]
pub(crate) struct Backup {
    /// Run these plans of the configuration now
    #[arg(value_name = "PLAN", conflicts_with_all = ["path", "files_from", "stdin", "exclude", "exclude_file", "exclude_caches", "one_file_system", "tag", "host", "parent", "force", "time", "dry_run"])]
    pub(crate) plans: Vec<String>,
    /// Have the plans' snapshots serve this tier; may be repeated [default: daily]
    #[arg(long, value_name = "TIER", requires = "plans")]
    pub(crate) tier: Vec<TierName>,
    /// Back up this file or folder; may be repeated
    #[arg(short, long, value_name = "DIR")]
    pub(crate) path: Vec<PathBuf>,
    /// Back up the paths that this file lists, one on a line ("-" for standard input)
    #[arg(long, value_name = "FILE")]
    pub(crate) files_from: Vec<PathBuf>,
    /// Back up what comes in on standard input as one file
    #[arg(long, conflicts_with_all = ["path", "files_from"])]
    pub(crate) stdin: bool,
    /// The name of that file
    #[arg(long, value_name = "NAME", default_value = "stdin", requires = "stdin", conflicts_with_all = ["path", "files_from"])]
    pub(crate) stdin_name: String,
    /// Leave out what fits this pattern; may be repeated
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// Leave out what fits a pattern in this file, one on a line
    #[arg(long, value_name = "FILE")]
    pub(crate) exclude_file: Vec<PathBuf>,
    /// Leave out the content of folders marked with a CACHEDIR.TAG
    #[arg(long)]
    pub(crate) exclude_caches: bool,
    /// Do not go into other file systems
    #[arg(short = 'x', long)]
    pub(crate) one_file_system: bool,
    /// Mark the snapshot; may be repeated, or several with commas
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub(crate) tag: Vec<String>,
    /// Record this host name instead of the machine's
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) host: Option<String>,
    /// Compare with this snapshot [default: the newest of the same host and paths]
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "force")]
    pub(crate) parent: Option<String>,
    /// Read every file again, changed or not
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Record this time instead of now
    #[arg(long, value_name = "TIME")]
    pub(crate) time: Option<String>,
    /// How hard to compress: 1 (fast) to 22 (small)
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=22))]
    pub(crate) level: i32,
    /// Give a file up when the network or FUSE file system that it lies in has not answered for this long [default: 5m]
    #[arg(long, value_name = "DURATION", hide_short_help = true)]
    pub(crate) hung_after: Option<Span>,
    /// Show what would be done, upload nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// A tier, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TierName {
    /// Kept like a day's.
    Daily,
    /// Kept like a week's.
    Weekly,
    /// Kept like a month's.
    Monthly,
}

impl From<TierName> for Tier {
    fn from(name: TierName) -> Self {
        match name {
            TierName::Daily => Self::Daily,
            TierName::Weekly => Self::Weekly,
            TierName::Monthly => Self::Monthly,
        }
    }
}
