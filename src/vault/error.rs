//! What can go wrong with a vault.

use super::blob::BlobType;
use super::crypto::CryptoError;
use super::id::Id;
use super::index::SegmentError;
use super::key::KeyError;
use super::pack::PackError;
use super::tree::TreeError;
use super::unpacked::UnpackedError;
use crate::store::{StoreError, StoreErrorKind};

/// A failed operation on a vault. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// There is none at this address.
    #[error("find a vault at {url}")]
    NoVault {
        /// The address.
        url: String,
    },
    /// There is one already.
    #[error("make a vault at {url}: there is one already")]
    VaultExists {
        /// The address.
        url: String,
    },
    /// An init was cut short: keys or settings lie there, and no configuration.
    #[error("use the vault at {url}: its making was cut short")]
    Unfinished {
        /// The address.
        url: String,
    },
    /// There is no vault, but there are objects that a vault once had.
    #[error("make a vault at {url}: it holds {found} of a vault without a configuration")]
    NotEmpty {
        /// The address.
        url: String,
        /// The folder that is not empty.
        found: &'static str,
    },
    /// There is no vault, but files of somebody else's are in the folder.
    #[error("make a vault at {url}: the folder is not empty, it has {found} in it")]
    Occupied {
        /// The address.
        url: String,
        /// The first name there, quoted, and how many others there are.
        found: String,
    },
    /// The password opens none of the keys.
    #[error("open the vault at {url} with this key: it fits none of {keys} there")]
    WrongKey {
        /// The address.
        url: String,
        /// Key files that were tried; those that cannot be read are not among them.
        keys: usize,
    },
    /// Somebody is at work.
    #[error("lock the vault at {url}: {holder} is there")]
    Locked {
        /// The address.
        url: String,
        /// The lock, its holder, and since when: "a shared lock of ada@db1 (pid 17), last refreshed 2026-...".
        holder: String,
        /// Whether the holder is gone, as far as can be told.
        stale: bool,
    },
    /// Our own lock is gone, or could not be refreshed in time: others no longer wait for us.
    #[error("keep the vault locked: the lock was removed, or not refreshed for {minutes} minutes")]
    LockLost {
        /// Since the last refresh.
        minutes: u64,
    },
    /// A later version wrote it.
    #[error("read {object}: a newer version wrote it (format {version})")]
    NewerVersion {
        /// The object's key.
        object: &'static str,
        /// The format that it declares.
        version: u32,
    },
    /// The first version of the format, which is read, not written.
    #[error("write to the vault at {url}: it has version 1 of the format, which drctl only reads")]
    OldVersion {
        /// The address.
        url: String,
    },
    /// The hot half of a repository that rustic keeps in two places.
    #[error("adopt the repository at {url}: it is the hot half of one that rustic keeps in two places")]
    HalfARepository {
        /// The address.
        url: String,
    },
    /// An object is not what was once written.
    #[error("use {object}, which is damaged")]
    Damaged {
        /// The object's key.
        object: String,
        /// What is wrong with it.
        #[source]
        why: Damage,
    },
    /// No snapshot's id starts like this.
    #[error("find a snapshot whose id starts with {prefix:?}")]
    NoSuchSnapshot {
        /// What was asked for.
        prefix: String,
    },
    /// Several snapshots' ids start like this.
    #[error("choose among {count} snapshots whose ids start with {prefix:?}")]
    AmbiguousSnapshot {
        /// What was asked for.
        prefix: String,
        /// How many there are.
        count: usize,
    },
    /// The key that the vault was opened with must stay, else the next command could not open it.
    #[error("remove key {0}: the vault was opened with it")]
    KeyInUse(Id),
    /// A vault without keys is lost.
    #[error("remove key {0}: it is the last one")]
    LastKey(Id),
    /// There is no such key.
    #[error("find key {0}")]
    NoSuchKey(Id),
    /// A key file could not be made.
    #[error("make a key file")]
    MakeKey(#[source] KeyError),
    /// JSON could not be made or sealed.
    #[error("make what is to be stored")]
    Seal(#[source] Damage),
    /// A blob that no index file names.
    #[error("find {} blob {id} in the index", match .kind { BlobType::Data => "data", BlobType::Tree => "tree" })]
    NoBlob {
        /// Data or tree.
        kind: BlobType,
        /// The blob.
        id: Id,
    },
    /// The index could not be put together.
    #[error("load the index")]
    Index(#[from] SegmentError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is wrong with an object.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// Objects are named by the SHA-256 of their bytes, and this one's is another.
    #[error("match its name: the bytes hash to {0}")]
    NotItsName(Id),
    /// It does not open.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// It opens to something that is no JSON.
    #[error(transparent)]
    Unpacked(#[from] UnpackedError),
    /// The JSON is not what it should be.
    #[error("read its JSON")]
    Json(#[from] serde_json::Error),
    /// A tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A pack or a blob in it.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It is not there, beside objects that there would not be without it.
    #[error("find it: there are {beside} of a vault, without it")]
    Absent {
        /// The folder that is not empty.
        beside: &'static str,
    },
    /// A field says what cannot be.
    #[error("accept it: {0}")]
    Content(&'static str),
    /// It is gone, or shorter than it should be.
    #[error("read all of it")]
    Store(#[from] StoreError),
}

impl VaultError {
    /// An object that is damaged.
    pub(super) fn damaged(object: impl Into<String>, why: impl Into<Damage>) -> Self {
        Self::Damaged { object: object.into(), why: why.into() }
    }

    /// An object that is gone, or has not the size that it should have.
    pub(crate) fn wrong_size(object: impl Into<String>) -> Self {
        Self::damaged(object, Damage::Content("it is gone, or has another size"))
    }

    /// Something that could not be made or sealed.
    pub fn seal(why: impl Into<Damage>) -> Self {
        Self::Seal(why.into())
    }

    /// A pack that could not be filled.
    pub fn pack(why: PackError) -> Self {
        match why {
            // It was sealed well, and the store failed.
            PackError::Write(error) => Self::Store(error),
            why => Self::seal(why),
        }
    }

    /// Whether an object that was asked for is not there: removed by somebody else between a listing and now, or lost.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind == StoreErrorKind::NotFound)
    }

    /// Whether the error is about one object, rather than about a store that cannot be reached.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::NoBlob { .. }) || self.is_not_found()
    }

    /// What to do now, in a sentence for a person.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoVault { .. } => {
                "check the address, and whether its disk is mounted; `drctl init` makes a new vault, with nothing in it"
            }
            Self::VaultExists { .. } => {
                "use it as it is, or choose another address; one that restic or rustic made is taken on with `drctl adopt`"
            }
            Self::Unfinished { .. } => {
                "run `drctl init` again with the same key; it goes on where it stopped. Or remove what is there by hand"
            }
            Self::NotEmpty { .. } => {
                "bring the object `config` back from a copy of that vault, or choose an address that is empty"
            }
            Self::Occupied { .. } => {
                "give the vault a folder of its own: one that is empty, or a new one, also in that one"
            }
            Self::WrongKey { .. } => {
                "check which key file or password belongs to this vault; any that was added opens it"
            }
            Self::Locked { stale: true, .. } => "its holder seems to be gone: run `drctl unlock`",
            Self::Locked { stale: false, .. } => "wait, or pass --retry-lock; `drctl unlock` removes locks of the dead",
            Self::LockLost { .. } => "run it again; what was uploaded is not uploaded twice",
            Self::NewerVersion { .. } => "install a newer drctl",
            Self::OldVersion { .. } => "upgrade it with `restic migrate upgrade_repo_v2`, or restore from it as it is",
            Self::HalfARepository { .. } => "give the address of the cold half: it holds everything",
            Self::Damaged { object, .. } if object.starts_with(super::layout::FileType::Lock.folder()) => {
                "make sure that nobody works in the vault, then remove the lock with `drctl unlock --all`"
            }
            Self::Damaged { object, .. }
                if object.starts_with(super::layout::FileType::Index.folder())
                    || object.starts_with(super::layout::GC) =>
            {
                "make the index anew from what the packs hold, with `drctl index rebuild`"
            }
            // None of these is healed: a check has to open the vault, too, and copies have keys of their own.
            Self::Damaged { object, .. } if object == super::layout::FileType::Key.folder() => {
                "only key files hold the master key: bring the folder `keys` back from a copy of this vault that was made byte \
                 for byte, or restore from another vault that has copies of its snapshots"
            }
            Self::Damaged { object, .. } if object.starts_with(super::layout::FileType::Key.folder()) => {
                "open the vault with another of its keys, or bring this file back from a copy of the vault that was made byte \
                 for byte; `drctl check` heals no key files"
            }
            Self::Damaged { object, .. } if object == super::layout::CONFIG || object == super::layout::SETTINGS => {
                "bring this object back from a copy of the vault that was made byte for byte, or restore from another vault \
                 that has copies of its snapshots"
            }
            Self::Damaged { .. } => {
                "run `drctl check` to see what it hits; `drctl check --read-data --heal-from COPY` heals it"
            }
            Self::NoSuchSnapshot { .. } => "list them with `drctl snapshots`",
            Self::AmbiguousSnapshot { .. } => "give more digits of the id; `drctl snapshots` lists them",
            Self::KeyInUse(_) => "open the vault with another key to remove this one",
            Self::LastKey(_) => "add another key first with `drctl key add`",
            Self::NoSuchKey(_) => "list them with `drctl key list`",
            Self::NoBlob { .. } => {
                "run `drctl index rebuild`, which mends an index that lacks something, then `drctl check`: what is damaged \
                 then, `drctl check --read-data --heal-from COPY` heals"
            }
            Self::Index(_) => "look at the cause; free memory or disk space if that is it",
            Self::MakeKey(_) | Self::Seal(_) => "this should not happen: report it",
            Self::Store(error) => error.kind.hint(),
        }
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
