//! Options that every command takes.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::store::MAX_PATIENCE;
use crate::units::{Rate, Span};

/// Options that every command takes, before or behind its name.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The vault: an address (s3://bucket/prefix, file:///path), a path with a slash in it (/mnt/vault, ./vault), or the name of a vault in the configuration file [env: DRCTL_VAULT]
    #[arg(long, global = true, value_name = "URL|NAME", help_heading = VAULT)]
    pub(crate) vault: Option<String>,
    /// Read the vault's password from this file [env: DRCTL_KEY_FILE; DRCTL_KEY holds the password itself]
    #[arg(long, global = true, value_name = "FILE", help_heading = VAULT, conflicts_with = "password_command")]
    pub(crate) key_file: Option<PathBuf>,
    /// Take the first line that this program prints as the password; split into words like a shell would, run without one
    #[arg(long, global = true, value_name = "COMMAND", help_heading = VAULT)]
    pub(crate) password_command: Option<String>,
    /// Take a key file that others can read, even for writing
    #[arg(long, global = true, help_heading = VAULT, hide_short_help = true)]
    pub(crate) allow_shared_key: bool,
    /// Read vaults and plans from this file [env: DRCTL_CONFIG; otherwise the first that is there of ./drctl.toml, $XDG_CONFIG_HOME/drctl/drctl.toml, /etc/drctl/drctl.toml]
    #[arg(long, global = true, value_name = "FILE", help_heading = VAULT)]
    pub(crate) config: Option<PathBuf>,

    /// Print one JSON document on standard output; progress and errors as JSON lines on standard error
    #[arg(long, global = true, help_heading = GENERAL)]
    pub(crate) json: bool,
    /// Print results, warnings and errors only
    #[arg(short, long, global = true, help_heading = GENERAL, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Log to standard error; -vv and -vvv say more
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = GENERAL)]
    pub(crate) verbose: u8,
    /// Wait this long for a locked vault ("90s", "5m") instead of failing at once
    #[arg(long, global = true, value_name = "DURATION", help_heading = GENERAL, hide_short_help = true)]
    pub(crate) retry_lock: Option<Span>,
    /// Keep no local copy of index and trees
    #[arg(long, global = true, help_heading = GENERAL, hide_short_help = true, conflicts_with = "cache_dir")]
    pub(crate) no_cache: bool,
    /// Keep the copy of index and trees here [default: "cache" in the state folder]
    #[arg(long, global = true, value_name = "DIR", help_heading = GENERAL, hide_short_help = true)]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Keep catalog, caches and journals here [env: DRCTL_STATE_DIR; default: $XDG_STATE_HOME/drctl or ~/.local/state/drctl]
    #[arg(long, global = true, value_name = "DIR", help_heading = GENERAL, hide_short_help = true)]
    pub(crate) state_dir: Option<PathBuf>,

    /// How the vault's store is reached.
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// How an object store is reached. Credentials are never given here: they come from the AWS environment or profile.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreArgs {
    /// The bucket's region
    #[arg(long, global = true, value_name = "REGION", help_heading = STORE, hide_short_help = true)]
    pub(crate) s3_region: Option<String>,
    /// Address of an S3 server that is not Amazon's ("https://minio.example:9000")
    #[arg(long, global = true, value_name = "URL", help_heading = STORE, hide_short_help = true)]
    pub(crate) s3_endpoint: Option<String>,
    /// Put the bucket into the path rather than the host name ("true" or "false")
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = STORE, hide_short_help = true)]
    pub(crate) s3_path_style: Option<bool>,
    /// Take credentials from this profile of the AWS configuration [otherwise the standard AWS environment]
    #[arg(long, global = true, value_name = "NAME", help_heading = STORE, hide_short_help = true)]
    pub(crate) aws_profile: Option<String>,
    /// Trust the certificate authorities in this PEM file as well
    #[arg(long, global = true, value_name = "FILE", help_heading = STORE, hide_short_help = true)]
    pub(crate) ca_file: Option<PathBuf>,
    /// Reach the store through this proxy
    #[arg(long, global = true, value_name = "URL", help_heading = STORE, hide_short_help = true)]
    pub(crate) proxy: Option<String>,
    /// Stop repeating a request that fails after this long ("30s"); five minutes unless given, and at most
    #[arg(long, global = true, value_name = "DURATION", value_parser = patience, help_heading = STORE, hide_short_help = true)]
    pub(crate) give_up_after: Option<Span>,
    /// Upload at most so many bytes a second ("10MiB")
    #[arg(long, global = true, value_name = "RATE", help_heading = STORE, hide_short_help = true)]
    pub(crate) limit_upload: Option<Rate>,
    /// Download at most so many bytes a second ("10MiB")
    #[arg(long, global = true, value_name = "RATE", help_heading = STORE, hide_short_help = true)]
    pub(crate) limit_download: Option<Rate>,
}

/// How long a request is repeated. More than the store's limit is refused rather than cut down in silence.
fn patience(text: &str) -> Result<Span, String> {
    let span: Span = text.parse().map_err(|error: crate::units::NotAUnit| error.to_string())?;
    let most = Span::round_up(MAX_PATIENCE);
    if span > most {
        Err(format!("{most} is the most; what takes longer is an outage: run it again then"))
    } else {
        Ok(span)
    }
}

const VAULT: &str = "Vault";
const GENERAL: &str = "General";
const STORE: &str = "Object store";
