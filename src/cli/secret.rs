//! Gets a vault's password: from where the options or the configuration say, or from the person at the terminal.
//!
//! How a file, a variable or a program is read is the service's knowledge ([`crate::service::secret`]); asking, making and
//! writing down new passwords is ours.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::error::Failure;
use super::output::Output;
use crate::clock::Env;
use crate::config::SecretRef;
use crate::service::secret as source;
pub(crate) use crate::service::secret::{Purpose, SharedKey};
use crate::vault::key::Secret;

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// A file, a variable or a program.
    From(SecretRef),
    /// The person at the terminal.
    Ask,
}

/// Gets the password; `prompt` is shown when a person is asked.
pub(crate) fn obtain(
    from: &KeySource,
    purpose: Purpose,
    shared: SharedKey,
    out: Output,
    prompt: &str,
) -> Result<Secret, Failure> {
    match from {
        KeySource::From(from) => {
            let obtained = source::obtain(from, purpose, shared).map_err(Failure::of)?;
            if let Some(warning) = obtained.warning {
                out.warn(&warning);
            }
            Ok(obtained.secret)
        }
        KeySource::Ask => {
            let typed = ask(prompt, "use --key-file FILE or --password-command, or set DRCTL_KEY_FILE")?;
            if typed.is_empty() { Err(Failure::usage("the password that was typed is empty")) } else { Ok(typed) }
        }
    }
}

/// Asks for a new password twice; `otherwise` is how to give one without a terminal.
pub(crate) fn ask_new(otherwise: &str) -> Result<Secret, Failure> {
    let first = ask("New password for the vault: ", otherwise)?;
    if first.is_empty() {
        return Err(Failure::usage("an empty password protects nothing"));
    }
    let second = ask("The same again: ", otherwise)?;
    if first.expose() != second.expose() {
        return Err(Failure::usage("the two passwords differ; nothing was changed"));
    }
    Ok(first)
}

/// Splits a command line into words as a shell would, without running one.
pub(crate) fn split_command(line: &str) -> Result<Vec<String>, Failure> {
    shlex::split(line).filter(|words| !words.is_empty()).ok_or_else(|| {
        Failure::usage(format!("cannot split {line:?} into words: a quote is not closed, or it is empty"))
    })
}

fn ask(prompt: &str, otherwise: &str) -> Result<Secret, Failure> {
    match rpassword::prompt_password(prompt) {
        Ok(typed) => Ok(Secret::new(Zeroizing::new(typed).as_bytes())),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Failure::interrupted()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Failure::usage("no password was typed")),
        Err(_) => Err(Failure::usage("there is no password, and no terminal to ask at").hint(otherwise)),
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
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::super::output::{Format, Talk};
    use super::*;
    use crate::cli::env;
    use crate::cli::exit::Exit;

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
                obtain(&KeySource::From(SecretRef::File(file.path().into())), purpose, shared, quiet(), "")
                    .map(|s| s.expose().to_vec())
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
            obtain(&KeySource::From(SecretRef::Command(words)), Purpose::Write, SharedKey::Refused, quiet(), "")
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
        let read =
            obtain(&KeySource::From(SecretRef::File(path.clone())), Purpose::Write, SharedKey::Refused, quiet(), "");
        assert_eq!(read.expect("readable").expose(), secret.expose());
        assert!(write_key_file(&path, &secret).is_err(), "an existing key must never be overwritten");
    }
}
