//! One node as canonical JSON, appended to a buffer without a detour.
//!
//! In three parts, so that whoever writes a file of a million chunks can empty the buffer in between. Keys come in the
//! format's order; those that are zero are left out, but for name, type, times, owner and content.

use super::escape::{base64, characters, hex, number, string};
use super::mode::go_mode;
use super::name::{is_plain, quote_parts};
use super::node::{Node, NodeKind};
use super::time;
use crate::vault::Id;

/// What comes before a tree's first node.
pub(super) const OPENING: &[u8] = b"{\"nodes\":[";
/// What comes after its last.
pub(super) const CLOSING: &[u8] = b"]}\n";

/// Everything up to the ids of the content.
pub(super) fn head(out: &mut Vec<u8>, node: &Node) {
    out.extend_from_slice(b"{\"name\":\"");
    match std::str::from_utf8(&node.name) {
        Ok(plain) if is_plain(&node.name) => characters(out, plain),
        _ => quote_parts(&node.name, |part| characters(out, part)),
    }
    out.extend_from_slice(b"\",\"type\":\"");
    out.extend_from_slice(node.kind.as_str().as_bytes());
    out.push(b'"');
    number_field(out, b",\"mode\":", u64::from(go_mode(node.kind, node.mode)));
    out.extend_from_slice(b",\"mtime\":\"");
    time::write(out, node.mtime);
    out.extend_from_slice(b"\",\"atime\":\"");
    time::write(out, node.atime);
    out.extend_from_slice(b"\",\"ctime\":\"");
    time::write(out, node.ctime);
    out.extend_from_slice(b"\",\"uid\":");
    number(out, u64::from(node.uid));
    out.extend_from_slice(b",\"gid\":");
    number(out, u64::from(node.gid));
    text_field(out, b",\"user\":", node.user.as_bytes());
    text_field(out, b",\"group\":", node.group.as_bytes());
    number_field(out, b",\"inode\":", node.inode);
    number_field(out, b",\"device_id\":", node.device_id);
    number_field(out, b",\"size\":", node.size);
    number_field(out, b",\"links\":", node.links);
    text_field(out, b",\"linktarget\":", &node.linktarget);
    if std::str::from_utf8(&node.linktarget).is_err() {
        out.extend_from_slice(b",\"linktarget_raw\":");
        base64(out, &node.linktarget);
    }
    xattrs(out, node);
    generic_attributes(out, node);
    number_field(out, b",\"device\":", node.device);
    out.extend_from_slice(b",\"content\":");
    out.extend_from_slice(if has_content(node) { b"[" } else { b"null" });
}

/// One of the content's ids so many times, the first of all of them with [`Place::First`].
pub(super) fn ids(out: &mut Vec<u8>, id: &Id, count: u32, mut place: Place) {
    for _ in 0..count {
        out.extend_from_slice(match place {
            Place::First => b"\"",
            Place::Later => b",\"",
        });
        hex(out, &id.0);
        out.push(b'"');
        place = Place::Later;
    }
}

/// No fewer bytes than everything behind the head takes, the tree's closing included.
pub(super) fn rest(node: &Node) -> u64 {
    // Two quotes, 64 digits, a comma; brackets and a subtree's id; a character may be escaped with six.
    let (id, frame, escaped) = (67, 128, 6);
    node.content.len() * id + frame + node.error.as_ref().map_or(0, |error| error.len() as u64) * escaped
}

/// Whether ids were written before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing comes before.
    First,
    /// A comma is due.
    Later,
}

/// Everything after the ids of the content.
pub(super) fn tail(out: &mut Vec<u8>, node: &Node) {
    if has_content(node) {
        out.push(b']');
    }
    if let Some(subtree) = node.subtree {
        out.extend_from_slice(b",\"subtree\":\"");
        hex(out, &subtree.0);
        out.push(b'"');
    }
    text_field(out, b",\"error\":", node.error.as_deref().unwrap_or_default().as_bytes());
    out.push(b'}');
}

/// An empty file has an empty list: null would be an error to restic's check.
fn has_content(node: &Node) -> bool {
    node.kind == NodeKind::File || !node.content.is_empty()
}

fn number_field(out: &mut Vec<u8>, key: &[u8], value: u64) {
    if value != 0 {
        out.extend_from_slice(key);
        number(out, value);
    }
}

fn text_field(out: &mut Vec<u8>, key: &[u8], text: &[u8]) {
    if !text.is_empty() {
        out.extend_from_slice(key);
        string(out, text);
    }
}

fn xattrs(out: &mut Vec<u8>, node: &Node) {
    let mut before: &[u8] = b",\"extended_attributes\":[";
    for xattr in &node.xattrs {
        out.extend_from_slice(before);
        out.extend_from_slice(b"{\"name\":");
        string(out, &xattr.name);
        out.extend_from_slice(b",\"value\":");
        base64(out, &xattr.value);
        out.push(b'}');
        before = b",";
    }
    if !node.xattrs.is_empty() {
        out.push(b']');
    }
}

/// Rare (vaults written on Windows), so the detour over a string is fine. The map is sorted by key, as Go's maps are.
fn generic_attributes(out: &mut Vec<u8>, node: &Node) {
    let Some(generic) = node.generic.as_ref().filter(|generic| !generic.is_empty()) else { return };
    let mut before: &[u8] = b",\"generic_attributes\":{";
    for (key, value) in generic {
        out.extend_from_slice(before);
        string(out, key.as_bytes());
        out.push(b':');
        // Go escapes inside values as well; outside strings these characters do not occur
        for char in value.to_string().chars() {
            match char {
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => characters(out, char.encode_utf8(&mut [0; 4])),
                char => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        before = b",";
    }
    out.push(b'}');
}
