//! `drctl ls`

use clap::Args;

use super::select::Latest;

/// List what is in a snapshot.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl ls                                  everything in the newest snapshot
  drctl ls latest /home/ana                 what is below a folder
  drctl ls latest /srv --at yesterday       as of a time
  drctl ls 4bba301e:/etc -l                 with mode, owner, size and time
  drctl ls latest / --no-recursive          the top folder only")]
pub(crate) struct Ls {
    /// A snapshot: "latest", the beginning of an id, or either with a path (4bba301e:/etc)
    #[arg(default_value = "latest")]
    pub(crate) snapshot: String,
    /// Only what is at or below this path
    pub(crate) path: Option<String>,
    /// Show mode, owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,
    /// Go down into folders (this is the default)
    #[arg(short, long, overrides_with = "no_recursive")]
    pub(crate) recursive: bool,
    /// Stay in the folder itself
    #[arg(long)]
    pub(crate) no_recursive: bool,
    /// Which snapshot "latest" is.
    #[command(flatten)]
    pub(crate) latest: Latest,
}
