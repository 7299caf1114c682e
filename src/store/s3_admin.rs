//! What a bucket is beyond its objects: whether it exists, keeps versions, locks objects; and making one.
//!
//! The only user of the AWS SDK's client. Objects themselves never pass through here.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation, timeout::TimeoutConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, ObjectLockEnabled,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder as HttpBuilder, Connector};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use std::time::Duration;

use super::error::{StoreError, StoreErrorKind};
use super::options::OpenOptions;
use super::s3::Bucket;
use super::url::{self, Address};

/// These are small requests that a person waits for.
const ATTEMPT: Duration = Duration::from_secs(20);
/// Where a bucket is made when no region is named, in the protocol's own terms: without a location.
const UNNAMED_REGION: &str = "us-east-1";

/// What is known about a bucket. `None`: the server does not say, or does not let us ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketFacts {
    /// Whether there is one that we may look at.
    pub exists: bool,
    /// Whether overwritten and deleted objects are kept as versions.
    pub versioning: Option<Versioning>,
    /// Whether objects can be locked against deletion.
    pub object_lock: Option<bool>,
}

/// A bucket's handling of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// Never turned on.
    Off,
    /// Every overwrite and delete keeps what was there.
    Enabled,
    /// Turned off again; old versions remain.
    Suspended,
}

/// The outcome of making a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewBucket {
    /// It was made.
    Created,
    /// It was ours before.
    AlreadyOurs,
}

/// Looks at the bucket of an `s3://` address.
pub async fn describe(address: &str, options: &OpenOptions) -> Result<BucketFacts, StoreError> {
    let admin = Admin::open(address, options).await?;
    if let Err(error) = admin.client.head_bucket().bucket(&admin.bucket.name).send().await {
        return match admin.error("look up", &error) {
            // The answer to a HEAD has no body, so "no such bucket" arrives as a plain 404.
            e if matches!(e.kind, StoreErrorKind::NotFound | StoreErrorKind::NoBucket) => {
                Ok(BucketFacts { exists: false, versioning: None, object_lock: None })
            }
            e => Err(e),
        };
    }
    Ok(BucketFacts { exists: true, versioning: admin.versioning().await?, object_lock: admin.object_lock().await? })
}

/// Makes the bucket of an `s3://` address.
pub async fn create_bucket(address: &str, options: &OpenOptions) -> Result<NewBucket, StoreError> {
    let admin = Admin::open(address, options).await?;
    let location = (admin.bucket.region != UNNAMED_REGION).then(|| {
        let region = BucketLocationConstraint::from(admin.bucket.region.as_str());
        CreateBucketConfiguration::builder().location_constraint(region).build()
    });
    let request = admin.client.create_bucket().bucket(&admin.bucket.name).set_create_bucket_configuration(location);
    match request.send().await {
        Ok(_) => Ok(NewBucket::Created),
        Err(error) if error.code() == Some("BucketAlreadyOwnedByYou") => Ok(NewBucket::AlreadyOurs),
        Err(error) => Err(admin.error("create the bucket of", &error)),
    }
}

struct Admin {
    client: Client,
    bucket: Bucket,
    url: String,
}

impl Admin {
    async fn open(address: &str, options: &OpenOptions) -> Result<Self, StoreError> {
        let parsed = Address::parse(address).map_err(|e| StoreError::config(url::redacted(address), e))?;
        let url = parsed.to_string();
        let Address::S3(s3) = parsed else {
            return Err(StoreError::config(url, NotBucket));
        };
        let bucket = Bucket::resolve(&s3, options).await.map_err(|e| StoreError::config(url.clone(), e))?;
        let http = http_client(&bucket).map_err(|e| StoreError::config(url.clone(), e))?;
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build();
        let mut config = Builder::new()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(bucket.region.clone()))
            .credentials_provider(bucket.credentials.clone())
            .force_path_style(bucket.path_style)
            .timeout_config(timeouts)
            .http_client(http);
        if let Some(endpoint) = &bucket.endpoint {
            // Many servers that are not AWS refuse the checksum trailers that the SDK sends by default.
            config = config
                .endpoint_url(endpoint)
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        }
        Ok(Self { client: Client::from_conf(config.build()), bucket, url })
    }

    async fn versioning(&self) -> Result<Option<Versioning>, StoreError> {
        match self.client.get_bucket_versioning().bucket(&self.bucket.name).send().await {
            Ok(answer) => Ok(match answer.status {
                None => Some(Versioning::Off),
                Some(BucketVersioningStatus::Enabled) => Some(Versioning::Enabled),
                Some(BucketVersioningStatus::Suspended) => Some(Versioning::Suspended),
                Some(_) => None,
            }),
            Err(error) => self.unknown(&error),
        }
    }

    async fn object_lock(&self) -> Result<Option<bool>, StoreError> {
        match self.client.get_object_lock_configuration().bucket(&self.bucket.name).send().await {
            Ok(answer) => {
                let enabled = answer.object_lock_configuration.and_then(|lock| lock.object_lock_enabled);
                Ok(Some(enabled == Some(ObjectLockEnabled::Enabled)))
            }
            Err(error) if error.code() == Some("ObjectLockConfigurationNotFoundError") => Ok(Some(false)),
            Err(error) => self.unknown(&error),
        }
    }

    /// A server that answers but does not tell leaves a fact unknown; one that cannot be reached is an error.
    fn unknown<T, E>(&self, error: &SdkError<E>) -> Result<Option<T>, StoreError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match error {
            SdkError::ServiceError(_) => Ok(None),
            _ => Err(self.error("look up", error)),
        }
    }

    fn error<E>(&self, op: &'static str, error: &SdkError<E>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match error {
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                StoreError::answered(op, &self.url, status, error.code(), error.message())
            }
            SdkError::TimeoutError(_) => StoreError::of_kind(op, &self.url, StoreErrorKind::Timeout),
            _ => StoreError::from_chain(op, &self.url, error),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("only s3:// addresses have a bucket")]
struct NotBucket;

/// The SDK's own client, with this bucket's authorities and proxy.
fn http_client(bucket: &Bucket) -> Result<SharedHttpClient, Box<dyn std::error::Error + Send + Sync>> {
    let mut trust = TrustStore::default();
    if let Some(pem) = &bucket.authorities {
        trust.add_pem_certificate(pem.clone());
    }
    let tls = TlsContext::builder().with_trust_store(trust).build()?;
    let proxy = match &bucket.proxy {
        Some(proxy) => ProxyConfig::all(proxy)?,
        None => ProxyConfig::from_env(),
    };
    Ok(HttpBuilder::new().build_with_connector_fn(move |settings, _| {
        let mut connector = Connector::builder().proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        connector.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(tls.clone()).build()
    }))
}
