//! The log, for people who look for a fault: on standard error, off unless asked for.

use tracing_subscriber::EnvFilter;

/// Starts logging at the level of so many `-v`, or as DRCTL_LOG has it (`drctl=debug,object_store=trace`).
pub(crate) fn start(verbose: u8) {
    let filter = match (verbose, std::env::var("DRCTL_LOG")) {
        (0, Ok(directives)) if !directives.is_empty() => EnvFilter::new(directives),
        (0, _) => return,
        (1, _) => EnvFilter::new("warn,drctl=info"),
        (2, _) => EnvFilter::new("info,drctl=debug"),
        (_, _) => EnvFilter::new("debug,drctl=trace"),
    };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).finish();
    tracing::subscriber::set_global_default(subscriber).expect("this is the only place that sets one, and runs once");
}
