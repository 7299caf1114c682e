//! What can be typed: a file per command, each with examples in its help.
//!
//! Only shapes and their texts are here. What a command does is in the file of the same name one folder up.

pub(crate) mod adopt;
pub(crate) mod backup;
pub(crate) mod catalog;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod drill;
pub(crate) mod dump;
pub(crate) mod find;
pub(crate) mod forget;
pub(crate) mod global;
pub(crate) mod index;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod prune;
pub(crate) mod replicate;
pub(crate) mod restore;
pub(crate) mod retention;
pub(crate) mod runbook;
pub(crate) mod select;
pub(crate) mod serve;
pub(crate) mod snapshots;
pub(crate) mod status;
pub(crate) mod unlock;

use clap::{Parser, Subcommand};

use super::exit::Exit;
use global::Global;

/// Backups that are proven to come back: keep data recoverable, and measure the recovery.
#[derive(Debug, Parser)]
#[command(
    name = "drctl",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = false,
    after_help = FIRST_STEPS,
    after_long_help = format!("{FIRST_STEPS}\n\n{}", Exit::table().trim_end()),
)]
pub(crate) struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const FIRST_STEPS: &str = "\
First steps:
  drctl init --vault /mnt/backup/vault --generate-key ~/vault.key
  export DRCTL_VAULT=/mnt/backup/vault DRCTL_KEY_FILE=~/vault.key
  drctl backup --path ~/documents
  drctl restore latest --to /tmp/restored

A vault is a restic repository: any restic 0.14 or later reads and restores it.";

/// The commands that there are.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole loop in a minute, on local folders, with nothing to configure.
    Demo(demo::Demo),
    /// Create a vault.
    Init(init::Init),
    /// Take on a repository that restic or rustic made.
    Adopt(adopt::Adopt),
    /// List, add, remove and change the keys of a vault.
    Key(key::Key),
    /// Remove locks that dead processes left behind.
    Unlock(unlock::Unlock),
    /// List the snapshots of a vault.
    Snapshots(snapshots::Snapshots),
    /// List what is in a snapshot.
    Ls(ls::Ls),
    /// Find files by name, over all snapshots.
    Find(find::Find),
    /// Show what differs between two snapshots.
    Diff(diff::Diff),
    /// Write a file, or a folder as tar, to standard output.
    Dump(dump::Dump),
    /// Back up files, folders or standard input.
    Backup(backup::Backup),
    /// Restore a snapshot, or a part of it.
    Restore(restore::Restore),
    /// Check that a vault is whole, and heal what is damaged.
    Check(check::Check),
    /// Rebuild the index of a vault.
    Index(index::Index),
    /// Copy snapshots to another vault.
    Replicate(replicate::Replicate),
    /// Remove snapshots.
    Forget(forget::Forget),
    /// Delete what no snapshot needs any more.
    Prune(prune::Prune),
    /// Explain what each plan keeps and drops, and drop it.
    Retention(retention::Retention),
    /// Show promises beside what is known of each plan.
    Status(status::Status),
    /// Check, print and carry out runbooks: how things come back.
    Runbook(runbook::Runbook),
    /// Rehearse recovery, and measure it.
    Drill(drill::Drill),
    /// Run plans when they are due.
    Serve(serve::Serve),
    /// Check and show the configuration.
    Config(config::Config),
    /// Rebuild the local catalog.
    Catalog(catalog::Catalog),
    /// Print the completions for a shell.
    Completions(completions::Completions),
    /// Print the manual page.
    Man(man::Man),
}

#[cfg(test)]
mod tests;
