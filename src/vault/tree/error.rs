//! What can be wrong with a stored tree.

use super::name::NameFault;

/// What a [`TreeReader`](super::TreeReader) came upon.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The source of the JSON failed.
    #[error("read the tree")]
    Io(#[source] std::io::Error),
    /// The text is not the JSON of a tree.
    #[error("read the tree: at byte {at}, {found} where {wanted} should be")]
    Syntax {
        /// Bytes before the fault.
        at: u64,
        /// What is there.
        found: String,
        /// What should be there.
        wanted: &'static str,
    },
    /// A node, or the number of nodes, is beyond the limits.
    #[error("read the tree: entry {index} has more than {limit} {of}")]
    TooLarge {
        /// The node's place in the tree, from 0.
        index: u64,
        /// What there is too much of.
        of: &'static str,
        /// How much of it is allowed.
        limit: u64,
    },
    /// A node's JSON does not say what a node has to say. The node is left out.
    #[error("understand entry {index} of the tree")]
    Node {
        /// The node's place in the tree, from 0.
        index: u64,
        /// What the decoder said.
        #[source]
        source: serde_json::Error,
    },
    /// A node has a name that would lead out of its folder. The node is left out.
    #[error("accept the name \"{name}\" of entry {index} of the tree: {fault}")]
    Name {
        /// The node's place in the tree, from 0.
        index: u64,
        /// The quoted name.
        name: String,
        /// What is wrong with it.
        fault: NameFault,
    },
    /// A node is of a kind that this version does not know. The node is left out.
    #[error("understand \"{name}\": an entry of the unknown kind {kind:?}")]
    Kind {
        /// The quoted name.
        name: String,
        /// The kind as written.
        kind: String,
    },
    /// A node does not come after the one before. It follows as the next item.
    #[error("find \"{name}\" in its place: it comes after \"{after}\"")]
    Unordered {
        /// The quoted name.
        name: String,
        /// The greatest quoted name so far.
        after: String,
    },
    /// A node has the name of the one before. The node is left out.
    #[error("accept a second entry named \"{name}\"")]
    Duplicate {
        /// The quoted name.
        name: String,
    },
}

impl TreeError {
    /// Whether the reader stops here. After any other error it goes on with the next node.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Io(_) | Self::Syntax { .. } | Self::TooLarge { .. } => true,
            Self::Node { .. }
            | Self::Name { .. }
            | Self::Kind { .. }
            | Self::Unordered { .. }
            | Self::Duplicate { .. } => false,
        }
    }
}
