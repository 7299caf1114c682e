//! Which vault is meant, how its store is reached, and where its key comes from.
//!
//! Flags win over the configuration, and for a vault of the configuration that wins over the environment's key: a key
//! that is exported for one vault must not be tried on another. A configuration is read only when a vault is named
//! after one or none is given, so that a broken file never stands between a person and a vault's address.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::args::global::Global;
use super::error::Failure;
use super::output::Output;
use super::secret::{self, KeySource, Purpose, SharedKey};
use crate::config::{self, Config, CredentialsRef, SecretRef, VaultConfig};
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

/// Where a configuration is looked for when none is named.
const CONFIG_FILES: [&str; 2] = ["drctl.toml", "/etc/drctl/drctl.toml"];

type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Finds out from flags, environment and configuration.
pub(crate) fn resolve(global: &Global, out: Output) -> Result<Target, Failure> {
    resolve_with(global, out, &|name| std::env::var_os(name), &CONFIG_FILES.map(Path::new))
}

fn resolve_with(
    global: &Global,
    out: Output,
    variables: Variables<'_>,
    config_files: &[&Path],
) -> Result<Target, Failure> {
    let given = match (&global.vault, set(variables, "DRCTL_VAULT")) {
        (Some(vault), _) => Some(vault.clone()),
        (None, Some(vault)) => Some(text("DRCTL_VAULT", vault)?),
        (None, None) => None,
    };
    if let Some(url) = given.as_deref().filter(|given| is_address(given)) {
        let key = match (key_of_flags(global)?, key_of_environment(variables)) {
            (Some(key), _) | (None, Some(key)) => key,
            (None, None) => KeySource::Ask,
        };
        return Ok(Target { url: url.to_owned(), store: with_flags(OpenOptions::default(), global), key });
    }
    let config = load_config(global, variables, config_files)?;
    let vault = choose(given.as_deref(), config.as_ref())?;
    let key = match key_of_flags(global)? {
        Some(key) => key,
        None => (&vault.key).into(),
    };
    Ok(Target { url: vault.url.clone(), store: with_flags(configured(vault, out)?, global), key })
}

/// An address or a path, rather than a name from the configuration.
fn is_address(text: &str) -> bool {
    text.contains('/') || text.starts_with('.')
}

fn text(name: &str, value: OsString) -> Result<String, Failure> {
    value.into_string().map_err(|_| Failure::usage(format!("the environment variable {name} is not UTF-8")))
}

/// The configuration that is named, or else the first that is there.
fn load_config(global: &Global, variables: Variables<'_>, config_files: &[&Path]) -> Result<Option<Config>, Failure> {
    let named = global.config.clone().or_else(|| set(variables, "DRCTL_CONFIG").map(PathBuf::from));
    let found = named.or_else(|| config_files.iter().find(|file| file.exists()).map(PathBuf::from));
    found.map(|file| config::load(&file).map_err(Failure::config)).transpose()
}

/// The vault of that name; without a name, the only one.
fn choose<'a>(name: Option<&str>, config: Option<&'a Config>) -> Result<&'a VaultConfig, Failure> {
    let known: Vec<&str> = config.iter().flat_map(|config| config.vaults.keys().map(|name| name.as_str())).collect();
    let listed = known.join(", ");
    match (name, config) {
        (Some(name), Some(config)) => config.vaults.get(name).ok_or_else(|| {
            Failure::usage(format!("the configuration has no vault named {name:?}"))
                .hint(format!("it has {listed}; if a folder is meant, write ./{name}"))
        }),
        (Some(name), None) => {
            Err(Failure::usage(format!("there is no vault named {name:?}, for there is no drctl.toml"))
                .hint(format!("name the file with --config; if a folder is meant, write ./{name}")))
        }
        (None, Some(config)) if config.vaults.len() == 1 => {
            Ok(config.vaults.values().next().expect("the guard counted one"))
        }
        (None, Some(config)) if config.vaults.len() > 1 => {
            Err(Failure::usage("no vault was given, and the configuration has several")
                .hint(format!("choose one with --vault: {listed}")))
        }
        (None, _) => Err(Failure::usage("no vault was given")
            .hint("name one with --vault URL or in DRCTL_VAULT; `drctl init --vault URL` makes a new one")),
    }
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

impl From<&SecretRef> for KeySource {
    fn from(secret: &SecretRef) -> Self {
        match secret {
            SecretRef::File(path) => Self::File(path.clone()),
            SecretRef::Env(name) => Self::Env(name.clone()),
            SecretRef::Command(words) => Self::Command(words.clone()),
        }
    }
}

/// The store as the configuration has it.
fn configured(vault: &VaultConfig, out: Output) -> Result<OpenOptions, Failure> {
    Ok(OpenOptions {
        credentials: credentials(&vault.credentials, out)?,
        region: vault.region.clone(),
        endpoint: vault.endpoint.clone(),
        path_style: vault.path_style,
        ca_file: vault.ca_file.clone(),
        proxy: vault.proxy.clone(),
        upload_limit: vault.limits.upload.map(|rate| rate.0),
        download_limit: vault.limits.download.map(|rate| rate.0),
    })
}

fn credentials(from: &CredentialsRef, out: Output) -> Result<Credentials, Failure> {
    // Whoever may read these can be told by the file's mode; that nobody else may is asked of the vault's key alone.
    let get = |secret: &SecretRef| {
        let found = secret::obtain(&secret.into(), Purpose::Read, SharedKey::Allowed, out, "")?;
        let text = std::str::from_utf8(found.expose()).map(|text| Zeroizing::new(text.to_owned()));
        text.map_err(|_| Failure::usage("a credential of the vault's store is not UTF-8"))
    };
    match from {
        CredentialsRef::Environment => Ok(Credentials::Environment),
        CredentialsRef::Profile(name) => Ok(Credentials::Profile(name.clone())),
        CredentialsRef::Keys { access_key, secret_key, session_token } => Ok(Credentials::Keys {
            access_key_id: get(access_key)?.to_string(),
            secret_access_key: get(secret_key)?,
            session_token: session_token.as_ref().map(get).transpose()?,
        }),
    }
}

/// What flags say wins.
fn with_flags(options: OpenOptions, global: &Global) -> OpenOptions {
    let args = &global.store;
    OpenOptions {
        credentials: args.aws_profile.clone().map_or(options.credentials, Credentials::Profile),
        region: args.s3_region.clone().or(options.region),
        endpoint: args.s3_endpoint.clone().or(options.endpoint),
        path_style: args.s3_path_style.or(options.path_style),
        ca_file: args.ca_file.clone().or(options.ca_file),
        proxy: args.proxy.clone().or(options.proxy),
        upload_limit: args.limit_upload.map(|rate| rate.0).or(options.upload_limit),
        download_limit: args.limit_download.map(|rate| rate.0).or(options.download_limit),
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

    use super::super::args::Cli;
    use super::super::exit::Exit;
    use super::super::output::{Format, Talk};
    use super::*;

    fn target_in(line: &str, variables: &[(&str, &str)], files: &[&Path]) -> Result<Target, Failure> {
        let words = format!("drctl {line} snapshots");
        let cli = Cli::try_parse_from(shlex::split(&words).expect("words")).expect("a command line");
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(*value));
        resolve_with(&cli.global, Output::new(Format::Json, Talk::Quiet), &find, files)
    }

    fn target(line: &str, variables: &[(&str, &str)]) -> Result<Target, Failure> {
        target_in(line, variables, &[])
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
    fn names_come_from_the_configuration_with_their_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("drctl.toml");
        let write = |text: &str| std::fs::write(&file, text).expect("written");
        write("[vault.primary]\nurl = \"s3://b/p\"\nregion = \"r\"\nkey = { file = \"/etc/p.key\" }\n");
        let environment = [("DRCTL_KEY_FILE", "/other")];
        for line in ["", "--vault primary"] {
            let found = target_in(line, &environment, &[&file]).expect("the only vault");
            assert_eq!((found.url.as_str(), found.key), ("s3://b/p", KeySource::File("/etc/p.key".into())));
            assert_eq!(found.store.region.as_deref(), Some("r"));
        }
        let found = target_in("--vault primary --key-file /mine --s3-region q", &[], &[&file]).expect("a vault");
        assert_eq!(found.key, KeySource::File("/mine".into()));
        assert_eq!(found.store.region.as_deref(), Some("q"));

        write("[vault.a]\nurl = \"/a\"\nkey = { env = \"A\" }\n[vault.b]\nurl = \"/b\"\nkey = { env = \"B\" }\n");
        let several = target_in("", &[], &[&file]).expect_err("which?");
        assert!(several.report().hint.is_some_and(|hint| hint.contains("a, b")));

        write("[vault.a]\nurll = \"/a\"\n");
        let broken = target_in("--vault a", &[], &[&file]).expect_err("a typo");
        assert_eq!(broken.exit(), Exit::Usage);
        assert!(broken.report().details.concat().contains("urll"), "{broken:?}");
        assert!(target_in("--vault /direct", &[], &[&file]).is_ok(), "an address needs no configuration");
        assert!(target("--config /nowhere.toml", &[]).is_err_and(|failure| failure.exit() == Exit::Usage));
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
        type Given<'a> = &'a [(&'a str, &'a str)];
        let table: [(Given<'_>, Option<&str>); 4] = [
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
