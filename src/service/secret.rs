//! Reads secrets from where the configuration says that they are: a file, a variable, a program.
//!
//! A secret is never an argument, is never printed, and is wiped from memory after use. A key file that others can read
//! is refused where something is written, since everything written relies on it from then on; for reading there is a
//! warning, because a restore at night must not fail over a file mode.
//!
//! Asking a person is the command line's business.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use zeroize::Zeroizing;

use crate::config::SecretRef;
use crate::vault::key::Secret;

/// No password is longer; a file that is was given by mistake.
const MAX_LEN: u64 = 64 << 10;

/// What a secret is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To look or to restore.
    Read,
    /// To change the vault.
    Write,
}

/// Whether a file that holds a secret may be readable for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedKey {
    /// Not when something is to be written.
    Refused,
    /// The operator said that it may.
    Allowed,
}

/// A secret cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file cannot be read.
    #[error("read the key file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others can read the file.
    #[error("use the key file {}: it {exposure}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Who else can.
        exposure: String,
    },
    /// It is no key file.
    #[error("use {} as a key file: it is too large for one", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The variable is not set.
    #[error("get a secret from the environment variable {0}: it is not set")]
    NotSet(String),
    /// There is no program.
    #[error("get a secret from a program: its command line is empty")]
    NoProgram,
    /// The program cannot be run.
    #[error("get a secret from the program {program:?}")]
    Start {
        /// The program, without its arguments.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program failed.
    #[error("get a secret from the program {program:?}: it ended with {status}")]
    Program {
        /// The program, without its arguments.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// There is nothing in it.
    #[error("use the secret from {0}: it is empty")]
    Empty(String),
    /// It is meant as text and is none.
    #[error("use the secret from {0}: it is not UTF-8")]
    NotText(String),
}

/// A secret, and what its owner should know about how it is kept.
#[derive(Debug)]
pub struct Obtained {
    /// The secret.
    pub secret: Secret,
    /// Others can read its file.
    pub warning: Option<String>,
}

/// Gets a secret.
pub fn obtain(source: &SecretRef, purpose: Purpose, shared: SharedKey) -> Result<Obtained, SecretError> {
    let obtained = match source {
        SecretRef::File(path) => from_file(path, purpose, shared)?,
        SecretRef::Env(name) => Obtained { secret: from_env(name)?, warning: None },
        SecretRef::Command(words) => Obtained { secret: from_command(words)?, warning: None },
    };
    if obtained.secret.is_empty() {
        return Err(SecretError::Empty(describe(source)));
    }
    Ok(obtained)
}

/// Gets a secret that is text.
pub(super) fn obtain_text(source: &SecretRef, shared: SharedKey) -> Result<Zeroizing<String>, SecretError> {
    let obtained = obtain(source, Purpose::Write, shared)?;
    let text = std::str::from_utf8(obtained.secret.expose()).map_err(|_| SecretError::NotText(describe(source)))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn describe(source: &SecretRef) -> String {
    match source {
        SecretRef::File(path) => path.display().to_string(),
        SecretRef::Command(words) => format!("the program {:?}", words.first().map_or("", String::as_str)),
        SecretRef::Env(name) => format!("the environment variable {name}"),
    }
}

fn from_file(path: &Path, purpose: Purpose, shared: SharedKey) -> Result<Obtained, SecretError> {
    let failed = |source: io::Error| SecretError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    // A pipe (`--key-file <(pass show vault)`) is as private as who wrote it.
    let exposure = exposure(meta.mode(), meta.uid(), rustix::process::geteuid().as_raw()).filter(|_| meta.is_file());
    let warning = match (exposure, purpose, shared) {
        (None, ..) => None,
        (Some(exposure), Purpose::Write, SharedKey::Refused) => {
            return Err(SecretError::Exposed { path: path.to_owned(), exposure });
        }
        (Some(exposure), Purpose::Read, _) | (Some(exposure), Purpose::Write, SharedKey::Allowed) => {
            Some(format!("the key file {} {exposure}", path.display()))
        }
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    file.take(MAX_LEN + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(SecretError::TooLarge { path: path.to_owned() });
    }
    Ok(Obtained { secret: Secret::from_file_bytes(&bytes), warning })
}

/// Who else can read a file of this mode and owner; `None` when only we (and root) can.
fn exposure(mode: u32, owner: u32, we: u32) -> Option<String> {
    let mode_text = format!("(mode {:04o})", mode & 0o7777);
    if mode & 0o007 != 0 {
        Some(format!("is open to everyone {mode_text}"))
    } else if mode & 0o070 != 0 {
        Some(format!("is open to its group {mode_text}"))
    } else if owner != we && owner != 0 {
        Some(format!("belongs to another user (number {owner})"))
    } else {
        None
    }
}

fn from_env(name: &str) -> Result<Secret, SecretError> {
    let value = std::env::var_os(name).ok_or_else(|| SecretError::NotSet(name.to_owned()))?;
    Ok(Secret::from_file_bytes(&Zeroizing::new(value.into_vec())))
}

/// The first line that the program prints. It may talk to the person at the terminal meanwhile.
fn from_command(words: &[String]) -> Result<Secret, SecretError> {
    let (program, arguments) = words.split_first().ok_or(SecretError::NoProgram)?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| SecretError::Start { program: program.clone(), source })?;
    let printed = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(SecretError::Program { program: program.clone(), status: output.status });
    }
    let first = printed.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(Secret::from_file_bytes(first))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn exposure_is_described_for_whom_it_is_open() {
        assert_eq!(exposure(0o100_600, 1000, 1000), None);
        assert_eq!(exposure(0o100_400, 0, 1000), None);
        assert!(exposure(0o100_600, 1000, 0).is_some_and(|text| text.contains("1000")));
        assert!(exposure(0o100_640, 1000, 1000).is_some_and(|text| text.contains("group")));
        assert!(exposure(0o100_604, 1000, 1000).is_some_and(|text| text.contains("everyone")));
        assert!(exposure(0o100_600, 1001, 1000).is_some_and(|text| text.contains("1001")));
    }

    #[test]
    fn an_open_file_is_refused_for_writing_and_a_warning_for_reading() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, "secret\n").expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("chmod");
        let source = SecretRef::File(path.clone());
        let refused = obtain(&source, Purpose::Write, SharedKey::Refused).expect_err("open to everyone");
        assert!(matches!(refused, SecretError::Exposed { .. }), "{refused}");
        for (purpose, shared) in [(Purpose::Write, SharedKey::Allowed), (Purpose::Read, SharedKey::Refused)] {
            let obtained = obtain(&source, purpose, shared).expect("read");
            assert_eq!(obtained.secret.expose(), b"secret");
            assert!(obtained.warning.is_some_and(|text| text.contains("everyone")));
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("chmod");
        assert_eq!(obtain(&source, Purpose::Write, SharedKey::Refused).expect("read").warning, None);
    }

    #[test]
    fn a_program_gives_its_first_line_and_says_how_it_failed() {
        let command = |words: &[&str]| SecretRef::Command(words.iter().map(|word| (*word).to_owned()).collect());
        let get = |source: &SecretRef| obtain(source, Purpose::Read, SharedKey::Refused);
        let obtained = get(&command(&["printf", "one\\ntwo\\n"])).expect("printed");
        assert_eq!(obtained.secret.expose(), b"one");
        assert!(matches!(get(&command(&["false", "hidden"])), Err(SecretError::Program { .. })));
        assert!(matches!(get(&command(&["/no/such/program"])), Err(SecretError::Start { .. })));
        assert!(matches!(get(&command(&[])), Err(SecretError::NoProgram)));
        assert!(matches!(get(&command(&["true"])), Err(SecretError::Empty(_))));
        assert!(matches!(get(&SecretRef::Env("DRCTL_NO_SUCH_VARIABLE".into())), Err(SecretError::NotSet(_))));
        let shown = get(&command(&["false", "hidden"])).expect_err("failed").to_string();
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
