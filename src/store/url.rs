//! Addresses: text to a typed place, and back in one normal form.
//!
//! Credentials in an address are refused, and neither an error nor the normal form repeats what might be one.

use std::fmt;
use std::path::{Path, PathBuf};

use ::url::Url;

const QUERY_KEYS: [&str; 3] = ["endpoint", "region", "path_style"];
const SCHEMES: [&str; 3] = ["file", "s3", "memory"];
/// Parts of query keys that announce a secret.
const SECRETIVE: [&str; 6] = ["key", "secret", "token", "password", "credential", "signature"];

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// A folder, absolute.
    Local { root: PathBuf },
    /// A bucket, and a prefix in it (`""` for all of it).
    S3(S3Address),
    /// A name within this process.
    Memory { name: String },
}

/// A bucket and how its address says to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct S3Address {
    pub(super) bucket: String,
    pub(super) prefix: String,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) path_style: Option<bool>,
}

/// Why an address cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum AddressError {
    #[error("the address is empty")]
    Empty,
    #[error("the address is not a URL: {0}")]
    NotUrl(::url::ParseError),
    #[error("unknown scheme {found:?}: use {nearest}")]
    Scheme { found: String, nearest: String },
    #[error(
        "credentials do not belong in an address: name them in the configuration, or set AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY"
    )]
    Credentials,
    #[error("unknown setting {found:?} in the address{}", .nearest.as_ref().map(|n| format!(": did you mean {n:?}?")).unwrap_or_default())]
    Setting { found: String, nearest: Option<String> },
    #[error("setting {0:?} is given twice")]
    Twice(&'static str),
    #[error("path_style is true or false")]
    PathStyle,
    #[error("a file address is absolute: file:///folder")]
    RelativeFile,
    #[error("a file address has no settings")]
    FileSettings,
    #[error("a bucket is missing: s3://bucket/prefix")]
    NoBucket,
    #[error("a port does not belong to a bucket: s3://bucket/prefix?endpoint=https://host:port")]
    Port,
    #[error("the endpoint is not an http or https address")]
    Endpoint,
    #[error("{0:?} cannot be part of a key")]
    Prefix(String),
    #[error("{0:?} is no bucket's name")]
    Bucket(String),
    #[error("{0:?} looks like an address: write s3://bucket/prefix, or ./{0} if a folder is meant")]
    Neither(String),
}

impl Address {
    /// Reads an address. A text without `://` is a path, made absolute from the current folder.
    pub(super) fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        let Some((scheme, _)) = text.split_once("://") else {
            if text.split_once(':').is_some_and(|(word, _)| !word.contains('/')) {
                // What was meant to go to a bucket must not end up in a folder of that name.
                return Err(AddressError::Neither(text.to_owned()));
            }
            let root = std::path::absolute(text).map_err(|_| AddressError::Empty)?;
            return Ok(Self::Local { root: normal(&root) });
        };
        match scheme {
            "file" | "s3" | "memory" => {}
            _ => return Err(unknown_scheme(scheme)),
        }
        let url = Url::parse(text).map_err(AddressError::NotUrl)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::Credentials);
        }
        match scheme {
            "file" if url.query().is_some() || url.fragment().is_some() => Err(AddressError::FileSettings),
            "file" => {
                let root = url.to_file_path().map_err(|()| AddressError::RelativeFile)?;
                Ok(Self::Local { root: normal(&root) })
            }
            "memory" => Ok(Self::Memory { name: format!("{}{}", url.host_str().unwrap_or_default(), url.path()) }),
            _ => S3Address::from_url(&url).map(Self::S3),
        }
    }
}

impl S3Address {
    fn from_url(url: &Url) -> Result<Self, AddressError> {
        let bucket = url.host_str().filter(|host| !host.is_empty()).ok_or(AddressError::NoBucket)?;
        if !is_word(bucket) {
            return Err(AddressError::Bucket(bucket.to_owned()));
        }
        if url.port().is_some() {
            return Err(AddressError::Port);
        }
        let prefix = url.path().trim_matches('/');
        let prefix = object_store::path::Path::from_url_path(prefix)
            .map_err(|_| AddressError::Prefix(prefix.to_owned()))?
            .to_string();
        let mut address = Self { bucket: bucket.to_owned(), prefix, ..Self::default() };
        for (key, value) in url.query_pairs() {
            match &*key {
                "endpoint" => once(&mut address.endpoint, "endpoint", endpoint(&value)?)?,
                "region" => once(&mut address.region, "region", value.into_owned())?,
                "path_style" => {
                    let style = value.parse().map_err(|_| AddressError::PathStyle)?;
                    once(&mut address.path_style, "path_style", style)?;
                }
                other => return Err(unknown_setting(other)),
            }
        }
        Ok(address)
    }
}

/// Checks that `text` is an endpoint, and gives it without a slash at the end.
pub(super) fn endpoint(text: &str) -> Result<String, AddressError> {
    let url = Url::parse(text).map_err(|_| AddressError::Endpoint)?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(AddressError::Credentials);
    }
    match url.scheme() {
        // As the parser writes it: the clients take nothing that would have to be escaped.
        "http" | "https" if url.has_host() => Ok(url.as_str().trim_end_matches('/').to_owned()),
        _ => Err(AddressError::Endpoint),
    }
}

/// Whether `text` can stand in a host name: the clients take no other names of buckets and regions.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// `text` without the parts that might hold a secret, for messages about an address that could not be read.
pub(super) fn redacted(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{rest}")
}

fn once<T>(slot: &mut Option<T>, key: &'static str, value: T) -> Result<(), AddressError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(AddressError::Twice(key)),
    }
}

fn unknown_scheme(found: &str) -> AddressError {
    let near = SCHEMES.iter().find(|s| strsim::damerau_levenshtein(s, &found.to_lowercase()) <= 1);
    let nearest = match near {
        // restic's way to write it.
        None if found.starts_with("s3:") => "s3://bucket/prefix?endpoint=https://host".to_owned(),
        None => "file://, s3:// or a path".to_owned(),
        Some(scheme) => format!("{scheme}://"),
    };
    AddressError::Scheme { found: found.to_owned(), nearest }
}

fn unknown_setting(found: &str) -> AddressError {
    let lower = found.to_lowercase();
    if SECRETIVE.iter().any(|part| lower.contains(part)) {
        return AddressError::Credentials;
    }
    let near = QUERY_KEYS.iter().map(|key| (strsim::jaro_winkler(key, &lower), key));
    let near = near.filter(|(score, _)| *score > 0.75).max_by(|a, b| a.0.total_cmp(&b.0));
    AddressError::Setting { found: found.to_owned(), nearest: near.map(|(_, key)| (*key).to_owned()) }
}

/// Drops `.` and folds `..` by name, so that one folder has one address.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                out.pop();
            }
            _ => out.push(part),
        }
    }
    out
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { root } => write!(f, "file://{}", root.display()),
            Self::Memory { name } => write!(f, "memory://{name}"),
            Self::S3(s3) => s3.fmt(f),
        }
    }
}

impl fmt::Display for S3Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        let style = self.path_style.map(|style| style.to_string());
        let settings = [("endpoint", &self.endpoint), ("region", &self.region), ("path_style", &style)];
        let mut mark = '?';
        for (key, value) in settings {
            if let Some(value) = value {
                write!(f, "{mark}{key}={value}")?;
                mark = '&';
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(bucket: &str, prefix: &str) -> S3Address {
        S3Address { bucket: bucket.into(), prefix: prefix.into(), ..S3Address::default() }
    }

    #[test]
    fn addresses_are_read() {
        let here = std::env::current_dir().unwrap();
        let table = [
            ("file:///srv/backup", Address::Local { root: "/srv/backup".into() }),
            ("file:///srv/a%20b/", Address::Local { root: "/srv/a b".into() }),
            ("/srv/../srv/./backup/", Address::Local { root: "/srv/backup".into() }),
            ("vaults/one", Address::Local { root: here.join("vaults/one") }),
            ("./s3:bucket", Address::Local { root: here.join("s3:bucket") }),
            ("s3://bucket", Address::S3(s3("bucket", ""))),
            ("s3://Buck_et.x/a/b/", Address::S3(s3("Buck_et.x", "a/b"))),
            (
                "s3://b/p?endpoint=http://127.0.0.1:9000/&region=eu-west-1&path_style=false",
                Address::S3(S3Address {
                    endpoint: Some("http://127.0.0.1:9000".into()),
                    region: Some("eu-west-1".into()),
                    path_style: Some(false),
                    ..s3("b", "p")
                }),
            ),
            ("memory://one", Address::Memory { name: "one".into() }),
            ("memory://", Address::Memory { name: String::new() }),
        ];
        for (text, expected) in table {
            assert_eq!(Address::parse(text).as_ref(), Ok(&expected), "{text}");
            assert_eq!(Address::parse(&expected.to_string()), Ok(expected), "{text} again");
        }
    }

    #[test]
    fn bad_addresses_name_the_way_out() {
        let table = [
            ("", "empty"),
            ("s4://b", "use s3://"),
            ("sftp://host/x", "file://, s3:// or a path"),
            ("s3://", "bucket is missing"),
            ("s3://host:9000/b", "endpoint=https://host:port"),
            ("s3://b?endpiont=http://x", "did you mean \"endpoint\""),
            ("s3://b?zone=1", "unknown setting \"zone\" in the address"),
            ("s3://b?path_style=maybe", "true or false"),
            ("s3://b?region=a&region=b", "given twice"),
            ("s3://b?endpoint=localhost", "not an http"),
            ("s3://b//c//d", "cannot be part of a key"),
            ("s3://a%20b/c", "no bucket's name"),
            ("s3:bucket/prefix", "write s3://bucket/prefix, or ./s3:bucket/prefix"),
            ("s3:https://host/bucket", "endpoint=https://host"),
            ("file://relative/x", "file:///folder"),
            ("file:///x?region=a", "no settings"),
        ];
        for (text, expected) in table {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn credentials_are_refused_and_never_repeated() {
        for text in [
            "s3://AKIA:hush@b/p",
            "s3://AKIA@b",
            "s3://b?access_key=hush",
            "s3://b?endpoint=https://me:hush@host",
            "s3://b?X-Amz-Signature=hush",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert_eq!(error, AddressError::Credentials, "{text}");
            let shown = format!("{} {error}", redacted(text));
            assert!(!shown.contains("hush") && !shown.contains("AKIA"), "{shown}");
        }
    }
}
