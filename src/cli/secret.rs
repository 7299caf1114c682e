//! Gets a vault's password: from a file, a program, the environment, or the person at the terminal.
//!
//! A password is never an argument, is never printed, and is wiped from memory after use. A key file that others can
//! read is refused where something is written, since everything written relies on it from then on; for reading there
//! is a warning, because a restore at night must not fail over a file mode.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::error::Failure;
use super::exit::Exit;
use super::output::Output;
use crate::clock::Env;
use crate::vault::key::Secret;

/// No password is longer; a file that is was given by mistake.
const MAX_LEN: u64 = 64 << 10;

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// The first thing in this file.
    File(PathBuf),
    /// What this program prints.
    Command(Vec<String>),
    /// This environment variable.
    Env(String),
    /// The person at the terminal.
    Ask,
}

/// What the password is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To look or to restore.
    Read,
    /// To change the vault.
    Write,
}

/// Whether a key file may be readable for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SharedKey {
    /// Not when something is to be written.
    Refused,
    /// The user said that it may.
    Allowed,
}

/// Gets the password; `prompt` is shown when a person is asked.
pub(crate) fn obtain(
    source: &KeySource,
    purpose: Purpose,
    shared: SharedKey,
    out: Output,
    prompt: &str,
) -> Result<Secret, Failure> {
    let secret = match source {
        KeySource::File(path) => from_file(path, purpose, shared, out)?,
        KeySource::Command(words) => from_command(words)?,
        KeySource::Env(name) => from_env(name)?,
        KeySource::Ask => ask(prompt)?,
    };
    if secret.is_empty() {
        return Err(Failure::usage(format!("the password from {} is empty", describe(source))));
    }
    Ok(secret)
}

/// Asks for a new password twice.
pub(crate) fn ask_new() -> Result<Secret, Failure> {
    let first = ask("New password for the vault: ")?;
    if first.is_empty() {
        return Err(Failure::usage("an empty password protects nothing"));
    }
    let second = ask("The same again: ")?;
    if first.expose() != second.expose() {
        return Err(Failure::usage("the two passwords differ; nothing was changed"));
    }
    Ok(first)
}

fn describe(source: &KeySource) -> String {
    match source {
        KeySource::File(path) => path.display().to_string(),
        KeySource::Command(words) => format!("the program {:?}", words.first().map_or("", String::as_str)),
        KeySource::Env(name) => format!("the environment variable {name}"),
        KeySource::Ask => "the terminal".to_owned(),
    }
}

fn from_file(path: &Path, purpose: Purpose, shared: SharedKey, out: Output) -> Result<Secret, Failure> {
    let failed = |error: io::Error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let failure = Failure::because(format!("failed to read the key file {}", path.display()), error);
        if missing { failure.exits(Exit::Usage).hint("give the right one with --key-file FILE") } else { failure }
    };
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    // A pipe (`--key-file <(pass show vault)`) is as private as who wrote it.
    if meta.is_file()
        && let Some(exposure) = exposure(meta.mode(), meta.uid(), rustix::process::geteuid().as_raw())
    {
        let what = format!("the key file {} {exposure}", path.display());
        match (purpose, shared) {
            (Purpose::Write, SharedKey::Refused) => {
                return Err(Failure::usage(what).hint(format!(
                    "chmod 600 {0} and chown it to you, or allow it with --allow-shared-key",
                    path.display()
                )));
            }
            (Purpose::Read, _) | (Purpose::Write, SharedKey::Allowed) => out.warn(&what),
        }
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    file.take(MAX_LEN + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(Failure::usage(format!("{} is too large for a key file", path.display())));
    }
    Ok(Secret::from_file_bytes(&bytes))
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

fn from_command(words: &[String]) -> Result<Secret, Failure> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(Failure::usage("the password command is empty"));
    };
    let what = || format!("failed to get the password from the program {program:?}");
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::because(what(), error).exits(Exit::Usage))?;
    let printed = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(Failure::plain(format!("{}: it ended with {}", what(), output.status)));
    }
    let first = printed.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(Secret::from_file_bytes(first))
}

/// Splits a command line into words as a shell would, without running one.
pub(crate) fn split_command(line: &str) -> Result<Vec<String>, Failure> {
    shlex::split(line).filter(|words| !words.is_empty()).ok_or_else(|| {
        Failure::usage(format!("cannot split {line:?} into words: a quote is not closed, or it is empty"))
    })
}

fn from_env(name: &str) -> Result<Secret, Failure> {
    match std::env::var_os(name) {
        Some(value) => {
            let value = Zeroizing::new(std::os::unix::ffi::OsStringExt::into_vec(value));
            Ok(Secret::from_file_bytes(&value))
        }
        None => {
            Err(Failure::usage(format!("the environment variable {name}, which should hold the password, is not set")))
        }
    }
}

fn ask(prompt: &str) -> Result<Secret, Failure> {
    match rpassword::prompt_password(prompt) {
        Ok(typed) => Ok(Secret::new(Zeroizing::new(typed).as_bytes())),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Failure::interrupted()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Failure::usage("no password was typed")),
        Err(_) => Err(Failure::usage("there is no password, and no terminal to ask at")
            .hint("use --key-file FILE or --password-command, or set DRCTL_KEY_FILE")),
    }
}

/// Makes a password that nobody guesses: 160 bits, in groups that can be copied from paper.
pub(crate) fn generate(env: &Env) -> Secret {
    // Crockford's alphabet: no letter that looks like a digit.
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let bytes = Zeroizing::new(env.random_bytes::<32>());
    let mut text = Zeroizing::new(Vec::with_capacity(40));
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 && at % 4 == 0 {
            text.push(b'-');
        }
        text.push(ALPHABET[usize::from(byte & 31)]);
    }
    Secret::new(text.as_slice())
}

/// Writes a new key file that only we can read. Durable when it returns; what is there already is left alone.
pub(crate) fn write_key_file(path: &Path, secret: &Secret) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let there = error.kind() == io::ErrorKind::AlreadyExists;
        let failure = Failure::because(format!("failed to make the key file {}", path.display()), error);
        if there { failure.hint("to use the key in it, give it with --key-file instead") } else { failure }
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(secret.expose()).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    // The name must survive a crash as well: a vault whose key is lost is lost.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::output::{Format, Talk};
    use super::*;
    use crate::cli::env;

    fn quiet() -> Output {
        Output::new(Format::Human, Talk::Quiet)
    }

    fn key_file(mode: u32) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(b"\xef\xbb\xbfsecret \n").expect("written");
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).expect("its mode");
        file
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused_for_writers_only() {
        for (mode, refused) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o666, true)] {
            let file = key_file(mode);
            let get = |purpose, shared| {
                obtain(&KeySource::File(file.path().into()), purpose, shared, quiet(), "").map(|s| s.expose().to_vec())
            };
            let secret = b"secret".to_vec();
            let written = get(Purpose::Write, SharedKey::Refused);
            assert_eq!(written.is_err(), refused, "{mode:o}");
            if let Err(failure) = written {
                assert_eq!(failure.exit(), Exit::Usage);
                assert!(failure.report().hint.is_some_and(|hint| hint.contains("--allow-shared-key")));
            }
            assert_eq!(get(Purpose::Write, SharedKey::Allowed).ok(), Some(secret.clone()), "{mode:o}");
            assert_eq!(get(Purpose::Read, SharedKey::Refused).ok(), Some(secret), "{mode:o}");
        }
    }

    #[test]
    fn an_owner_who_is_neither_we_nor_root_can_read_it_too() {
        assert_eq!(exposure(0o100_600, 1000, 1000), None);
        assert_eq!(exposure(0o100_600, 0, 1000), None);
        assert!(exposure(0o100_600, 1000, 0).is_some_and(|text| text.contains("1000")));
    }

    #[test]
    fn commands_are_split_but_not_run_by_a_shell() {
        let words = split_command("printf '%s\\n' \"a b\" $HOME;id").ok();
        assert_eq!(words, Some(["printf", "%s\\n", "a b", "$HOME;id"].map(str::to_owned).to_vec()));
        assert!(split_command("echo 'open").is_err());
        assert!(split_command("  ").is_err());
    }

    #[test]
    fn a_program_gives_the_first_line_it_prints() {
        let run = |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            obtain(&KeySource::Command(words), Purpose::Write, SharedKey::Refused, quiet(), "")
        };
        assert_eq!(run(&["printf", "one\\ntwo\\n"]).map(|s| s.expose().to_vec()).ok(), Some(b"one".to_vec()));
        assert!(run(&["false"]).is_err_and(|failure| failure.report().to_string().contains("exit status: 1")));
        assert!(run(&["drctl-no-such-program"]).is_err_and(|failure| failure.exit() == Exit::Usage));
        assert!(run(&["true"]).is_err_and(|failure| failure.report().message.contains("empty")));
    }

    #[test]
    fn a_generated_key_is_kept_in_a_file_of_our_own() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("vault.key");
        let secret = generate(&env::real());
        assert_eq!(secret.expose().len(), 39);
        assert_ne!(secret.expose(), generate(&env::real()).expose());
        write_key_file(&path, &secret).expect("written");
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o7777, 0o600);
        let read = obtain(&KeySource::File(path.clone()), Purpose::Write, SharedKey::Refused, quiet(), "");
        assert_eq!(read.expect("readable").expose(), secret.expose());
        assert!(write_key_file(&path, &secret).is_err(), "an existing key must never be overwritten");
    }
}
