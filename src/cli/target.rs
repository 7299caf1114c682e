//! Which vault is meant, how its store is reached, and where its key comes from.
//!
//! Flags win over the configuration, and the configuration over the environment's key: a key exported for one vault
//! must not be tried on another that the configuration knows the key of.

use std::ffi::OsString;
use std::path::PathBuf;

use super::args::global::Global;
use super::error::Failure;
use super::secret::{self, KeySource};
use crate::store::{Credentials, OpenOptions};

/// The vault that is meant.
#[derive(Debug)]
pub(crate) struct Target {
    /// Where it is.
    pub(crate) url: String,
    /// How its store is reached.
    pub(crate) store: OpenOptions,
    /// Where its key comes from.
    pub(crate) key: KeySource,
}

type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Finds out from flags and environment.
pub(crate) fn resolve(global: &Global) -> Result<Target, Failure> {
    resolve_with(global, &|name| std::env::var_os(name))
}

fn resolve_with(global: &Global, variables: Variables<'_>) -> Result<Target, Failure> {
    let named = match (&global.vault, set(variables, "DRCTL_VAULT")) {
        (Some(vault), _) => vault.clone(),
        (None, Some(vault)) => {
            vault.into_string().map_err(|_| Failure::usage("the environment variable DRCTL_VAULT is not UTF-8"))?
        }
        (None, None) => {
            return Err(Failure::usage("no vault was given")
                .hint("name one with --vault URL or in DRCTL_VAULT; `drctl init --vault URL` makes a new one"));
        }
    };
    if !is_address(&named) {
        return Err(Failure::usage(format!("there is no vault named {named:?}"))
            .hint(format!("if a folder is meant, write ./{named}")));
    }
    let key = match (key_of_flags(global)?, key_of_environment(variables)) {
        (Some(key), _) | (None, Some(key)) => key,
        (None, None) => KeySource::Ask,
    };
    Ok(Target { url: named, store: store_options(global), key })
}

/// An address or a path, rather than a name from the configuration.
fn is_address(text: &str) -> bool {
    text.contains('/') || text.starts_with('.') || text.contains("://")
}

fn key_of_flags(global: &Global) -> Result<Option<KeySource>, Failure> {
    if let Some(path) = &global.key_file {
        return Ok(Some(KeySource::File(path.clone())));
    }
    global.password_command.as_deref().map(|line| secret::split_command(line).map(KeySource::Command)).transpose()
}

fn key_of_environment(variables: Variables<'_>) -> Option<KeySource> {
    match set(variables, "DRCTL_KEY_FILE") {
        Some(path) => Some(KeySource::File(path.into())),
        None => set(variables, "DRCTL_KEY").map(|_| KeySource::Env("DRCTL_KEY".to_owned())),
    }
}

fn store_options(global: &Global) -> OpenOptions {
    let args = &global.store;
    OpenOptions {
        credentials: args.aws_profile.clone().map_or(Credentials::Environment, Credentials::Profile),
        region: args.s3_region.clone(),
        endpoint: args.s3_endpoint.clone(),
        path_style: args.s3_path_style,
        ca_file: args.ca_file.clone(),
        proxy: args.proxy.clone(),
        upload_limit: args.limit_upload.map(|rate| rate.0),
        download_limit: args.limit_download.map(|rate| rate.0),
        patience: args.give_up_after.map(crate::units::Span::duration),
    }
}

/// DRCTL_STATE_DIR, or the XDG state folder.
pub(crate) fn state_dir(variables: Variables<'_>) -> Option<PathBuf> {
    if let Some(folder) = set(variables, "DRCTL_STATE_DIR") {
        return Some(folder.into());
    }
    // The XDG standard has relative paths ignored.
    let absolute = |name| set(variables, name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(base.join("drctl"))
}

/// An environment variable, unless it is empty.
fn set(variables: Variables<'_>, name: &str) -> Option<OsString> {
    variables(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::Cli;
    use crate::cli::exit::Exit;

    fn target(line: &str, variables: &[(&str, &str)]) -> Result<Target, Failure> {
        let words = format!("drctl {line} snapshots");
        let cli = Cli::try_parse_from(shlex::split(&words).expect("words")).expect("a command line");
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(*value));
        resolve_with(&cli.global, &find)
    }

    #[test]
    fn flags_win_over_the_environment() {
        let variables = [("DRCTL_VAULT", "/srv/v"), ("DRCTL_KEY_FILE", "/k"), ("DRCTL_KEY", "")];
        let found = target("", &variables).expect("a vault");
        assert_eq!((found.url.as_str(), found.key), ("/srv/v", KeySource::File("/k".into())));
        let found = target("--vault ./w --password-command 'pass show w'", &variables).expect("a vault");
        assert_eq!(found.url, "./w");
        assert_eq!(found.key, KeySource::Command(["pass", "show", "w"].map(str::to_owned).to_vec()));
        let found = target("", &[("DRCTL_VAULT", "/v"), ("DRCTL_KEY", "s")]).expect("a vault");
        assert_eq!(found.key, KeySource::Env("DRCTL_KEY".into()));
        assert_eq!(target("--vault /v", &[]).expect("a vault").key, KeySource::Ask);
    }

    #[test]
    fn a_vault_is_asked_for_and_never_guessed() {
        let none = target("", &[("DRCTL_VAULT", "")]).expect_err("no vault");
        assert_eq!(none.exit(), Exit::Usage);
        assert!(none.report().hint.is_some_and(|hint| hint.contains("--vault")));
        let name = target("--vault primray", &[]).expect_err("no such name");
        assert!(name.report().hint.is_some_and(|hint| hint.contains("./primray")));
    }

    #[test]
    fn store_options_reach_the_store() {
        let line = "--vault s3://b/p --s3-region eu-central-1 --s3-endpoint https://s3.example --s3-path-style \
                    --aws-profile writer --limit-upload 10MiB";
        let store = target(line, &[]).expect("a vault").store;
        assert_eq!(store.region.as_deref(), Some("eu-central-1"));
        assert_eq!(store.path_style, Some(true));
        assert_eq!(store.upload_limit.map(|limit| limit.0), Some(10 << 20));
        assert!(matches!(store.credentials, Credentials::Profile(name) if name == "writer"));
    }

    #[test]
    fn state_goes_where_the_standard_says() {
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let table: [Row<'_>; 4] = [
            (&[("DRCTL_STATE_DIR", "/s"), ("HOME", "/h")], Some("/s")),
            (&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")], Some("/x/drctl")),
            (&[("XDG_STATE_HOME", "relative"), ("HOME", "/h")], Some("/h/.local/state/drctl")),
            (&[], None),
        ];
        for (variables, expected) in table {
            let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| OsString::from(*v));
            assert_eq!(state_dir(&find), expected.map(PathBuf::from));
        }
    }
}
