//! Runbooks as they are written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::runbook::{Against, OnError};
use crate::units::{ByteSize, Span};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Runbook {
    /// What it brings back, for whoever reads it in an incident.
    pub(in crate::config) description: String,
    /// Steps. One runs as soon as all that it needs have been done.
    pub(in crate::config) step: Vec<Step>,
}

/// The kinds of step that this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum StepKind {
    Restore,
    Exec,
    Check,
}

impl StepKind {
    pub(in crate::config) const fn name(self) -> &'static str {
        match self {
            Self::Restore => "restore",
            Self::Exec => "exec",
            Self::Check => "check",
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-later-kind" = ["start", "wait", "gate", "switch", "notify", "sql", "http"], "x-later" = ["undo", "http", "sql"]))]
pub(in crate::config) struct Step {
    /// Its name within the runbook.
    pub(in crate::config) id: String,
    /// `restore` brings data back, `exec` runs a program, `check` proves something.
    pub(in crate::config) kind: StepKind,
    /// What it is for, for whoever follows the runbook by hand.
    pub(in crate::config) description: Option<String>,
    /// Ids of the steps that must have been done before.
    #[serde(default)]
    pub(in crate::config) needs: Vec<String>,
    /// The longest that it may take. 1h by default.
    pub(in crate::config) timeout: Option<Span>,
    /// Whether recovery failed when this failed. true by default.
    pub(in crate::config) critical: Option<bool>,
    /// When it fails: `stop` starts no further step, `continue` goes on with those that do not need it. By default `stop`.
    pub(in crate::config) on_error: Option<OnError>,
    /// restore: `latest`, or the id of a snapshot. `latest` by default.
    pub(in crate::config) snapshot: Option<String>,
    /// restore: the plan whose snapshot it is. By default the plan that is being recovered.
    pub(in crate::config) plan: Option<String>,
    /// restore: only what matches these globs.
    pub(in crate::config) include: Option<Vec<String>>,
    /// restore: the folder to restore into, within the target. By default the target itself.
    pub(in crate::config) into: Option<PathBuf>,
    /// exec, check: program and arguments, run without a shell in the target; a check passes when it exits with 0.
    pub(in crate::config) command: Option<Vec<String>>,
    /// check: the content of a tree.
    pub(in crate::config) digest: Option<Digest>,
    /// check: a file that must be there.
    pub(in crate::config) file: Option<FilePresent>,
    /// check: what a query of a restored SQLite database answers.
    pub(in crate::config) sqlite: Option<SqliteQuery>,
}

/// Compared with one of `against`, `manifest`, `sha256`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Digest {
    /// The tree, within the target. By default the target itself.
    pub(in crate::config) path: Option<PathBuf>,
    /// `source`: what the source itself holds, read by other code than the backup's.
    pub(in crate::config) against: Option<Against>,
    /// A list of digests and paths, as `sha256sum` writes it.
    pub(in crate::config) manifest: Option<PathBuf>,
    /// The digest of the whole tree, in hex.
    pub(in crate::config) sha256: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct FilePresent {
    /// The file, within the target.
    pub(in crate::config) path: PathBuf,
    /// It must be at least this large.
    pub(in crate::config) min_size: Option<ByteSize>,
}

/// Judged by one of `expect` and `at_least`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct SqliteQuery {
    /// The database, within the target.
    pub(in crate::config) path: PathBuf,
    /// A query; the first column of its first row is judged.
    pub(in crate::config) query: String,
    /// The answer, as text.
    pub(in crate::config) expect: Option<String>,
    /// The least that the answer may be, as a number.
    pub(in crate::config) at_least: Option<i64>,
}
