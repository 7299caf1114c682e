//! A host of its own for one test: a service over a clock turned by hand, one source folder, vaults in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use drctl::backup::Threads;
use drctl::clock::{Calendar, Clock, Env, Seeded, SetClock};
use drctl::config;
use drctl::monitor::{Cancel, Silent};
use drctl::record::TimeKind;
use drctl::service::secret::SharedKey;
use drctl::service::{Service, Setup, Tick};
use drctl::store::Store;
use drctl::vault::key::{KdfCost, Secret};
use drctl::vault::settings::Sharing;
use drctl::vault::{CacheMode, InitOptions, Vault};
use jiff::Timestamp;
use tempfile::TempDir;

use crate::support::vaults::machine_clock;

/// What turns the clock.
enum Hand {
    /// It stands still until it is turned, and whoever sleeps turns it.
    Set(Arc<SetClock>),
    /// It goes on by itself, so that what takes time has it.
    Calendar(Arc<Calendar>),
}

pub(super) struct Host {
    root: TempDir,
    hand: Hand,
    env: Env,
    config: String,
    pub(super) service: Service,
}

impl Host {
    /// A host at `start`. In `config`, `ROOT` stands for the host's folder, and `memory://` vaults are its own. Each vault
    /// is made first.
    pub(super) async fn at(start: &str, config: &str) -> Self {
        let clock = Arc::new(SetClock::at(start.parse().unwrap()));
        Self::with(Hand::Set(clock.clone()), clock, config, Sharing::Shared).await
    }

    /// One whose clock goes on between two turns. `start` is in the future.
    pub(super) async fn on_a_calendar(start: &str, config: &str) -> Self {
        Self::on_a_calendar_with(start, config, Sharing::Shared).await
    }

    /// The same with vaults for drctl alone. Memory stamps packs with the machine's time, so in the future none is too young
    /// to be condemned.
    pub(super) async fn native(start: &str, config: &str) -> Self {
        Self::on_a_calendar_with(start, config, Sharing::Native).await
    }

    async fn on_a_calendar_with(start: &str, config: &str, sharing: Sharing) -> Self {
        let calendar = Arc::new(Calendar::over(machine_clock()));
        calendar.turn_to(start.parse().unwrap());
        Self::with(Hand::Calendar(calendar.clone()), calendar, config, sharing).await
    }

    async fn with(hand: Hand, clock: Arc<dyn Clock>, config: &str, sharing: Sharing) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("source")).unwrap();
        std::fs::write(root.path().join("source/file"), "first").unwrap();
        let key = root.path().join("key");
        std::fs::write(&key, "password\n").unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let name = root.path().file_name().unwrap().to_string_lossy().into_owned();
        let config = config
            .replace("memory://", &format!("memory://{name}-"))
            .replace("ROOT", &root.path().display().to_string())
            .replace("KEY", &format!("{{ file = {key:?} }}"));
        let env = Env { clock, random: Arc::new(Seeded::new(7)) };
        let parsed = config::parse(Path::new("/drctl.toml"), &config).unwrap_or_else(|error| panic!("{error}"));
        for vault in parsed.vaults.values() {
            let store = Store::open(&vault.url, &Default::default()).await.unwrap();
            let options = InitOptions { cost: KdfCost::Cheap, sharing, ..InitOptions::default() };
            Vault::init(store, &Secret::new(b"password"), &options, &env).await.unwrap();
        }
        let service = Self::open(root.path(), &config, &env);
        Self { root, hand, env, config, service }
    }

    fn open(root: &Path, config: &str, env: &Env) -> Service {
        let setup = Setup {
            config: config::parse(Path::new("/drctl.toml"), config).unwrap(),
            state: root.join("state"),
            host: "host-a".to_owned(),
            username: "me".to_owned(),
            time: TimeKind::Simulated,
            env: env.clone(),
            cache: CacheMode::Off,
            shared_key: SharedKey::Refused,
            threads: Threads::Inline,
        };
        Service::open(setup, Arc::new(Silent), Cancel::default()).unwrap()
    }

    /// The process ends and another one starts.
    pub(super) fn restart(&mut self) {
        self.service = Self::open(self.root.path(), &self.config, &self.env);
    }

    /// The operator changes the configuration and restarts the service.
    pub(super) fn reconfigure(&mut self, from: &str, to: &str) {
        assert!(self.config.contains(from), "{}", self.config);
        self.config = self.config.replace(from, to);
        self.restart();
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Turns the clock to this time.
    pub(super) fn turn_to(&self, when: &str) {
        let when: Timestamp = when.parse().unwrap();
        let span = when.duration_since(self.service.env().clock.now());
        let span = Duration::try_from(span).unwrap_or_else(|_| panic!("{when} is past"));
        match &self.hand {
            Hand::Set(clock) => clock.advance(span),
            Hand::Calendar(calendar) => calendar.turn_to(when),
        }
    }

    /// Turns the clock to this time and makes a round.
    pub(super) async fn tick_at(&self, when: &str) -> Tick {
        self.turn_to(when);
        Box::pin(self.service.tick()).await.unwrap()
    }

    pub(super) async fn vault(&self, name: &str) -> Vault {
        self.service.vaults().open(&name.parse().unwrap()).await.unwrap()
    }

    /// What the snapshots of a vault are tagged with, oldest first.
    pub(super) async fn tags(&self, vault: &str) -> Vec<(Timestamp, Vec<String>)> {
        let snapshots = self.vault(vault).await.snapshots().await.unwrap();
        assert!(snapshots.damaged.is_empty());
        snapshots.whole.into_iter().map(|file| (file.snapshot.time, file.snapshot.tags)).collect()
    }
}
