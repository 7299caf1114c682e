//! What an operation tells whoever watches it: a progress bar, a JSON stream, a test.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Something that went wrong with one thing while the rest went on. Any problem makes the run *partial*.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// The path or object, raw bytes rendered lossily; escaped for a terminal by the face that prints it.
    pub what: String,
    /// Why, as a fragment: "permission denied while opening".
    pub why: String,
}

/// Receives what an operation has to say. Called from several threads; must return at once.
pub trait Monitor: Send + Sync {
    /// A new stage of the work starts ("scan", "read", "fetch"); counters start again at zero.
    fn stage(&self, _name: &str) {}
    /// The stage's size as far as it is known by now: items (files, packs) and bytes.
    fn total(&self, _items: u64, _bytes: u64) {}
    /// This much more of the stage is done.
    fn advance(&self, _items: u64, _bytes: u64) {}
    /// One thing failed; the operation goes on.
    fn problem(&self, _problem: &Problem) {}
    /// Something the operator should know that is no failure.
    fn note(&self, _text: &str) {}
}

/// Asks an operation to stop at the next safe point. What is finished by then stays usable.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks to stop. Cannot be taken back.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether stopping was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {}

/// Keeps problems and notes, for tests and for runs that put them into a record.
#[derive(Debug, Default)]
pub struct Collected {
    /// What failed, in order of arrival.
    pub problems: Mutex<Vec<Problem>>,
    /// What was noted, in order of arrival.
    pub notes: Mutex<Vec<String>>,
}

impl Monitor for Collected {
    fn problem(&self, problem: &Problem) {
        if let Ok(mut problems) = self.problems.lock() {
            problems.push(problem.clone());
        }
    }

    fn note(&self, text: &str) {
        if let Ok(mut notes) = self.notes.lock() {
            notes.push(text.to_owned());
        }
    }
}
