//! How an error reaches the user: what failed, why (the chain, once), and what to do now.

use std::error::Error;
use std::fmt;
use std::io;

use serde::Serialize;

use super::exit::Exit;
use super::hints;

/// Whether the message already holds the text of the nearest cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Already,
    NotYet,
}

/// Why a command did not end well.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    /// What it comes from; its own text is part of `what` when `named` says so.
    source: Option<Box<dyn Error + Send + Sync>>,
    named: Named,
    details: Vec<String>,
    hint: Option<String>,
    exit: Exit,
}

impl Failure {
    /// The library could not do something; its errors read behind "failed to".
    pub(crate) fn of(source: impl Error + Send + Sync + 'static) -> Self {
        Self { named: Named::Already, ..Self::because(format!("failed to {source}"), source) }
    }

    /// `what` failed because of `source`; exit code and hint follow from what lies in the source's chain.
    pub(crate) fn because(what: impl Into<String>, source: impl Error + Send + Sync + 'static) -> Self {
        let advice = hints::advise(&source);
        Self {
            what: what.into(),
            source: Some(Box::new(source)),
            named: Named::NotYet,
            details: Vec::new(),
            hint: advice.hint,
            exit: advice.exit,
        }
    }

    fn bare(what: impl Into<String>, exit: Exit) -> Self {
        Self { what: what.into(), source: None, named: Named::NotYet, details: Vec::new(), hint: None, exit }
    }

    /// The command makes no sense as it was given; nothing was tried.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::bare(what, Exit::Usage)
    }

    /// It failed, and there is no deeper cause to show.
    pub(crate) fn plain(what: impl Into<String>) -> Self {
        Self::bare(what, Exit::Failed)
    }

    /// Lists what is beneath the message, a paragraph each.
    pub(crate) fn details(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }

    /// The user asked to stop.
    pub(crate) fn interrupted() -> Self {
        Self::bare("interrupted", Exit::Interrupted)
    }

    /// Standard output could not be written.
    pub(crate) fn output(source: io::Error) -> Self {
        let exit = if source.kind() == io::ErrorKind::BrokenPipe { Exit::ReaderGone } else { Exit::Failed };
        Self { exit, ..Self::because("failed to write the output", source) }
    }

    /// Says what to do now, unless the cause already did.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Says what to do now, whatever the cause says.
    pub(crate) fn advise(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Ends the process with this code instead.
    pub(crate) fn exits(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// The code to end with.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether there is nobody left to tell.
    pub(crate) fn is_silent(&self) -> bool {
        self.exit == Exit::ReaderGone
    }

    /// The error as it is shown.
    pub(crate) fn report(&self) -> Report<'_> {
        let mut causes = self.source.as_deref().map(|source| causes(source)).unwrap_or_default();
        if self.named == Named::Already {
            causes.drain(..causes.len().min(1));
        }
        Report {
            message: &self.what,
            causes,
            details: &self.details,
            hint: self.hint.as_deref(),
            exit_code: self.exit.code(),
        }
    }
}

/// The texts of an error and of what lies beneath it.
fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        // A wrapper that only repeats its source says nothing twice.
        if causes.last() != Some(&text) && !text.is_empty() {
            causes.push(text);
        }
        next = cause.source();
    }
    causes
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error).join(": ")
}

/// What of an error is shown, to people and to programs.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    /// What failed.
    pub(crate) message: &'a str,
    /// Why, from the nearest cause to the deepest.
    pub(crate) causes: Vec<String>,
    /// What there is to say at length, each in some lines.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(crate) details: &'a [String],
    /// What to do now.
    pub(crate) hint: Option<&'a str>,
    /// The code that the process ends with.
    pub(crate) exit_code: u8,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("read config from file:///srv/v")]
    struct Outer(#[source] io::Error);

    fn failure() -> Failure {
        Failure::because("failed to open the vault", Outer(io::Error::other("permission denied")))
            .hint("run it as root")
    }

    #[test]
    fn the_chain_is_shown_once() {
        assert_eq!(
            failure().report().to_string(),
            "failed to open the vault: read config from file:///srv/v: permission denied"
        );
    }

    #[test]
    fn programs_get_the_same_in_fields() {
        let shown = serde_json::to_value(failure().report()).expect("plain data");
        let expected = serde_json::json!({
            "message": "failed to open the vault",
            "causes": ["read config from file:///srv/v", "permission denied"],
            "hint": "run it as root",
            "exit_code": 1,
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn errors_of_the_library_read_behind_failed_to() {
        let failure = Failure::of(Outer(io::Error::other("permission denied")));
        assert_eq!(failure.report().to_string(), "failed to read config from file:///srv/v: permission denied");
        assert_eq!(failure.report().causes, ["permission denied"]);
    }

    #[test]
    fn a_reader_that_went_away_is_no_news() {
        assert!(Failure::output(io::ErrorKind::BrokenPipe.into()).is_silent());
        assert_eq!(Failure::output(io::ErrorKind::StorageFull.into()).exit(), Exit::Failed);
    }

    #[test]
    fn the_nearer_hint_wins() {
        assert_eq!(failure().hint("something general").report().hint, Some("run it as root"));
    }
}
