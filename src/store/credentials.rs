//! Credentials of an S3 store: where they come from, and asking again before they expire.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::imds;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

use super::options::Credentials;
use super::wire::causes;

/// Asked again this long before they expire, which covers a request and its repetitions.
const MARGIN: Duration = Duration::from_secs(6 * 60);
/// Credentials without an expiry are read again this often: a profile file may be rewritten under a running service.
const REREAD: Duration = Duration::from_secs(5 * 60);
/// No answer from the address where a cloud machine finds its role means that this is none.
const INSTANCE_ROLE: Duration = Duration::from_secs(1);

/// The provider that `credentials` names.
pub(super) async fn provider(credentials: &Credentials) -> SharedCredentialsProvider {
    match credentials {
        Credentials::Environment => {
            let instance = imds::Client::builder()
                .connect_timeout(INSTANCE_ROLE)
                .read_timeout(INSTANCE_ROLE)
                .operation_timeout(2 * INSTANCE_ROLE)
                .max_attempts(1)
                .build();
            SharedCredentialsProvider::new(DefaultCredentialsChain::builder().imds_client(instance).build().await)
        }
        Credentials::Profile(name) => {
            let provider = ProfileFileCredentialsProvider::builder().profile_name(name).build();
            SharedCredentialsProvider::new(Named { name: name.clone(), provider })
        }
        Credentials::Keys { access_key_id, secret_access_key, session_token } => {
            let token = session_token.as_ref().map(|token| token.to_string());
            SharedCredentialsProvider::new(aws_credential_types::Credentials::new(
                access_key_id,
                secret_access_key.as_str(),
                token,
                None,
                "drctl",
            ))
        }
    }
}

/// A profile that somebody chose. The provider says the same of one that is not there as of nothing to look into.
#[derive(Debug)]
struct Named {
    name: String,
    provider: ProfileFileCredentialsProvider,
}

/// A profile that gives no credentials.
#[derive(Debug, thiserror::Error)]
#[error("the profile {name:?} is not in {config} or {credentials}, or has none there")]
struct NotInFiles {
    name: String,
    config: String,
    credentials: String,
}

impl NotInFiles {
    fn of(name: &str) -> Self {
        // Where the AWS configuration lies, as all of its readers have it.
        let place = |variable, usual: &str| std::env::var(variable).unwrap_or_else(|_| usual.to_owned());
        Self {
            name: name.to_owned(),
            config: place("AWS_CONFIG_FILE", "~/.aws/config"),
            credentials: place("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        }
    }
}

impl ProvideCredentials for Named {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.provider.provide_credentials().await.map_err(|error| match error {
                CredentialsError::CredentialsNotLoaded(_) => {
                    CredentialsError::invalid_configuration(NotInFiles::of(&self.name))
                }
                error => error,
            })
        })
    }
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
#[error(
    "no credentials{}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile or keys in the configuration",
    .reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default()
)]
pub(super) struct NoCredentials {
    /// The innermost cause, in one line: the provider's own chain says it in many. `None` when there was nowhere to look.
    reason: Option<String>,
}

impl From<&CredentialsError> for NoCredentials {
    fn from(error: &CredentialsError) -> Self {
        let reason = match error {
            CredentialsError::CredentialsNotLoaded(_) => None,
            _ => causes(error).last().map(|cause| cause.to_string().trim_end_matches('.').to_owned()),
        };
        Self { reason }
    }
}

/// Feeds a provider's credentials to `object_store`, and keeps them as long as they are good.
#[derive(Debug)]
pub(super) struct Kept {
    provider: SharedCredentialsProvider,
    last: tokio::sync::Mutex<Option<Held>>,
}

#[derive(Debug, Clone)]
struct Held {
    credential: Arc<AwsCredential>,
    /// When to ask again.
    until: SystemTime,
    /// When they stop to work.
    expiry: Option<SystemTime>,
}

impl Kept {
    pub(super) fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, last: tokio::sync::Mutex::default() }
    }

    async fn at(&self, now: SystemTime) -> object_store::Result<Arc<AwsCredential>> {
        // Held while asking: of many uploads that find them stale, one asks and the others take its answer.
        let mut last = self.last.lock().await;
        if let Some(held) = last.as_ref().filter(|held| now < held.until) {
            return Ok(held.credential.clone());
        }
        match self.provider.provide_credentials().await {
            Ok(fresh) => {
                let credential = Arc::new(AwsCredential {
                    key_id: fresh.access_key_id().to_owned(),
                    secret_key: fresh.secret_access_key().to_owned(),
                    token: fresh.session_token().map(str::to_owned),
                });
                let expiry = fresh.expiry();
                let until = expiry.map_or(now + REREAD, |expiry| expiry.checked_sub(MARGIN).unwrap_or(now));
                *last = Some(Held { credential: credential.clone(), until, expiry });
                Ok(credential)
            }
            Err(error) => match last.as_ref() {
                Some(held) if held.expiry.is_none_or(|expiry| now < expiry) => {
                    tracing::warn!(%error, "asking for fresh credentials failed; the last ones are still good");
                    Ok(held.credential.clone())
                }
                _ => {
                    let source = NoCredentials::from(&error).into();
                    Err(object_store::Error::Unauthenticated { path: String::new(), source })
                }
            },
        }
    }
}

#[async_trait]
impl CredentialProvider for Kept {
    type Credential = AwsCredential;

    #[expect(clippy::disallowed_methods, reason = "an expiry is the issuer's wall clock; it only decides when to ask")]
    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.at(SystemTime::now()).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use zeroize::Zeroizing;

    use super::*;

    /// Gives what a test lined up, in order.
    #[derive(Debug)]
    struct Lined(Mutex<Vec<aws_credential_types::provider::Result>>);

    impl ProvideCredentials for Lined {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(self.0.lock().unwrap().remove(0))
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn keys(id: &str, expiry: Option<u64>) -> aws_credential_types::provider::Result {
        Ok(aws_credential_types::Credentials::new(id, "hush", None, expiry.map(at), "test"))
    }

    fn kept(lined: Vec<aws_credential_types::provider::Result>) -> Kept {
        Kept::new(SharedCredentialsProvider::new(Lined(Mutex::new(lined))))
    }

    #[tokio::test]
    async fn they_are_asked_for_again_before_they_expire() {
        let kept = kept(vec![keys("one", Some(3600)), keys("two", Some(7200))]);
        for (now, expected) in [(0, "one"), (3200, "one"), (3300, "two"), (3700, "two")] {
            assert_eq!(kept.at(at(now)).await.unwrap().key_id, expected, "at {now}");
        }
    }

    #[tokio::test]
    async fn those_without_an_expiry_are_read_again_every_few_minutes() {
        let kept = kept(vec![keys("one", None), keys("rotated", None)]);
        for (now, expected) in [(0, "one"), (299, "one"), (300, "rotated")] {
            assert_eq!(kept.at(at(now)).await.unwrap().key_id, expected, "at {now}");
        }
    }

    #[tokio::test]
    async fn a_failed_refresh_keeps_the_old_ones_until_they_expire() {
        let down = || Err(CredentialsError::provider_error("the role service is down"));
        let kept = kept(vec![keys("one", Some(3600)), down(), down()]);
        kept.at(at(0)).await.unwrap();
        assert_eq!(kept.at(at(3500)).await.unwrap().key_id, "one");
        let error = kept.at(at(3600)).await.unwrap_err();
        assert!(error.to_string().contains("the role service is down"), "{error}");
    }

    #[tokio::test]
    async fn none_at_all_says_what_to_set() {
        let error = kept(vec![Err(CredentialsError::not_loaded_no_source())]).at(at(0)).await.unwrap_err();
        assert!(matches!(error, object_store::Error::Unauthenticated { .. }));
        assert!(error.to_string().contains("set AWS_ACCESS_KEY_ID"), "{error}");
    }

    #[tokio::test]
    async fn a_profile_that_is_not_there_is_named_with_where_it_was_looked_for() {
        let named = provider(&Credentials::Profile("no such profile of drctl".into())).await;
        let error = Kept::new(named).at(at(0)).await.unwrap_err().to_string();
        assert!(error.contains("\"no such profile of drctl\" is not in ") && error.contains("credentials"), "{error}");
    }

    #[tokio::test]
    async fn given_keys_are_used_and_never_shown() {
        let credentials = Credentials::Keys {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Zeroizing::new("hush".into()),
            session_token: Some(Zeroizing::new("quiet".into())),
        };
        let kept = Kept::new(provider(&credentials).await);
        let credential = kept.at(at(0)).await.unwrap();
        assert_eq!((credential.secret_key.as_str(), credential.token.as_deref()), ("hush", Some("quiet")));
        let shown = format!("{credentials:?} {kept:?}");
        assert!(!shown.contains("hush") && !shown.contains("quiet"), "{shown}");
    }
}
