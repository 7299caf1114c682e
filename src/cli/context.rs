//! What every command needs: the options that all share, the machine, the output, and the vault that is meant.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Zoned;
use jiff::tz::TimeZone;

use super::args::global::Global;
use super::error::Failure;
use super::output::Output;
use super::progress::Bar;
use super::secret::{self, KeySource, Purpose, SharedKey};
use super::stop::Stop;
use super::target::{self, Target};
use crate::clock::Env;
use crate::store::Store;
use crate::vault::key::Secret;
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
    #[cfg_attr(not(test), expect(dead_code, reason = "for commands that take locks; none is registered yet"))]
    pub(crate) fn lock_wait(&self) -> Duration {
        self.global.retry_lock.map_or(Duration::ZERO, crate::units::Span::duration)
    }

    /// The vault that the options, the environment or the configuration name.
    pub(crate) fn target(&self) -> Result<Target, Failure> {
        target::resolve(&self.global)
    }

    /// A handle on the store of that vault; nothing is read yet.
    pub(crate) async fn store(&self, target: &Target) -> Result<Store, Failure> {
        Store::open(&target.url, &target.store)
            .await
            .map_err(|error| Failure::because("failed to open the vault's store", error))
    }

    /// Opens the vault.
    pub(crate) async fn open(&self, purpose: Purpose) -> Result<Vault, Failure> {
        let target = self.target()?;
        let store = self.store(&target).await?;
        let options = OpenOptions { cache: self.cache() };
        let mut tries = if target.key == KeySource::Ask { TRIES } else { 1 };
        loop {
            let password = self.password(&target, purpose)?;
            tries -= 1;
            match Vault::open(store.clone(), &password, &options, &self.env).await {
                Ok(vault) => return Ok(vault),
                Err(VaultError::WrongKey { .. }) if tries > 0 => self.out.warn("that is not the password; try again"),
                Err(error) => return Err(Failure::because("failed to open the vault", error)),
            }
        }
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

    fn cache(&self) -> CacheMode {
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
        self.global.state_dir.clone().or_else(|| target::state_dir(&|name| std::env::var_os(name)))
    }
}
