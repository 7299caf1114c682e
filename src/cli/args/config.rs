//! `drctl config`

use clap::{Args, Subcommand};

/// Check and show the configuration.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl config check
  drctl --config /etc/drctl/drctl.toml config show
  drctl config schema > drctl.schema.json")]
pub(crate) struct Config {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What to do with the configuration.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Action {
    /// Say what is wrong, where, and what would put it right; also what cannot come true
    Check,
    /// Print all that was read, with the defaults filled in and secrets as references, as JSON
    Show,
    /// Print the JSON Schema of the files, for editors
    Schema,
}
