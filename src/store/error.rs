//! What can go wrong with a store, reduced to what a caller can act on.
//!
//! `object_store` nests errors whose texts repeat each other; here they become one kind and one root cause. Codes that
//! only exist in a server's answer are read from it in one place.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::result::ConnectorError;
use object_store::Error as ObjectError;
use object_store::client::{HttpError, HttpErrorKind};

use super::credentials::NoCredentials;
use super::wire::{Final, causes};

/// A failed operation on a store. Reads after "failed to": "get data/ab/… from s3://…: access denied".
#[derive(Debug)]
pub struct StoreError {
    /// The verb: "get", "put", "delete", "list", "look up", "open".
    pub op: &'static str,
    /// The key, empty when the operation concerns the whole store.
    pub key: String,
    /// The store's address.
    pub url: String,
    /// What went wrong.
    pub kind: StoreErrorKind,
    /// The root cause, where there is more to say than the kind does.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What went wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// No such object.
    NotFound,
    /// The store knows us not, or does not let us.
    Denied,
    /// No such bucket, or the folder is gone.
    NoBucket,
    /// No connection, or a server that answers with errors of its own.
    Unreachable,
    /// The server's certificate is not trusted.
    Untrusted,
    /// Disk or quota full.
    NoSpace,
    /// No answer in time.
    Timeout,
    /// Fewer bytes than there should be.
    Truncated,
    /// The address or settings cannot work.
    Config,
    /// Anything else: a failed read, write or fsync, an answer that makes no sense.
    Io,
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Later, as it is.
    Retry,
    /// After an address, a setting, a credential or a permission was put right.
    FixConfig,
    /// After something was removed or the quota raised.
    MakeRoom,
    /// Take the object from a replica.
    UseReplica,
}

impl StoreErrorKind {
    /// What a caller should do.
    pub fn reaction(self) -> Reaction {
        match self {
            Self::Unreachable | Self::Timeout => Reaction::Retry,
            Self::Denied | Self::NoBucket | Self::Untrusted | Self::Config => Reaction::FixConfig,
            Self::NoSpace => Reaction::MakeRoom,
            Self::NotFound | Self::Truncated | Self::Io => Reaction::UseReplica,
        }
    }

    /// One sentence for a person: what to do now.
    pub fn hint(self) -> &'static str {
        match self {
            Self::NotFound => "check the address; if the vault is right, run `drctl check` to see what is missing",
            Self::Denied => "check the credentials and what the bucket's policy or the folder's mode lets them do",
            Self::NoBucket => "check the address; drctl makes no buckets: that is done with the provider's tools",
            Self::Unreachable => "check the endpoint and the network, then run it again",
            Self::Untrusted => {
                "name the authority that signed the server's certificate with --ca-file, or `ca_file` in the configuration"
            }
            Self::NoSpace => "free space or raise the quota; `drctl prune` needs little room",
            Self::Timeout => "run it again; what was uploaded is not uploaded twice",
            Self::Truncated => "run `drctl check --read-data`, and heal from a copy",
            Self::Config => "correct the address or the settings of this store",
            Self::Io => "look at the cause; if it is damage, run `drctl check` and heal from a copy",
        }
    }

    /// Whether it says something of how the server is reached, rather than of what is in it.
    pub(super) fn is_of_the_way(self) -> bool {
        matches!(self, Self::Unreachable | Self::Timeout | Self::Untrusted)
    }

    /// Whether the operation may have taken effect all the same.
    pub(super) fn is_ambiguous(self) -> bool {
        matches!(self, Self::Unreachable | Self::Timeout | Self::Io)
    }
}

impl fmt::Display for StoreErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "no such object",
            Self::Denied => "access denied",
            Self::NoBucket => "no such bucket or folder",
            Self::Unreachable => "the store cannot be reached",
            Self::Untrusted => "the server's certificate is not trusted",
            Self::NoSpace => "no space left",
            Self::Timeout => "timed out",
            Self::Truncated => "shorter than it should be",
            Self::Config => "the address or settings cannot work",
            Self::Io => "input or output failed",
        })
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joint = match self.op {
            "put" => "to",
            "list" | "look up" => "in",
            _ => "from",
        };
        match self.key.is_empty() {
            true => write!(f, "{} {}: {}", self.op, self.url, self.kind),
            false => write!(f, "{} {} {joint} {}: {}", self.op, self.key, self.url, self.kind),
        }
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// The innermost cause of an `object_store` error, in one line.
#[derive(Debug)]
struct Cause(String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Cause {}

impl StoreError {
    /// An address or setting that cannot work.
    pub(super) fn config(url: String, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { op: "open", key: String::new(), url, kind: StoreErrorKind::Config, source: Some(source.into()) }
    }

    /// Nothing more to say than the kind does.
    pub(super) fn of_kind(op: &'static str, url: &str, kind: StoreErrorKind) -> Self {
        Self { op, key: String::new(), url: url.to_owned(), kind, source: None }
    }

    /// What an `object_store` error means.
    pub(super) fn classify(op: &'static str, key: &str, url: &str, error: &ObjectError) -> Self {
        let (kind, cause) = reduce(error);
        let kind = match (op, kind) {
            // What is missing then is not the object.
            ("put" | "list", StoreErrorKind::NotFound) => StoreErrorKind::NoBucket,
            _ => kind,
        };
        Self { op, key: key.to_owned(), url: url.to_owned(), kind, source: Some(Box::new(Cause(cause))) }
    }

    /// What any other error means, from its chain.
    pub(super) fn from_chain(op: &'static str, url: &str, error: &(dyn StdError + 'static)) -> Self {
        let (kind, cause) = reduce(error);
        Self { source: Some(Box::new(Cause(cause))), ..Self::of_kind(op, url, kind) }
    }

    /// What a server's refusal means.
    pub(super) fn answered(
        op: &'static str,
        url: &str,
        status: u16,
        code: Option<&str>,
        message: Option<&str>,
    ) -> Self {
        let answer = Answer { status, code: code.unwrap_or_default(), message: message.unwrap_or_default() };
        Self { source: Some(Box::new(Cause(answer.to_string()))), ..Self::of_kind(op, url, answer.kind()) }
    }

    /// The same, naming the server, too.
    pub(super) fn at(self, endpoint: &str) -> Self {
        Self { url: format!("{} at {endpoint}", self.url), ..self }
    }

    /// What a caller should do.
    pub fn reaction(&self) -> Reaction {
        self.kind.reaction()
    }
}

/// The most specific kind in the chain (the innermost that says anything), and the root cause's text.
fn reduce(error: &(dyn StdError + 'static)) -> (StoreErrorKind, String) {
    let mut kind = StoreErrorKind::Io;
    let mut text = String::new();
    for cause in causes(error) {
        text = cause.to_string();
        let last = cause.downcast_ref().map(|Final { status, body }| Answer::new(*status, body));
        if let Some(answer) = last.or_else(|| Answer::read(&text)) {
            return (answer.kind(), answer.to_string());
        }
        if let Some(error) = cause.downcast_ref::<CredentialsError>() {
            return (StoreErrorKind::Denied, NoCredentials::from(error).to_string());
        }
        if let Some(rustls::Error::InvalidMessage(_)) = cause.downcast_ref() {
            return (
                StoreErrorKind::Config,
                "the server does not speak TLS there: is it http rather than https?".into(),
            );
        }
        kind = kind_of(cause).unwrap_or(kind);
    }
    (kind, text)
}

fn outer_kind(error: &ObjectError) -> Option<StoreErrorKind> {
    match error {
        ObjectError::NotFound { .. } => Some(StoreErrorKind::NotFound),
        ObjectError::PermissionDenied { .. } | ObjectError::Unauthenticated { .. } => Some(StoreErrorKind::Denied),
        ObjectError::InvalidPath { .. }
        | ObjectError::NotSupported { .. }
        | ObjectError::NotImplemented { .. }
        | ObjectError::UnknownConfigurationKey { .. } => Some(StoreErrorKind::Config),
        _ => None,
    }
}

fn kind_of(cause: &(dyn StdError + 'static)) -> Option<StoreErrorKind> {
    if let Some(error) = cause.downcast_ref::<ObjectError>() {
        return outer_kind(error);
    }
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return io_kind(error);
    }
    if let Some(error) = cause.downcast_ref::<HttpError>() {
        return match error.kind() {
            HttpErrorKind::Connect | HttpErrorKind::Request | HttpErrorKind::Interrupted => {
                Some(StoreErrorKind::Unreachable)
            }
            HttpErrorKind::Timeout => Some(StoreErrorKind::Timeout),
            _ => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<ConnectorError>() {
        return Some(if error.is_timeout() { StoreErrorKind::Timeout } else { StoreErrorKind::Unreachable });
    }
    cause.downcast_ref::<rustls::Error>().map(|_| StoreErrorKind::Untrusted)
}

fn io_kind(error: &io::Error) -> Option<StoreErrorKind> {
    match error.kind() {
        io::ErrorKind::NotFound => Some(StoreErrorKind::NotFound),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Some(StoreErrorKind::Denied),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Some(StoreErrorKind::NoSpace)
        }
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::BrokenPipe => Some(StoreErrorKind::Unreachable),
        io::ErrorKind::TimedOut => Some(StoreErrorKind::Timeout),
        io::ErrorKind::UnexpectedEof => Some(StoreErrorKind::Truncated),
        _ => None,
    }
}

/// An S3 server's refusal: its status, and the code and message of its XML body.
///
/// `object_store` keeps these types to itself, so they are read back from the text it makes of them.
struct Answer<'a> {
    status: u16,
    code: &'a str,
    message: &'a str,
}

impl<'a> Answer<'a> {
    fn new(status: u16, body: &'a str) -> Self {
        let element = |tag: &str| {
            let inner = body.split_once(&format!("<{tag}>")).and_then(|(_, rest)| rest.split_once("</"));
            inner.map_or("", |(inner, _)| inner)
        };
        Self { status, code: element("Code"), message: element("Message") }
    }

    fn read(text: &'a str) -> Option<Self> {
        if text.starts_with("Received redirect without LOCATION") {
            return Some(Self { status: 301, code: "PermanentRedirect", message: "the bucket is in another region" });
        }
        if let Some(body) = text.strip_prefix("Server returned error response: ") {
            return Some(Self::new(200, body));
        }
        let rest = text.strip_prefix("Server returned non-2xx status code: ")?;
        let status = rest.split([' ', ':']).next()?.parse().ok()?;
        Some(Self::new(status, rest))
    }

    fn kind(&self) -> StoreErrorKind {
        match (self.code, self.status) {
            ("NoSuchBucket", _) => StoreErrorKind::NoBucket,
            ("QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "InsufficientStorage", _) => {
                StoreErrorKind::NoSpace
            }
            ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _) => {
                StoreErrorKind::Config
            }
            ("ExpiredToken" | "InvalidToken", _) => StoreErrorKind::Denied,
            ("InvalidBucketName", _) => StoreErrorKind::Config,
            ("RequestTimeout", _) => StoreErrorKind::Timeout,
            (_, 401 | 403) => StoreErrorKind::Denied,
            (_, 404) => StoreErrorKind::NotFound,
            (_, 408 | 504) => StoreErrorKind::Timeout,
            (_, 416) => StoreErrorKind::Truncated,
            (_, 501) => StoreErrorKind::Config,
            (_, 507) => StoreErrorKind::NoSpace,
            (_, 300..=399) => StoreErrorKind::Config,
            (_, 200 | 429 | 500..=599) => StoreErrorKind::Unreachable,
            _ => StoreErrorKind::Io,
        }
    }
}

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.status)?;
        for part in [self.code, self.message] {
            if !part.is_empty() {
                write!(f, ", {part}")?;
            }
        }
        Ok(())
    }
}
