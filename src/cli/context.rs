//! What every command needs: the options that all share, the machine, the output, and the vault that is meant.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Zoned;
use jiff::tz::TimeZone;

use super::args::global::Global;
use super::configured::Configured;
use super::error::Failure;
use super::output::Output;
use super::progress::Bar;
use super::secret::{self, KeySource, Purpose, SharedKey};
use super::stop::Stop;
use super::target::{self, Target};
use crate::clock::Env;
use crate::config::{Config, VaultName};
use crate::monitor::Monitor;
use crate::store::Store;
use crate::vault::index::Index;
use crate::vault::key::Secret;
use crate::vault::layout;
use crate::vault::{CacheMode, OpenOptions, Vault, VaultError};

/// How often a password that was typed may be wrong.
const TRIES: usize = 3;

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Context {
    /// The options that all commands share.
    pub(crate) global: Global,
    /// Where results, notes and errors go.
    pub(crate) out: Output,
    /// The machine.
    pub(crate) env: Env,
    /// Whether the user asked to stop.
    pub(crate) stop: Stop,
    /// What was configured, once it was asked for.
    pub(crate) config: Configured,
}

impl Context {
    /// Shows what an operation says.
    pub(crate) fn bar(&self) -> Bar {
        Bar::new(self.out, &self.env)
    }

    /// The present, in the user's zone.
    pub(crate) fn now(&self) -> Zoned {
        self.env.clock.now().to_zoned(TimeZone::system())
    }

    /// How long to wait for a lock that someone else holds.
    pub(crate) fn lock_wait(&self) -> Duration {
        self.global.retry_lock.map_or(Duration::ZERO, crate::units::Span::duration)
    }

    /// The vault that the options, the environment or the configuration name.
    pub(crate) fn target(&self) -> Result<Target, Failure> {
        self.target_of(None)
    }

    /// The vault that the options name, else `preferred`.
    pub(crate) fn target_of(&self, preferred: Option<&VaultName>) -> Result<Target, Failure> {
        target::resolve(&self.global, self.config(), preferred)
    }

    /// What was configured, where there is a configuration.
    pub(crate) fn config(&self) -> Result<Option<&Config>, Failure> {
        self.config.get(&self.global)
    }

    /// A handle on the store of that vault; nothing is read yet.
    pub(crate) async fn store(&self, target: &Target) -> Result<Store, Failure> {
        Store::open(&target.url, &target.store).await.map_err(Failure::of)
    }

    /// Opens the vault.
    pub(crate) async fn open(&self, purpose: Purpose) -> Result<Vault, Failure> {
        let target = self.target()?;
        self.open_target(&target, purpose).await
    }

    /// Opens this vault.
    pub(crate) async fn open_target(&self, target: &Target, purpose: Purpose) -> Result<Vault, Failure> {
        self.open_with(target, purpose, self.cache()).await
    }

    /// Opens this vault without any local copy of it.
    pub(crate) async fn open_uncached(&self, target: &Target, purpose: Purpose) -> Result<Vault, Failure> {
        self.open_with(target, purpose, CacheMode::Off).await
    }

    async fn open_with(&self, target: &Target, purpose: Purpose, cache: CacheMode) -> Result<Vault, Failure> {
        let store = self.store(target).await?;
        let options = OpenOptions { cache };
        if target.key == KeySource::Ask && !has_vault(&store).await? {
            // Nobody should type a password for a vault that is not there.
            return Err(Failure::of(VaultError::NoVault { url: store.url().to_owned() }));
        }
        let mut tries = if target.key == KeySource::Ask { TRIES } else { 1 };
        loop {
            let password = self.password(target, purpose)?;
            tries -= 1;
            match Vault::open(store.clone(), &password, &options, &self.env).await {
                Ok(vault) => return Ok(vault),
                Err(VaultError::WrongKey { .. }) if tries > 0 => self.out.warn("that is not the password; try again"),
                Err(error) => return Err(Failure::of(error)),
            }
        }
    }

    /// Loads the vault's index.
    pub(crate) async fn index(&self, vault: &Vault) -> Result<Index, Failure> {
        let bar = self.bar();
        bar.stage("load the index");
        vault.load_index(&bar).await.map_err(Failure::of)
    }

    /// The password of that vault.
    pub(crate) fn password(&self, target: &Target, purpose: Purpose) -> Result<Secret, Failure> {
        let prompt = format!("Password for {}: ", super::escape::text(&target.url));
        secret::obtain(&target.key, purpose, self.shared_key(), self.out, &prompt)
    }

    /// Whether a key file may be readable for others.
    pub(crate) fn shared_key(&self) -> SharedKey {
        if self.global.allow_shared_key { SharedKey::Allowed } else { SharedKey::Refused }
    }

    /// Where index and trees are kept.
    pub(crate) fn cache(&self) -> CacheMode {
        if self.global.no_cache {
            return CacheMode::Off;
        }
        match self.global.cache_dir.clone().or_else(|| Some(self.state_dir()?.join("cache"))) {
            Some(folder) => CacheMode::At(folder),
            None => {
                self.out.note("no home directory, so nothing is cached; name a folder with --cache-dir");
                CacheMode::Off
            }
        }
    }

    /// Where catalog, caches and journals are kept; `None` when neither option nor environment tells.
    pub(crate) fn state_dir(&self) -> Option<PathBuf> {
        let variables = |name: &str| std::env::var_os(name);
        let given = self.global.state_dir.clone().or_else(|| target::state_of_environment(&variables));
        // A configuration that cannot be used is an error where it is needed, which is not here.
        let configured = || self.config().ok().flatten()?.state_dir.clone();
        given.or_else(configured).or_else(|| target::xdg_state(&variables))
    }
}

/// Whether a vault is there at all.
pub(crate) async fn has_vault(store: &Store) -> Result<bool, Failure> {
    Ok(store.size(layout::CONFIG).await.map_err(Failure::of)?.is_some())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::Cli;
    use super::super::env;
    use super::super::output::{Format, Talk};
    use super::*;

    fn context(options: &[&str]) -> Context {
        let words = ["drctl", "snapshots"].iter().chain(options);
        let cli = Cli::try_parse_from(words).expect("a command line");
        let out = Output::new(Format::Json, Talk::Quiet);
        let stop = Stop::listen(out).expect("signals can be listened to");
        Context { global: cli.global, out, env: env::real(), stop, config: Configured::default() }
    }

    #[tokio::test]
    async fn a_locked_vault_is_waited_for_only_when_asked() {
        assert_eq!(context(&[]).lock_wait(), Duration::ZERO);
        assert_eq!(context(&["--retry-lock", "1m30s"]).lock_wait(), Duration::from_secs(90));
    }

    #[tokio::test]
    async fn the_cache_is_where_it_was_put() {
        assert_eq!(context(&["--no-cache"]).cache(), CacheMode::Off);
        assert_eq!(context(&["--cache-dir", "/c"]).cache(), CacheMode::At("/c".into()));
        assert_eq!(context(&["--state-dir", "/s"]).cache(), CacheMode::At("/s/cache".into()));
    }
}
