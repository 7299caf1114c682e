//! How an entry of a snapshot is shown: a line for people, fields for programs.

use base64::Engine;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{escape, time};
use crate::vault::tree::{Node, NodeKind};

/// An entry as programs get it.
#[derive(Debug, Serialize)]
pub(crate) struct Entry<'a> {
    path: String,
    /// The exact bytes, where they are not UTF-8 and `path` therefore only resembles them.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    r#type: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    user: &'a str,
    group: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    mtime: jiff::Timestamp,
    ctime: jiff::Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_base64: Option<String>,
}

impl<'a> Entry<'a> {
    /// The entry at this path.
    pub(crate) fn new(path: &[u8], node: &'a Node) -> Self {
        let (path, path_base64) = json_bytes(path);
        let link = (node.kind == NodeKind::Symlink).then(|| json_bytes(&node.linktarget));
        let (target, target_base64) = link.map_or((None, None), |(text, exact)| (Some(text), exact));
        Self {
            path,
            path_base64,
            r#type: node.kind.as_str(),
            mode: format!("{:04o}", node.mode & 0o7777),
            uid: node.uid,
            gid: node.gid,
            user: &node.user,
            group: &node.group,
            size: (node.kind == NodeKind::File).then_some(node.size),
            mtime: node.mtime,
            ctime: node.ctime,
            target,
            target_base64,
        }
    }
}

/// Bytes as JSON can carry them: as text, and exactly where text is not exact.
fn json_bytes(bytes: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => {
            let exact = base64::engine::general_purpose::STANDARD.encode(bytes);
            (String::from_utf8_lossy(bytes).into_owned(), Some(exact))
        }
    }
}

/// A line like that of `ls -l`, escaped.
pub(crate) fn long_line(path: &[u8], node: &Node, zone: &TimeZone) -> String {
    let owner = |name: &str, number: u32| if name.is_empty() { number.to_string() } else { escape::text(name) };
    let size = match node.kind {
        NodeKind::Dev | NodeKind::CharDev => {
            format!("{}, {}", rustix::fs::major(node.device), rustix::fs::minor(node.device))
        }
        NodeKind::File | NodeKind::Dir | NodeKind::Symlink | NodeKind::Fifo | NodeKind::Socket => node.size.to_string(),
    };
    let mut line = format!(
        "{} {:<8} {:<8} {size:>12} {} {}",
        mode_text(node),
        owner(&node.user, node.uid),
        owner(&node.group, node.gid),
        time::show(node.mtime, zone),
        escape::name(path),
    );
    if node.kind == NodeKind::Symlink {
        line.push_str(" -> ");
        line.push_str(&escape::name(&node.linktarget));
    }
    line
}

/// "drwxr-xr-x"
fn mode_text(node: &Node) -> String {
    let mut text = String::with_capacity(10);
    text.push(match node.kind {
        NodeKind::File => '-',
        NodeKind::Dir => 'd',
        NodeKind::Symlink => 'l',
        NodeKind::Dev => 'b',
        NodeKind::CharDev => 'c',
        NodeKind::Fifo => 'p',
        NodeKind::Socket => 's',
    });
    for (shift, special, letters) in [(6, 0o4000, ['s', 'S']), (3, 0o2000, ['s', 'S']), (0, 0o1000, ['t', 'T'])] {
        let bits = node.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (node.mode & special != 0, bits & 1 != 0) {
            (true, true) => letters[0],
            (true, false) => letters[1],
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: NodeKind, mode: u32) -> Node {
        let mut node = Node::new(*b"n", kind);
        node.mode = mode;
        node
    }

    #[test]
    fn modes_read_as_ls_shows_them() {
        let table = [
            (NodeKind::File, 0o644, "-rw-r--r--"),
            (NodeKind::Dir, 0o1777, "drwxrwxrwt"),
            (NodeKind::File, 0o4755, "-rwsr-xr-x"),
            (NodeKind::File, 0o2644, "-rw-r-Sr--"),
            (NodeKind::Fifo, 0o1000, "p--------T"),
            (NodeKind::Symlink, 0o777, "lrwxrwxrwx"),
        ];
        for (kind, mode, text) in table {
            assert_eq!(mode_text(&node(kind, mode)), text);
        }
    }

    #[test]
    fn a_long_line_is_one_line() {
        let mut link = node(NodeKind::Symlink, 0o777);
        link.linktarget = b"../x\ny\xff".to_vec();
        link.user = "ana".into();
        let line = long_line(b"/a\x1b[2J", &link, &TimeZone::UTC);
        assert_eq!(
            line,
            "lrwxrwxrwx ana      0                   0 1970-01-01 00:00:00+00:00 /a\\x1b[2J -> ../x\\ny\\xff"
        );
    }

    #[test]
    fn names_that_are_not_text_stay_exact_in_json() {
        let shown = serde_json::to_value(Entry::new(b"/caf\xe9", &node(NodeKind::File, 0o600))).expect("plain data");
        assert_eq!(shown["path"], "/caf\u{fffd}");
        assert_eq!(shown["path_base64"], "L2NhZuk=");
        assert_eq!(shown["mode"], "0600");
        let shown = serde_json::to_value(Entry::new(b"/a", &node(NodeKind::Dir, 0o700))).expect("plain data");
        assert!(shown.get("path_base64").is_none() && shown.get("size").is_none());
    }
}
