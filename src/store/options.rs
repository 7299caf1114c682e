//! What opening a store may be told beside its address.

use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::url::redacted;
use crate::units::ByteSize;

/// After this long no further attempt of a request starts, whatever is asked for. Well below the 15 minutes that a signature
/// lives.
pub const MAX_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// Settings of one store. What the address says itself wins over these.
#[derive(Clone, Default)]
pub struct OpenOptions {
    /// Who asks.
    pub credentials: Credentials,
    /// The region; by default what the environment or profile says, else `us-east-1`.
    pub region: Option<String>,
    /// Another server than AWS.
    pub endpoint: Option<String>,
    /// The bucket in the path rather than in the host name; by default when there is an endpoint.
    pub path_style: Option<bool>,
    /// PEM certificates to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy for this store, `http://user:password@host:port` at most; by default what the environment says.
    pub proxy: Option<String>,
    /// Bytes a second sent at most, on average.
    pub upload_limit: Option<ByteSize>,
    /// Bytes a second received at most, on average.
    pub download_limit: Option<ByteSize>,
    /// After this long no further attempt of a failed request starts; [`MAX_PATIENCE`] at most, which is the default.
    pub patience: Option<Duration>,
}

/// Where the credentials of an S3 store come from. Never from its address.
#[derive(Clone, Default)]
pub enum Credentials {
    /// The standard AWS chain: environment, profile files, web identity, container and instance roles.
    #[default]
    Environment,
    /// A named profile of the AWS configuration files.
    Profile(String),
    /// These keys.
    Keys {
        /// The public half.
        access_key_id: String,
        /// The secret half.
        secret_access_key: Zeroizing<String>,
        /// Given with temporary keys.
        session_token: Option<Zeroizing<String>>,
    },
}

impl std::fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenOptions")
            .field("credentials", &self.credentials)
            .field("region", &self.region)
            .field("endpoint", &self.endpoint.as_deref().map(redacted))
            .field("path_style", &self.path_style)
            .field("ca_file", &self.ca_file)
            .field("proxy", &self.proxy.as_deref().map(redacted))
            .field("upload_limit", &self.upload_limit)
            .field("download_limit", &self.download_limit)
            .field("patience", &self.patience)
            .finish()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Environment => f.write_str("Environment"),
            Self::Profile(name) => write!(f, "Profile({name})"),
            Self::Keys { access_key_id, .. } => write!(f, "Keys({access_key_id}, ***)"),
        }
    }
}
