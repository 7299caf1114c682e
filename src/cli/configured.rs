//! Finds the configuration and reads it once.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::args::global::Global;
use super::error::Failure;
use super::target;
use crate::config::{self, Config, ConfigError, Finding};

/// The configuration, read when it is first asked for.
#[derive(Debug, Default)]
pub(crate) struct Configured(OnceLock<Result<Option<Config>, ConfigError>>);

impl Configured {
    /// What was configured. `None`: there is no configuration, and none was named.
    pub(crate) fn get(&self, global: &Global) -> Result<Option<&Config>, Failure> {
        let loaded = self.0.get_or_init(|| place(global).map(|path| config::load(&path)).transpose());
        loaded.as_ref().map(Option::as_ref).map_err(failure)
    }
}

/// The file that is read.
pub(crate) fn place(global: &Global) -> Option<PathBuf> {
    let variables = |name: &str| std::env::var_os(name);
    let named = global.config.clone().or_else(|| target::config_of_environment(&variables));
    named.or_else(|| target::config_places(&variables).into_iter().find(|path| Path::exists(path)))
}

/// Why it cannot be used, with every finding.
fn failure(error: &ConfigError) -> Failure {
    match error {
        ConfigError::Read { path, source } => {
            Failure::usage(format!("failed to read the configuration file {}: {source}", path.display()))
        }
        ConfigError::Refused { findings } => refused(findings),
    }
}

/// The configuration was read and must not be used.
pub(crate) fn refused(findings: &[Finding]) -> Failure {
    match findings {
        [only] => {
            let place = only.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
            Failure::usage(format!("the configuration cannot be used: {place}{}", only.what)).hint(only.fix.clone())
        }
        several => Failure::usage(format!("the configuration cannot be used: {} things are wrong", several.len()))
            .details(several.iter().map(ToString::to_string).collect()),
    }
}
