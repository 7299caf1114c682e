//! Buckets: from an address and settings to a client.
//!
//! Does no request of its own. What a bucket is beyond its objects belongs to [`s3_admin`](super::s3_admin).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::ProfileFileRegionProvider;
use aws_credential_types::provider::SharedCredentialsProvider;
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::{Certificate, ClientOptions, HeaderValue};

use super::credentials::{self, Kept};
use super::options::{Credentials, OpenOptions};
use super::requests::Meter;
use super::url::{AddressError, S3Address, endpoint, is_word};
use super::wire::{Patience, retries};

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("drctl/", env!("CARGO_PKG_VERSION")));
const DEFAULT_REGION: &str = "us-east-1";

/// How one bucket is reached, with every default filled in.
pub(super) struct Bucket {
    pub(super) name: String,
    pub(super) region: String,
    pub(super) endpoint: Option<String>,
    pub(super) path_style: bool,
    /// PEM.
    pub(super) authorities: Option<Vec<u8>>,
    pub(super) proxy: Option<String>,
    pub(super) credentials: SharedCredentialsProvider,
    /// How long a failed request is repeated.
    patience: Option<Duration>,
}

/// Why the settings of a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BucketError {
    #[error("the certificates in {path} cannot be read")]
    CaFile { path: PathBuf, source: io::Error },
    #[error("{path} holds no PEM certificate")]
    NoCertificate { path: PathBuf },
    #[error(transparent)]
    Endpoint(#[from] AddressError),
    #[error("{0:?} is no region")]
    Region(String),
    #[error(
        "the bucket cannot be a part of the host name in {0}: put it into the path (path_style=true, --s3-path-style)"
    )]
    Host(String),
    #[error("the proxy is not an http or https address")]
    Proxy,
    #[error(transparent)]
    Client(#[from] object_store::Error),
}

impl Bucket {
    /// Fills in what the address leaves open: from the options, then from the environment and profile.
    pub(super) async fn resolve(address: &S3Address, options: &OpenOptions) -> Result<Self, BucketError> {
        let configured = options.endpoint.as_deref().map(endpoint).transpose()?;
        let endpoint = address.endpoint.clone().or(configured);
        let region = match address.region.as_ref().or(options.region.as_ref()) {
            Some(region) => region.clone(),
            None => default_region(&options.credentials).await,
        };
        if !is_word(&region) {
            return Err(BucketError::Region(region));
        }
        let path_style = address.path_style.or(options.path_style).unwrap_or(endpoint.is_some());
        let authorities = match &options.ca_file {
            None => None,
            Some(path) => {
                let read = tokio::fs::read(path).await;
                Some(read.map_err(|source| BucketError::CaFile { path: path.clone(), source })?)
            }
        };
        // Checked here because the clients' own errors may repeat it, and with it a password.
        if let Some(proxy) = &options.proxy
            && !::url::Url::parse(proxy).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        {
            return Err(BucketError::Proxy);
        }
        let bucket = Self {
            name: address.bucket.clone(),
            region,
            endpoint,
            path_style,
            authorities,
            proxy: options.proxy.clone(),
            credentials: credentials::provider(&options.credentials).await,
            patience: options.patience,
        };
        // The clients panic at a host that is none.
        if let Some(endpoint) = &bucket.endpoint
            && ::url::Url::parse(&bucket.host(endpoint)).is_err()
        {
            return Err(BucketError::Host(endpoint.clone()));
        }
        match &options.ca_file {
            Some(path) if bucket.certificates()?.is_empty() => Err(BucketError::NoCertificate { path: path.clone() }),
            _ => Ok(bucket),
        }
    }

    fn certificates(&self) -> object_store::Result<Vec<Certificate>> {
        self.authorities.as_deref().map_or(Ok(Vec::new()), Certificate::from_pem_bundle)
    }

    /// The client for its objects. What it asks is counted.
    pub(super) fn objects(&self, meter: &Arc<Meter>) -> Result<AmazonS3, BucketError> {
        let plain = self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let mut client = ClientOptions::new().with_user_agent(USER_AGENT).with_allow_http(plain);
        for certificate in self.certificates()? {
            client = client.with_root_certificate(certificate);
        }
        if let Some(proxy) = &self.proxy {
            client = client.with_proxy_url(proxy);
        }
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.name)
            .with_region(&self.region)
            .with_virtual_hosted_style_request(!self.path_style)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_credentials(Arc::new(Kept::new(self.credentials.clone())))
            .with_retry(retries(self.patience))
            .with_http_connector(Patience(meter.clone()))
            .with_client_options(client);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(self.host(endpoint));
        }
        Ok(builder.build()?)
    }

    /// The endpoint as `object_store` wants it: with the bucket in the host name when the path does not hold it.
    fn host(&self, endpoint: &str) -> String {
        match endpoint.split_once("://") {
            Some((scheme, host)) if !self.path_style => format!("{scheme}://{}.{host}", self.name),
            _ => endpoint.to_owned(),
        }
    }
}

/// The region that the environment or the profile names. An instance is not asked: its bucket may be anywhere.
async fn default_region(credentials: &Credentials) -> String {
    let profile = |name: Option<&str>| {
        let mut builder = ProfileFileRegionProvider::builder();
        if let Some(name) = name {
            builder = builder.profile_name(name);
        }
        builder.build()
    };
    let found = match credentials {
        Credentials::Profile(name) => profile(Some(name)).region().await,
        Credentials::Environment => match EnvironmentVariableRegionProvider::new().region().await {
            None => profile(None).region().await,
            found => found,
        },
        Credentials::Keys { .. } => None,
    };
    found.map_or_else(|| DEFAULT_REGION.to_owned(), |region| region.to_string())
}
