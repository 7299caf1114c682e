//! Which vault is meant, how its store is reached, and where its key comes from.
//!
//! Flags win over the configuration, and the configuration over the environment's key: a key exported for one vault
//! must not be tried on another that the configuration knows the key of.

use std::ffi::OsString;
use std::path::PathBuf;

use super::args::global::Global;
use super::error::Failure;
use super::secret::{self, KeySource, SharedKey};
use crate::config::{Config, SecretRef, VaultConfig, VaultName};
use crate::service::vaults::store_options as configured_options;
use crate::store::{Credentials, OpenOptions};

/// The vault that is meant.
#[derive(Debug)]
pub(crate) struct Target {
    /// Where it is.
    pub(crate) url: String,
    /// Its name in the configuration, where it has one.
    pub(crate) name: Option<VaultName>,
    /// How its store is reached.
    pub(crate) store: OpenOptions,
    /// Where its key comes from.
    pub(crate) key: KeySource,
}

impl Target {
    /// What records about it are filed under.
    pub(crate) fn label(&self) -> &str {
        self.name.as_ref().map_or(&self.url, VaultName::as_str)
    }
}

type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Finds out from flags, environment and configuration. `preferred` is the vault that is meant when none is given.
///
/// `config` is only an error when it is needed and cannot be used.
pub(crate) fn resolve(
    global: &Global,
    config: Result<Option<&Config>, Failure>,
    preferred: Option<&VaultName>,
) -> Result<Target, Failure> {
    resolve_with(global, config, preferred, &|name| std::env::var_os(name))
}

fn resolve_with(
    global: &Global,
    config: Result<Option<&Config>, Failure>,
    preferred: Option<&VaultName>,
    variables: Variables<'_>,
) -> Result<Target, Failure> {
    let given = match (&global.vault, set(variables, "DRCTL_VAULT")) {
        (Some(vault), _) => Some(vault.clone()),
        (None, Some(_)) if preferred.is_some() => None,
        (None, Some(vault)) => {
            Some(vault.into_string().map_err(|_| Failure::usage("the environment variable DRCTL_VAULT is not UTF-8"))?)
        }
        (None, None) => None,
    };
    let given = match given {
        Some(given) if is_address(&given) => return address(given, global, config.ok().flatten(), variables),
        given => given,
    };
    let config = config?;
    let known = || config.iter().flat_map(|config| config.vaults.keys()).map(ToString::to_string).collect::<Vec<_>>();
    let found = match (given.as_deref().or(preferred.map(VaultName::as_str)), config) {
        (Some(name), Some(config)) => config.vaults.get_key_value(name),
        (None, Some(config)) if config.vaults.len() == 1 => config.vaults.iter().next(),
        (Some(_) | None, _) => None,
    };
    match (found, given) {
        (Some((name, vault)), _) => named(name, vault, global),
        (None, Some(name)) => Err(Failure::usage(match config {
            Some(_) => {
                format!("there is no vault named {name:?} in the configuration, which has {}", known().join(", "))
            }
            None => format!("there is no vault named {name:?}, and no configuration that could name one"),
        })
        .hint(format!("if a folder is meant, write ./{name}"))),
        (None, None) if config.is_some_and(|config| config.vaults.len() > 1) => {
            Err(Failure::usage("no vault was given, and the configuration has several")
                .hint(format!("choose one with --vault: {}", known().join(", "))))
        }
        (None, None) => Err(Failure::usage("no vault was given")
            .hint("name one with --vault URL or in DRCTL_VAULT; `drctl init --vault URL` makes a new one")),
    }
}

/// A vault by its address. One that the configuration knows, too, goes by its name in records.
fn address(url: String, global: &Global, config: Option<&Config>, variables: Variables<'_>) -> Result<Target, Failure> {
    let key = match (key_of_flags(global)?, key_of_environment(variables)) {
        (Some(key), _) | (None, Some(key)) => key,
        (None, None) => KeySource::Ask,
    };
    let same = |(_, vault): &(&VaultName, &VaultConfig)| vault.url.trim_end_matches('/') == url.trim_end_matches('/');
    let name = config.and_then(|config| config.vaults.iter().find(same)).map(|(name, _)| name.clone());
    Ok(Target { url, name, store: store_options(global, OpenOptions::default()), key })
}

/// A vault of the configuration.
fn named(name: &VaultName, vault: &VaultConfig, global: &Global) -> Result<Target, Failure> {
    let shared = if global.allow_shared_key { SharedKey::Allowed } else { SharedKey::Refused };
    let options = configured_options(vault, shared).map_err(Failure::of)?;
    let key = key_of_flags(global)?.unwrap_or_else(|| KeySource::From(vault.key.clone()));
    Ok(Target { url: vault.url.clone(), name: Some(name.clone()), store: store_options(global, options), key })
}

/// An address or a path, rather than a name from the configuration.
fn is_address(text: &str) -> bool {
    text.contains('/') || text.starts_with('.') || text.contains("://")
}

fn key_of_flags(global: &Global) -> Result<Option<KeySource>, Failure> {
    if let Some(path) = &global.key_file {
        return Ok(Some(KeySource::From(SecretRef::File(path.clone()))));
    }
    let command = global.password_command.as_deref().map(secret::split_command).transpose()?;
    Ok(command.map(|words| KeySource::From(SecretRef::Command(words))))
}

fn key_of_environment(variables: Variables<'_>) -> Option<KeySource> {
    match set(variables, "DRCTL_KEY_FILE") {
        Some(path) => Some(KeySource::From(SecretRef::File(path.into()))),
        None => set(variables, "DRCTL_KEY").map(|_| KeySource::From(SecretRef::Env("DRCTL_KEY".to_owned()))),
    }
}

/// `base`, with what the flags say.
fn store_options(global: &Global, base: OpenOptions) -> OpenOptions {
    let args = &global.store;
    OpenOptions {
        credentials: args.aws_profile.clone().map_or(base.credentials, Credentials::Profile),
        region: args.s3_region.clone().or(base.region),
        endpoint: args.s3_endpoint.clone().or(base.endpoint),
        path_style: args.s3_path_style.or(base.path_style),
        ca_file: args.ca_file.clone().or(base.ca_file),
        proxy: args.proxy.clone().or(base.proxy),
        upload_limit: args.limit_upload.map(|rate| rate.0).or(base.upload_limit),
        download_limit: args.limit_download.map(|rate| rate.0).or(base.download_limit),
        patience: args.give_up_after.map(crate::units::Span::duration).or(base.patience),
    }
}

/// Where the configuration may be, the nearest first.
pub(crate) fn config_places(variables: Variables<'_>) -> Vec<PathBuf> {
    let absolute = |name| set(variables, name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    let own = home.map(|home| home.join("drctl").join("drctl.toml"));
    [Some(PathBuf::from("drctl.toml")), own, Some("/etc/drctl/drctl.toml".into())].into_iter().flatten().collect()
}

/// The configuration that the environment names.
pub(crate) fn config_of_environment(variables: Variables<'_>) -> Option<PathBuf> {
    set(variables, "DRCTL_CONFIG").map(PathBuf::from)
}

/// DRCTL_STATE_DIR.
pub(crate) fn state_of_environment(variables: Variables<'_>) -> Option<PathBuf> {
    set(variables, "DRCTL_STATE_DIR").map(PathBuf::from)
}

/// The folder for state by the XDG standard.
pub(crate) fn xdg_state(variables: Variables<'_>) -> Option<PathBuf> {
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
        resolve_with(&cli.global, Ok(None), None, &find)
    }

    #[test]
    fn flags_win_over_the_environment() {
        let variables = [("DRCTL_VAULT", "/srv/v"), ("DRCTL_KEY_FILE", "/k"), ("DRCTL_KEY", "")];
        let found = target("", &variables).expect("a vault");
        assert_eq!((found.url.as_str(), found.key), ("/srv/v", KeySource::From(SecretRef::File("/k".into()))));
        let found = target("--vault ./w --password-command 'pass show w'", &variables).expect("a vault");
        assert_eq!(found.url, "./w");
        assert_eq!(found.key, KeySource::From(SecretRef::Command(["pass", "show", "w"].map(str::to_owned).to_vec())));
        let found = target("", &[("DRCTL_VAULT", "/v"), ("DRCTL_KEY", "s")]).expect("a vault");
        assert_eq!(found.key, KeySource::From(SecretRef::Env("DRCTL_KEY".into())));
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
        let table: [Row<'_>; 3] = [
            (&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")], Some("/x/drctl")),
            (&[("XDG_STATE_HOME", "relative"), ("HOME", "/h")], Some("/h/.local/state/drctl")),
            (&[], None),
        ];
        for (variables, expected) in table {
            let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| OsString::from(*v));
            assert_eq!(xdg_state(&find), expected.map(PathBuf::from));
        }
    }

    #[test]
    fn a_configured_vault_brings_its_own_key_and_store() {
        let text = r#"
            [vault.primary]
            url = "s3://b/p"
            region = "eu"
            key = { file = "/etc/k" }
            [vault.dr]
            url = "/mnt/dr"
            key = { env = "DR" }
        "#;
        let config = crate::config::parse(std::path::Path::new("/c/drctl.toml"), text).expect("a configuration");
        let target = |line: &str, preferred: Option<&str>| {
            let cli = Cli::try_parse_from(shlex::split(&format!("drctl {line} snapshots")).expect("words"));
            let preferred = preferred.map(|name| name.parse().expect("a name"));
            let variables = |name: &str| (name == "DRCTL_KEY_FILE").then(|| OsString::from("/env"));
            resolve_with(&cli.expect("a command line").global, Ok(Some(&config)), preferred.as_ref(), &variables)
        };
        let primary = target("--vault primary --s3-region us", None).expect("named");
        assert_eq!((primary.label(), primary.store.region.as_deref()), ("primary", Some("us")));
        assert_eq!(primary.key, KeySource::From(SecretRef::File("/etc/k".into())));
        assert_eq!(target("", Some("dr")).expect("preferred").url, "/mnt/dr");
        let by_address = target("--vault /mnt/dr/", None).expect("an address");
        assert_eq!(by_address.label(), "dr");
        assert_eq!(by_address.key, KeySource::From(SecretRef::File("/env".into())));
        let unknown = target("--vault primray", None).expect_err("unknown");
        assert!(unknown.report().message.contains("primary"), "{}", unknown.report());
        assert!(target("", None).expect_err("two").report().hint.is_some_and(|hint| hint.contains("dr, primary")));
    }
}
