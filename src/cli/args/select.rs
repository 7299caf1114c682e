//! Options and values that several commands share.

use std::time::Duration;

use clap::Args;

use crate::units::ByteSize;

/// Which snapshots count.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Filter {
    /// Only snapshots of this host; may be repeated
    #[arg(long, value_name = "NAME", help_heading = "Which snapshots")]
    pub(crate) host: Vec<String>,
    /// Only snapshots with these tags (commas: all of them); may be repeated
    #[arg(long, value_name = "TAG[,TAG]", help_heading = "Which snapshots")]
    pub(crate) tag: Vec<String>,
    /// Only snapshots of this path; may be repeated (all of them)
    #[arg(long, value_name = "PATH", help_heading = "Which snapshots")]
    pub(crate) path: Vec<String>,
}

/// Reads "90s", "5m", "1h 30m".
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time span such as \"90s\", \"5m\" or \"1h 30m\"".to_owned();
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(span).map_err(|_| wrong())
}
