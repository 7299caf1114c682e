//! `drctl dump`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::select::Latest;

/// Write a file, or a folder as tar, to standard output.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl dump latest /etc/fstab
  drctl dump latest /srv/orders.sql | psql orders
  drctl dump 4bba301e /home/ana | tar -x -C /tmp/look
  drctl dump latest / --output everything.tar")]
pub(crate) struct Dump {
    /// A snapshot: "latest", or the beginning of an id
    pub(crate) snapshot: String,
    /// The file or folder
    pub(crate) path: String,
    /// How a folder is packed
    #[arg(long, value_enum, default_value_t = Archive::Tar)]
    pub(crate) archive: Archive,
    /// Write to this new file instead
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Which snapshot "latest" is.
    #[command(flatten)]
    pub(crate) latest: Latest,
}

/// How a folder is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Archive {
    /// tar with PAX headers: long and odd names, nanoseconds, extended attributes
    Tar,
}
