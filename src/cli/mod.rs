//! The command line: the only place that prints.
//!
//! What can be typed is in `args`, what a command does is in the file of its name here. A command asks the library
//! to work, shows what it says through `output`, and ends with a published exit code. Nothing is decided here that
//! another face (the service, the web) would have to decide again.

mod adopt;
mod args;
mod backup;
mod backup_plans;
mod catalog;
mod check;
mod config;
mod configured;
mod context;
mod demo;
mod diff;
mod drill;
mod drilled;
mod dump;
mod env;
mod error;
mod escape;
mod exit;
mod find;
mod forget;
mod heal;
mod hints;
mod index;
mod init;
mod key;
mod log;
mod ls;
mod man;
mod memory;
mod node;
mod output;
mod pick;
mod planned;
mod progress;
mod prune;
mod replicate;
mod restore;
mod retention;
mod rotate;
mod runbook;
mod secret;
mod serve;
mod snapshots;
mod status;
mod stop;
mod stream;
mod table;
mod target;
mod time;
mod unlock;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use rustix::fs::Mode;

use args::{Cli, Command};
use configured::Configured;
use context::Context;
use error::Failure;
pub use exit::Exit;
pub use memory::LargePages;
use output::{Format, Output, Talk};
use stop::Stop;

/// How long the end of the process waits for what goes on in the background.
const PARTING: Duration = Duration::from_millis(100);

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    memory::return_large_blocks();
    // Key files, caches and journals are nobody else's business; a restore sets the modes it restores.
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error).into(),
    };
    let out = output_for(&cli);
    log::start(&cli);
    match start(cli, out) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !failure.is_silent() {
                out.error(&failure.report());
            }
            failure.exit().into()
        }
    }
}

fn output_for(cli: &Cli) -> Output {
    let format = if cli.global.json { Format::Json } else { Format::Human };
    let talk = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => Talk::Quiet,
        (false, 0) => Talk::Normal,
        (false, _) => Talk::Logging,
    };
    Output::new(format, talk)
}

/// Help and version are answers; anything else is an error, in the form that was asked for.
fn not_understood(error: &clap::Error) -> Exit {
    let answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if !answer && std::env::args_os().any(|word| word == "--json") {
        let out = Output::new(Format::Json, Talk::Normal);
        let text = error.render().to_string();
        let text = text.trim().strip_prefix("error: ").unwrap_or(&text).to_owned();
        out.error(&Failure::usage(text).hint("`drctl --help` shows what can be typed").report());
        return Exit::Usage;
    }
    // Nobody can be told that the terminal is closed.
    let _ = error.print();
    if answer { Exit::Done } else { Exit::Usage }
}

fn start(cli: Cli, out: Output) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because("failed to start", error))?;
    let ended = runtime.block_on(async {
        let stop = Stop::listen(out).map_err(|error| Failure::because("failed to listen for signals", error))?;
        let context = Context { global: cli.global, out, env: env::real(), stop, config: Configured::default() };
        dispatch(cli.command, &context).await
    });
    // What was going on in the background holds keys, and wipes them when it is dropped; but requests that nobody waits for
    // any more must not hold up the exit.
    runtime.shutdown_timeout(PARTING);
    ended
}

async fn dispatch(command: Command, context: &Context) -> Result<Exit, Failure> {
    let stop = &context.stop;
    match command {
        Command::Demo(args) => Box::pin(demo::run(args, context)).await,
        Command::Init(args) => Box::pin(init::run(args, context)).await,
        Command::Adopt(args) => Box::pin(adopt::run(args, context)).await,
        Command::Key(args) => Box::pin(key::run(args, context)).await,
        Command::Unlock(args) => Box::pin(unlock::run(args, context)).await,
        Command::Snapshots(args) => Box::pin(stop.or(snapshots::run(args, context))).await,
        Command::Ls(args) => Box::pin(stop.or(ls::run(args, context))).await,
        Command::Find(args) => Box::pin(stop.or(find::run(args, context))).await,
        Command::Diff(args) => Box::pin(stop.or(diff::run(args, context))).await,
        Command::Dump(args) => Box::pin(stop.or(dump::run(args, context))).await,
        Command::Backup(args) => Box::pin(backup::run(args, context)).await,
        Command::Restore(args) => Box::pin(restore::run(args, context)).await,
        Command::Check(args) => Box::pin(check::run(args, context)).await,
        Command::Index(args) => Box::pin(index::run(args, context)).await,
        Command::Replicate(args) => Box::pin(replicate::run(args, context)).await,
        Command::Forget(args) => Box::pin(forget::run(args, context)).await,
        Command::Prune(args) => Box::pin(prune::run(args, context)).await,
        Command::Retention(args) => Box::pin(retention::run(args, context)).await,
        Command::Status(args) => status::run(&args, context),
        Command::Runbook(args) => Box::pin(runbook::run(args, context)).await,
        Command::Drill(args) => Box::pin(drill::run(args, context)).await,
        Command::Serve(args) => Box::pin(serve::run(args, context)).await,
        Command::Config(args) => config::run(&args, context),
        Command::Catalog(args) => Box::pin(catalog::run(args, context)).await,
        Command::Completions(args) => man::completions(&args, context.out),
        Command::Man(args) => man::run(&args, context.out),
    }
}
