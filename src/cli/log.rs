//! The log, on standard error: for people who look for a fault, off unless asked for; of the service, always.

use tracing_subscriber::EnvFilter;

use super::args::{Cli, Command};
use super::output;

/// Starts logging at the level of so many `-v`, or as DRCTL_LOG has it (`drctl=debug,object_store=trace`). With `--json`
/// each event is a line of JSON.
pub(crate) fn start(cli: &Cli) {
    let directives = std::env::var("DRCTL_LOG").ok().filter(|directives| !directives.is_empty());
    let filter = match (cli.global.verbose, directives, &cli.command) {
        (0, Some(directives), _) => EnvFilter::new(directives),
        (0, None, Command::Serve(_)) if cli.global.quiet => EnvFilter::new("error,drctl=warn"),
        (0, None, Command::Serve(_)) | (1, _, _) => EnvFilter::new("warn,drctl=info"),
        (0, None, _) => return,
        (2, _, _) => EnvFilter::new("info,drctl=debug"),
        (_, _, _) => EnvFilter::new("debug,drctl=trace"),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let lines = lines.with_ansi(output::stderr_is_terminal());
    let started = if cli.global.json {
        tracing::subscriber::set_global_default(lines.json().finish())
    } else {
        tracing::subscriber::set_global_default(lines.finish())
    };
    started.expect("this is the only place that sets one, and runs once");
}
