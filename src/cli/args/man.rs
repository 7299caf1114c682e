//! `drctl man`

use std::path::PathBuf;

use clap::Args;

/// Print the manual page, or write one page per command into a folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl man | man -l -
  drctl man --dir /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Write a page per command into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
