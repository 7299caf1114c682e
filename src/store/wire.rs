//! How HTTP requests to a store wait, and which failures are worth a second try.
//!
//! `object_store` repeats requests itself (connection failures, 5xx, 429, and timeouts of what may be repeated), with
//! backoff and jitter. Here it is given the patience that fits backups: an upload may take as long as its size needs on
//! a slow line, a read is given up when nothing arrives for a while, and what no repetition can mend (a certificate that
//! is not trusted, a server never reached so far) fails at once rather than after minutes.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use super::options::MAX_PATIENCE;
use super::requests::Meter;

/// Silence after which a read, or the wait for an answer, is given up.
const SILENCE: Duration = Duration::from_secs(60);
/// The slowest line an upload is expected to get through on, in bytes a second.
const SLOWEST_UPLOAD: u64 = 64 * 1024;
const CONNECT: Duration = Duration::from_secs(10);
/// Attempts to connect to a server that has never answered: more likely a wrong address than an outage.
const FIRST_CONTACTS: u32 = 3;

/// When requests are repeated; for at most `patience`, where it is given.
pub(super) fn retries(patience: Option<Duration>) -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(200), max_backoff: Duration::from_secs(20), base: 2.0 };
    RetryConfig { backoff, max_retries: 30, retry_timeout: patience.unwrap_or(MAX_PATIENCE).min(MAX_PATIENCE) }
}

/// Makes the clients of one store, and has what they send counted.
#[derive(Debug, Default)]
pub(super) struct Patience(pub(super) Arc<Meter>);

impl HttpConnector for Patience {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let options = options.clone().with_timeout_disabled().with_connect_timeout(CONNECT);
        let reqwest = ReqwestConnector::default();
        Ok(HttpClient::new(Wire {
            // Apart from uploads, because a client's read timeout also runs while a request body is being sent.
            reads: reqwest.connect(&options.clone().with_read_timeout(SILENCE))?,
            uploads: reqwest.connect(&options)?,
            reached: AtomicBool::new(false),
            missed: AtomicU32::new(0),
            meter: self.0.clone(),
        }))
    }
}

/// A server error that no repetition can mend: it cannot do this at all, or is full.
#[derive(Debug, thiserror::Error)]
#[error("the server answered {status}")]
pub(super) struct Final {
    pub(super) status: u16,
    /// What came with it, XML by custom.
    pub(super) body: String,
}

#[derive(Debug)]
struct Wire {
    reads: HttpClient,
    uploads: HttpClient,
    /// Whether the server has answered at all.
    reached: AtomicBool,
    missed: AtomicU32,
    meter: Arc<Meter>,
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.meter.count(request.method().as_str(), request.uri().query().unwrap_or_default());
        let answer = match request.body().content_length() as u64 {
            0 => self.reads.execute(request).await,
            length => {
                let limit = SILENCE + Duration::from_secs(length / SLOWEST_UPLOAD);
                let sent = tokio::time::timeout(limit, self.uploads.execute(request)).await;
                sent.unwrap_or_else(|elapsed| Err(HttpError::new(HttpErrorKind::Timeout, elapsed)))
            }
        };
        match answer {
            Ok(answer) => {
                self.reached.store(true, Ordering::Relaxed);
                match answer.status().as_u16() {
                    status @ (501 | 507) => {
                        let body = answer.into_body().bytes().await.unwrap_or_default();
                        let body = String::from_utf8_lossy(&body).into_owned();
                        Err(HttpError::new(HttpErrorKind::Unknown, Final { status, body }))
                    }
                    _ => Ok(answer),
                }
            }
            Err(error) if is_untrusted(&error) || self.is_hopeless(&error) => {
                // The kind is what tells object_store not to try again; the cause stays in the chain.
                Err(HttpError::new(HttpErrorKind::Unknown, error))
            }
            Err(error) => Err(error),
        }
    }
}

impl Wire {
    fn is_hopeless(&self, error: &HttpError) -> bool {
        let unconnected = error.kind() == HttpErrorKind::Connect && !self.reached.load(Ordering::Relaxed);
        unconnected && self.missed.fetch_add(1, Ordering::Relaxed) + 1 >= FIRST_CONTACTS
    }
}

fn is_untrusted(error: &HttpError) -> bool {
    causes(error).any(|cause| matches!(cause.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))))
}

/// The causes of an error, outermost first. An `io::Error` gives what it wraps, which its own `source` skips.
pub(super) fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |cause| {
        let cause: &'a (dyn StdError + 'static) = *cause;
        match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        }
    })
}
