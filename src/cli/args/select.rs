//! Options and values that several commands share.

use std::num::{IntErrorKind, NonZeroUsize, ParseIntError};

use clap::Args;

use crate::look;

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
    #[arg(long = "path", id = "filter_path", value_name = "PATH", help_heading = "Which snapshots")]
    pub(crate) path: Vec<String>,
}

/// How many snapshots.
pub(super) fn count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|error: ParseIntError| match error.kind() {
        IntErrorKind::Zero => "at least 1".to_owned(),
        _ => error.to_string(),
    })
}

/// Which snapshot "latest" is.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Latest {
    /// Which snapshots count.
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// As of this time: the newest snapshot taken then or before ("2026-11-20 13:00", "2h ago")
    #[arg(long, value_name = "TIME", help_heading = "Which snapshots")]
    pub(crate) at: Option<String>,
    /// Let snapshots count that no signed record vouches for, too
    #[arg(long, help_heading = "Which snapshots")]
    pub(crate) unsigned: bool,
}

impl From<&Filter> for look::Filter {
    fn from(filter: &Filter) -> Self {
        let set = |tags: &String| tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        Self { hosts: filter.host.clone(), tags: filter.tag.iter().map(set).collect(), paths: filter.path.clone() }
    }
}
