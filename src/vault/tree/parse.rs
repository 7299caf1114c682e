//! A node from its JSON.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};

use super::content::Content;
use super::error::TreeError;
use super::mode::unix_mode;
use super::name::{check_name, quote, unquote};
use super::node::{Node, NodeKind, Xattr};
use super::time;
use crate::vault::Id;

/// The fields as they are written. Other tools leave out what is zero, or write null: both mean the same here.
#[derive(serde::Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    mode: Option<u32>,
    mtime: Option<Instant>,
    atime: Option<Instant>,
    ctime: Option<Instant>,
    uid: Option<u32>,
    gid: Option<u32>,
    user: Option<String>,
    group: Option<String>,
    inode: Option<u64>,
    device_id: Option<u64>,
    size: Option<u64>,
    links: Option<u64>,
    linktarget: Option<String>,
    linktarget_raw: Option<Base64>,
    extended_attributes: Option<Vec<RawXattr>>,
    generic_attributes: Option<serde_json::Map<String, serde_json::Value>>,
    device: Option<u64>,
    /// The ids were taken out by the scanner.
    #[serde(rename = "content")]
    _content: Option<[(); 0]>,
    subtree: Option<Id>,
    error: Option<String>,
}

#[derive(serde::Deserialize)]
struct RawXattr {
    name: String,
    value: Option<Base64>,
}

struct Instant(Timestamp);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Instant;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a time in the form of RFC 3339")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Instant, E> {
                time::parse(text).map(Instant).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

struct Base64(Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map(Self).map_err(D::Error::custom)
    }
}

/// The node that `json` says, with `content`. `index` is its place in the tree.
pub(super) fn node(json: &[u8], content: Content, index: u64) -> Result<Node, TreeError> {
    let raw: Raw<'_> = serde_json::from_slice(json).map_err(|source| TreeError::Node { index, source })?;
    let name = unquote(&raw.name)
        .and_then(|name| check_name(&name).map(|()| name))
        .map_err(|fault| TreeError::Name { index, name: quote(raw.name.as_bytes()), fault })?;
    let Some(kind) = NodeKind::from_word(&raw.kind) else {
        return Err(TreeError::Kind { name: quote(&name), kind: raw.kind.chars().take(80).collect() });
    };
    let instant = |time: Option<Instant>| time.map_or(Timestamp::UNIX_EPOCH, |Instant(time)| time);
    Ok(Node {
        name,
        kind,
        mode: unix_mode(raw.mode.unwrap_or_default()),
        mtime: instant(raw.mtime),
        atime: instant(raw.atime),
        ctime: instant(raw.ctime),
        uid: raw.uid.unwrap_or_default(),
        gid: raw.gid.unwrap_or_default(),
        user: raw.user.unwrap_or_default(),
        group: raw.group.unwrap_or_default(),
        inode: raw.inode.unwrap_or_default(),
        device_id: raw.device_id.unwrap_or_default(),
        size: raw.size.unwrap_or_default(),
        links: raw.links.unwrap_or_default(),
        linktarget: match raw.linktarget_raw {
            Some(Base64(target)) => target,
            None => raw.linktarget.unwrap_or_default().into_bytes(),
        },
        xattrs: raw.extended_attributes.unwrap_or_default().into_iter().map(Xattr::from).collect(),
        device: raw.device.unwrap_or_default(),
        content,
        subtree: raw.subtree,
        error: raw.error.filter(|error| !error.is_empty()),
        generic: raw.generic_attributes.filter(|generic| !generic.is_empty()),
    })
}

impl From<RawXattr> for Xattr {
    fn from(raw: RawXattr) -> Self {
        Self { name: raw.name.into_bytes(), value: raw.value.map(|Base64(value)| value).unwrap_or_default() }
    }
}
