//! `drctl find`

use clap::Args;

use super::select::Filter;

/// Find files by name, over all snapshots.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl find invoice-2031.pdf
  drctl find '*.key' --ignore-case --newest           the newest snapshot of each match
  drctl find '/home/*/.ssh/' --snapshot latest        folders only, from the top
  drctl find '*.sql' --host db1

A pattern follows the rules of .gitignore: without a slash it fits a name in any folder, with one it starts at the
top, and one that ends in a slash fits folders only.")]
pub(crate) struct Find {
    /// What to look for
    #[arg(required = true, value_name = "PATTERN")]
    pub(crate) patterns: Vec<String>,
    /// Treat upper and lower case alike
    #[arg(short, long)]
    pub(crate) ignore_case: bool,
    /// Look in these snapshots only
    #[arg(long, value_name = "SNAPSHOT")]
    pub(crate) snapshot: Vec<String>,
    /// Name each path once, in the newest snapshot that has it
    #[arg(long)]
    pub(crate) newest: bool,
    /// Which snapshots count.
    #[command(flatten)]
    pub(crate) filter: Filter,
}
