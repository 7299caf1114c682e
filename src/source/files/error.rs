//! What can go wrong with a file of the source.

use std::io;

use crate::vault::tree::quote;

/// A file or folder could not be read. It is named as its folder knows it; the walk knows the path to there.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{action} \"{name}\"")]
    Io {
        /// What was tried, as in "list the folder".
        action: &'static str,
        /// The name, or for an opened root the path, quoted for people.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is of a kind that the format cannot hold.
    #[error("back up \"{name}\": its mode {st_mode:#o} is of no known kind")]
    Kind {
        /// The quoted name.
        name: String,
        /// `st_mode`.
        st_mode: u32,
    },
    /// Something else has taken its place since it was looked at.
    #[error("open \"{name}\": it was replaced meanwhile")]
    Replaced {
        /// The quoted name.
        name: String,
    },
}

impl FileError {
    pub(crate) fn io(action: &'static str, name: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Io { action, name: quote(name), source: source.into() }
    }

    /// Whether the file is simply not there (any more), which is no fault when it vanished during the walk.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Kind { .. } | Self::Replaced { .. } => false,
        }
    }
}
