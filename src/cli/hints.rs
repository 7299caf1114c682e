//! What an error means to the shell and to the user: the exit code, and what to do now.
//!
//! The one place that looks into the errors of the library. It reads types, never texts.

use std::error::Error;
use std::path::Path;

use super::exit::Exit;
use crate::backup::BackupError;
use crate::catalog::CatalogError;
use crate::look::LookError;
use crate::service::ServiceError;
use crate::service::secret::SecretError;
use crate::source::files::ExcludeError;
use crate::store::{StoreError, StoreErrorKind};
use crate::vault::VaultError;

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
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(advice) = known(cause) {
            return advice;
        }
        next = cause.source();
    }
    Advice { exit: Exit::Failed, hint: None }
}

fn known(error: &(dyn Error + 'static)) -> Option<Advice> {
    if let Some(error) = error.downcast_ref::<VaultError>() {
        return Some(of_vault(error));
    }
    if let Some(error) = error.downcast_ref::<Box<VaultError>>() {
        return Some(of_vault(error));
    }
    if let Some(error) = error.downcast_ref::<Box<StoreError>>() {
        return Some(of_store(error));
    }
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return Some(of_store(error));
    }
    if let Some(error) = error.downcast_ref::<SecretError>() {
        return Some(of_secret(error));
    }
    if let Some(error) = error.downcast_ref::<ServiceError>() {
        return of_service(error);
    }
    if let Some(error) = error.downcast_ref::<CatalogError>() {
        return of_catalog(error);
    }
    if let Some(error) = error.downcast_ref::<BackupError>() {
        return of_backup(error);
    }
    if error.is::<ExcludeError>() {
        let hint = "patterns follow the rules of .gitignore: mend or leave out this one";
        return Some(Advice { exit: Exit::Usage, hint: Some(hint.to_owned()) });
    }
    match error.downcast_ref::<LookError>()? {
        LookError::NoSuchPath { .. } | LookError::NotAFolder { .. } => {
            Some(Advice { exit: Exit::Failed, hint: Some("`drctl ls SNAPSHOT` shows what there is".to_owned()) })
        }
        LookError::NoContent { .. } => {
            Some(Advice { exit: Exit::Failed, hint: Some("`drctl restore` brings it back as what it was".to_owned()) })
        }
        LookError::Load { .. }
        | LookError::Tree { .. }
        | LookError::NoTree { .. }
        | LookError::TooDeep { .. }
        | LookError::Upwards { .. }
        | LookError::Blob { .. }
        | LookError::Length { .. }
        | LookError::Write(_) => None,
    }
}

/// Errors that only pass another on are not in the chain of their sources: they are looked through here.
fn of_service(error: &ServiceError) -> Option<Advice> {
    match error {
        ServiceError::Vault(error) => Some(of_vault(error)),
        ServiceError::Catalog(error) => of_catalog(error),
        ServiceError::NoSuchPlan { .. } => {
            Some(Advice { exit: Exit::Usage, hint: Some("`drctl config show` lists the plans".to_owned()) })
        }
        ServiceError::NoVault(error) => Some(Advice { exit: Exit::Failed, hint: error.hint() }),
        ServiceError::Runbook { .. } => Some(Advice {
            exit: Exit::Failed,
            hint: Some("mend the runbook; `drctl runbook check` shows whether its steps can have an order".to_owned()),
        }),
        ServiceError::AlreadyRunning(_) => {
            Some(Advice { exit: Exit::Failed, hint: Some("stop it first, or let it do the work".to_owned()) })
        }
        _ => None,
    }
}

fn of_backup(error: &BackupError) -> Option<Advice> {
    let failed = |hint: &str| Some(Advice { exit: Exit::Failed, hint: Some(hint.to_owned()) });
    match error {
        BackupError::Cancelled => Some(Advice { exit: Exit::Interrupted, hint: None }),
        BackupError::Overtaken => failed("run it again; prune with a longer --grace than the longest backup takes"),
        BackupError::NoPaths => Some(Advice { exit: Exit::Usage, hint: None }),
        BackupError::BadPath { path, .. } => Some(Advice { exit: Exit::Usage, hint: Some(where_it_leads(path)) }),
        BackupError::Path { .. } | BackupError::Look { .. } => {
            failed("correct the path or leave it out; no snapshot was made")
        }
        BackupError::Vault(_)
        | BackupError::Tree { .. }
        | BackupError::Chunker(_)
        | BackupError::Seal(_)
        | BackupError::Stream { .. }
        | BackupError::NothingRead { .. }
        | BackupError::UploadStopped => None,
    }
}

/// What to give instead of a path that cannot be stored. `..` behind a symbolic link leads elsewhere than its text says, so
/// the system is asked and not the text.
fn where_it_leads(path: &Path) -> String {
    match std::fs::canonicalize(path) {
        Ok(resolved) => format!("to back up what it leads to, give {}", resolved.display()),
        Err(_) => "give the absolute path, without `..` in it".to_owned(),
    }
}

fn of_catalog(error: &CatalogError) -> Option<Advice> {
    let hint = "stop the service if one runs, then `drctl catalog rebuild` moves the damaged file aside and fills a new one \
                from the vaults; no backup is lost with it";
    error.is_damage().then(|| Advice { exit: Exit::Failed, hint: Some(hint.to_owned()) })
}

fn of_secret(error: &SecretError) -> Advice {
    let usage = |hint: String| Advice { exit: Exit::Usage, hint: Some(hint) };
    match error {
        SecretError::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            usage(
                "give the right one where it was named: with --key-file FILE or another option, in DRCTL_KEY_FILE, or in the \
                 configuration".to_owned(),
            )
        }
        SecretError::Exposed { path, .. } => {
            usage(format!("chmod 600 {} and chown it to you, or allow it with --allow-shared-key", path.display()))
        }
        SecretError::TooLarge { .. }
        | SecretError::NotSet(_)
        | SecretError::NoProgram
        | SecretError::Start { .. }
        | SecretError::Empty(_)
        | SecretError::NotText(_) => Advice { exit: Exit::Usage, hint: None },
        SecretError::File { .. } | SecretError::Program { .. } => Advice { exit: Exit::Failed, hint: None },
    }
}

fn of_store(error: &StoreError) -> Advice {
    let exit = if error.kind == StoreErrorKind::Config { Exit::Usage } else { Exit::Failed };
    Advice { exit, hint: Some(error.kind.hint().to_owned()) }
}

fn of_vault(error: &VaultError) -> Advice {
    let exit = match error {
        VaultError::Store(error) => return of_store(error),
        VaultError::NoVault { .. } => Exit::NoVault,
        VaultError::WrongKey { .. } => Exit::WrongKey,
        VaultError::Locked { .. } => Exit::Locked,
        VaultError::VaultExists { .. }
        | VaultError::Unfinished { .. }
        | VaultError::NotEmpty { .. }
        | VaultError::Occupied { .. }
        | VaultError::LockLost { .. }
        | VaultError::NewerVersion { .. }
        | VaultError::OldVersion { .. }
        | VaultError::HalfARepository { .. }
        | VaultError::Damaged { .. }
        | VaultError::NoSuchSnapshot { .. }
        | VaultError::AmbiguousSnapshot { .. }
        | VaultError::KeyInUse(_)
        | VaultError::LastKey(_)
        | VaultError::NoSuchKey(_)
        | VaultError::MakeKey(_)
        | VaultError::Seal(_)
        | VaultError::NoBlob { .. }
        | VaultError::Index(_) => Exit::Failed,
    };
    Advice { exit, hint: Some(error.hint().to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] VaultError);

    #[test]
    fn codes_of_their_own_are_found_behind_other_errors() {
        let url = || "file:///v".to_owned();
        let table = [
            (VaultError::NoVault { url: url() }, Exit::NoVault, "drctl init"),
            (VaultError::WrongKey { url: url(), keys: 2 }, Exit::WrongKey, "key file"),
            (VaultError::Locked { url: url(), holder: "x".into(), stale: false }, Exit::Locked, "--retry-lock"),
            (VaultError::NoSuchSnapshot { prefix: "ab".into() }, Exit::Failed, "drctl snapshots"),
        ];
        for (error, exit, hint) in table {
            let advice = advise(&Outer(error));
            assert_eq!(advice.exit, exit);
            assert!(advice.hint.as_deref().is_some_and(|text| text.contains(hint)), "{advice:?}");
        }
    }

    #[test]
    fn what_we_do_not_know_just_failed() {
        assert_eq!(advise(&std::fmt::Error), Advice { exit: Exit::Failed, hint: None });
    }
}
