//! What is wrong with a configuration, where, and what would put it right.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A position in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file, as it was named to the loader.
    #[serde(serialize_with = "path")]
    pub file: Arc<PathBuf>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

fn path<S: Serializer>(file: &Arc<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&file.display())
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It can be used; an operator should know.
    Warning,
}

/// One thing that is wrong, as it is shown to a person.
///
/// Printed on up to three lines, without a line break at the end:
///
/// ```text
/// error: unknown key `retension` in plan `orders`
///   --> schedules/orders.toml:7:1
///   fix: did you mean `retention`?
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, naming the key and what it belongs to.
    pub what: String,
    /// Where; unknown for a configuration that was not read from files.
    pub place: Option<Place>,
    /// What would put it right.
    pub fix: String,
}

impl Finding {
    pub(crate) fn error(place: Option<Place>, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Error, what: what.into(), place, fix: fix.into() }
    }

    pub(crate) fn warning(place: Option<Place>, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, what, fix) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.what)?;
        if let Some(place) = &self.place {
            write!(f, "\n  --> {place}")?;
        }
        write!(f, "\n  fix: {}", self.fix)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Files were read, and are not a configuration. Every finding is an error; there is at least one.
    #[error("{}", list(findings))]
    Refused {
        /// In the order of files and lines.
        findings: Vec<Finding>,
    },
}

fn list(findings: &[Finding]) -> String {
    let texts: Vec<_> = findings.iter().map(ToString::to_string).collect();
    format!("load the configuration\n{}", texts.join("\n"))
}

/// The one of `known` that a person who typed `typed` most likely meant.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&typed, word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len().min(typed.len()) / 4)
        .min()
        .map(|(_, word)| word)
}

/// "did you mean `x`?", or what there is to choose from, or `otherwise` where there is nothing.
pub(crate) fn suggest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>, otherwise: &str) -> String {
    let known: Vec<_> = known.into_iter().collect();
    match nearest(typed, known.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None if known.is_empty() => otherwise.to_owned(),
        None if known.len() == 1 => format!("use {}", quoted(known)),
        None => format!("use one of {}", quoted(known)),
    }
}

/// "`a`, `b`".
pub(crate) fn quoted<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.into_iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["retention", "retries", "recover", "vault"];
        assert_eq!(nearest("retension", known), Some("retention"));
        assert_eq!(nearest("Vault", known), Some("vault"));
        assert_eq!(nearest("valut", known), Some("vault"));
        assert_eq!(nearest("journal", known), None);
        assert_eq!(suggest("journal", ["a", "b"], "-"), "use one of `a`, `b`");
        assert_eq!(suggest("journal", [], "define one"), "define one");
    }
}
