//! `drctl completions`

use clap::Args;
use clap_complete::Shell;

/// Print the completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl completions bash > /etc/bash_completion.d/drctl
  drctl completions zsh > \"${fpath[1]}/_drctl\"
  drctl completions fish > ~/.config/fish/completions/drctl.fish")]
pub(crate) struct Completions {
    /// Whose completions
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}
