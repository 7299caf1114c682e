//! Exit codes: a published contract for scripts. A code never changes its meaning.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done, and objectives were met.
    Done = 0,
    /// It failed; nothing that was acknowledged before is harmed.
    Failed = 1,
    /// Usage or configuration: nothing was tried.
    Usage = 2,
    /// Done, but for things that were listed.
    Partial = 3,
    /// Done, but an objective was missed.
    ObjectiveMissed = 4,
    /// There is no vault at the given place.
    NoVault = 10,
    /// Someone else holds a lock.
    Locked = 11,
    /// No key of the vault opens with this password.
    WrongKey = 12,
    /// Stopped by a signal.
    Interrupted = 130,
    /// The reader of the output went away (`drctl ls | head`).
    ReaderGone = 141,
}

impl Exit {
    /// Every code, in the order in which they are documented.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Partial,
        Self::ObjectiveMissed,
        Self::NoVault,
        Self::Locked,
        Self::WrongKey,
        Self::Interrupted,
        Self::ReaderGone,
    ];

    /// The number that a shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What it means, as `drctl --help` has it.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, and objectives met",
            Self::Failed => "failed",
            Self::Usage => "wrong usage or configuration; nothing was tried",
            Self::Partial => "partial: done but for the things that were listed",
            Self::ObjectiveMissed => "done, but an objective was missed",
            Self::NoVault => "no such vault",
            Self::Locked => "the vault is locked by someone else",
            Self::WrongKey => "wrong key or password",
            Self::Interrupted => "interrupted by a signal",
            Self::ReaderGone => "the reader of the output went away",
        }
    }

    /// The table of codes for the help text.
    pub fn table() -> String {
        let mut out = String::from("Exit codes:\n");
        for exit in Self::ALL {
            out.push_str(&format!("  {:>3}  {}\n", exit.code(), exit.meaning()));
        }
        out
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_codes_stay_what_they_are() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 10, 11, 12, 130, 141]);
        assert!(Exit::table().contains("\n   12  wrong key or password\n"));
    }
}
