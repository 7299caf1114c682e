//! Failures that last until somebody puts something right: to try again does not help, and costs the operator the time in
//! which it could be put right.
//!
//! In doubt a failure passes: a store may answer later, a program may work the next time, a missing path may be a file
//! system that is not mounted yet.

use std::io;

use super::secret::SecretError;
use super::source::SourceError;
use super::vaults::OpenError;
use crate::backup::BackupError;
use crate::source::command::CommandError;
use crate::source::files::ExcludeError;
use crate::store::{Reaction, StoreError};
use crate::vault::VaultError;

pub(super) fn opening(error: &OpenError) -> bool {
    match error {
        OpenError::Unknown(_) => true,
        OpenError::Secret { source, .. } => secret(source),
        OpenError::Store { source, .. } => store(source),
        OpenError::Vault { source, .. } => vault(source),
    }
}

pub(super) fn backing_up(error: &BackupError) -> bool {
    match error {
        BackupError::Vault(error) => vault(error),
        BackupError::NoPaths | BackupError::BadPath { .. } | BackupError::Chunker(_) => true,
        BackupError::Path { .. }
        | BackupError::Look { .. }
        | BackupError::Tree { .. }
        | BackupError::Seal(_)
        | BackupError::Stream { .. }
        | BackupError::NothingRead { .. }
        | BackupError::Overtaken
        | BackupError::Cancelled
        | BackupError::UploadStopped => false,
    }
}

pub(super) fn preparing(error: &SourceError) -> bool {
    match error {
        SourceError::Excludes(ExcludeError::Read { .. }) => false,
        SourceError::Excludes(_) => true,
        SourceError::Command(CommandError::Empty) => true,
        SourceError::Command(CommandError::Start { source, .. }) => is_refused(source),
        SourceError::Command(_) | SourceError::Sqlite(_) | SourceError::Copy { .. } => false,
    }
}

fn vault(error: &VaultError) -> bool {
    match error {
        VaultError::Store(error) => store(error),
        VaultError::NoVault { .. }
        | VaultError::WrongKey { .. }
        | VaultError::VaultExists { .. }
        | VaultError::Unfinished { .. }
        | VaultError::NotEmpty { .. }
        | VaultError::Occupied { .. }
        | VaultError::NewerVersion { .. }
        | VaultError::OldVersion { .. }
        | VaultError::HalfARepository { .. } => true,
        VaultError::Locked { .. }
        | VaultError::LockLost { .. }
        | VaultError::Damaged { .. }
        | VaultError::NoSuchSnapshot { .. }
        | VaultError::AmbiguousSnapshot { .. }
        | VaultError::KeyInUse(_)
        | VaultError::LastKey(_)
        | VaultError::NoSuchKey(_)
        | VaultError::MakeKey(_)
        | VaultError::Seal(_)
        | VaultError::NoBlob { .. }
        | VaultError::Index(_) => false,
    }
}

fn store(error: &StoreError) -> bool {
    match error.reaction() {
        Reaction::FixConfig => true,
        Reaction::Retry | Reaction::MakeRoom | Reaction::UseReplica => false,
    }
}

fn secret(error: &SecretError) -> bool {
    match error {
        SecretError::File { source, .. } | SecretError::Start { source, .. } => is_refused(source),
        SecretError::Exposed { .. }
        | SecretError::TooLarge { .. }
        | SecretError::NotSet(_)
        | SecretError::NoProgram
        | SecretError::Empty(_)
        | SecretError::NotText(_) => true,
        // A password manager may be locked for now.
        SecretError::Program { .. } => false,
    }
}

fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreErrorKind;

    fn refused(kind: StoreErrorKind) -> bool {
        let source = StoreError { op: "get", key: "config".to_owned(), url: "s3://b".to_owned(), kind, source: None };
        opening(&OpenError::Vault { vault: "main".parse().expect("a name"), source: Box::new(source.into()) })
    }

    #[test]
    fn what_somebody_has_to_put_right_lasts_and_what_a_store_may_do_later_passes() {
        use StoreErrorKind as Kind;
        for kind in [Kind::Denied, Kind::NoBucket, Kind::Untrusted, Kind::Config] {
            assert!(refused(kind), "{kind}");
        }
        for kind in [Kind::Unreachable, Kind::Timeout, Kind::NoSpace, Kind::Io, Kind::Truncated, Kind::NotFound] {
            assert!(!refused(kind), "{kind}");
        }
        let url = || "file:///v".to_owned();
        assert!(vault(&VaultError::NoVault { url: url() }) && vault(&VaultError::WrongKey { url: url(), keys: 1 }));
        assert!(!vault(&VaultError::Locked { url: url(), holder: "somebody".to_owned(), stale: false }));
        let file = |kind: io::ErrorKind| SecretError::File { path: "/key".into(), source: kind.into() };
        assert!(secret(&file(io::ErrorKind::NotFound)) && !secret(&file(io::ErrorKind::TimedOut)));
    }
}
