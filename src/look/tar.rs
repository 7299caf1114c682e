//! Headers of a tar archive in the PAX form, as GNU tar, bsdtar and Python read them.
//!
//! Whatever the old header cannot hold goes into a PAX record before it: long names, names that are not ASCII, large
//! numbers, parts of a second, extended attributes. Content is not handled here.

use jiff::Timestamp;
use tar::{EntryType, Header};

use crate::vault::tree::{Node, NodeKind};

/// The unit of a tar archive.
pub(super) const BLOCK: usize = 512;
/// The largest number that seven octal digits hold.
const ID_MAX: u64 = 0o7_777_777;
/// The largest number that eleven octal digits hold.
const SIZE_MAX: u64 = 0o77_777_777_777;

/// What the header says besides the node.
pub(super) struct Member<'a> {
    /// Where it goes, without a slash at the start.
    pub(super) path: &'a [u8],
    /// The entry.
    pub(super) node: &'a Node,
    /// Bytes of content that follow.
    pub(super) size: u64,
    /// The member that this one is a hard link to.
    pub(super) hard_link: Option<&'a [u8]>,
}

/// The bytes in front of the content. `None` for a socket, which tar cannot hold.
pub(super) fn header(member: &Member<'_>) -> Option<Vec<u8>> {
    let node = member.node;
    let kind = match (member.hard_link, node.kind) {
        (Some(_), _) => EntryType::Link,
        (None, NodeKind::File) => EntryType::Regular,
        (None, NodeKind::Dir) => EntryType::Directory,
        (None, NodeKind::Symlink) => EntryType::Symlink,
        (None, NodeKind::Dev) => EntryType::Block,
        (None, NodeKind::CharDev) => EntryType::Char,
        (None, NodeKind::Fifo) => EntryType::Fifo,
        (None, NodeKind::Socket) => return None,
    };
    let mut path = member.path.to_vec();
    if node.kind == NodeKind::Dir {
        path.push(b'/');
    }
    let target = member.hard_link.unwrap_or(&node.linktarget);
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    let mut records = Records::default();
    let ustar = header.as_ustar_mut().expect("made as ustar in the line above");
    records.text("path", &path, &mut ustar.name);
    records.text("linkpath", target, &mut ustar.linkname);
    records.text("uname", node.user.as_bytes(), &mut ustar.uname);
    records.text("gname", node.group.as_bytes(), &mut ustar.gname);
    header.set_mode(node.mode & 0o7777);
    header.set_uid(records.number("uid", node.uid.into(), ID_MAX));
    header.set_gid(records.number("gid", node.gid.into(), ID_MAX));
    header.set_size(records.number("size", member.size, SIZE_MAX));
    header.set_mtime(records.time(node.mtime));
    if matches!(node.kind, NodeKind::Dev | NodeKind::CharDev) {
        let ustar = header.as_ustar_mut().expect("made as ustar above");
        // Beyond seven octal digits there are no device numbers that Linux hands out.
        ustar.set_device_major(rustix::fs::major(node.device) & 0o7_777_777);
        ustar.set_device_minor(rustix::fs::minor(node.device) & 0o7_777_777);
    }
    for xattr in &node.xattrs {
        records.push(&[b"SCHILY.xattr.", xattr.name.as_slice()].concat(), &xattr.value);
    }
    header.set_cksum();
    let mut out = records.finish();
    out.extend_from_slice(header.as_bytes());
    Some(out)
}

/// The end of an archive.
pub(super) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// How many zeros follow content of this length.
pub(super) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).expect("less than a block");
    (BLOCK - over) % BLOCK
}

/// PAX records: "length key=value\n".
#[derive(Default)]
struct Records {
    body: Vec<u8>,
    binary: bool,
}

impl Records {
    fn push(&mut self, key: &[u8], value: &[u8]) {
        // The length counts its own digits: find the one that agrees with itself.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.body.extend_from_slice(length.to_string().as_bytes());
        self.body.push(b' ');
        self.body.extend_from_slice(key);
        self.body.push(b'=');
        self.body.extend_from_slice(value);
        self.body.push(b'\n');
    }

    /// Puts text into a field of the header, or where it does not fit as plain ASCII, into a record.
    fn text(&mut self, key: &str, value: &[u8], field: &mut [u8]) {
        let kept = value.len().min(field.len() - 1);
        field[..kept].copy_from_slice(&value[..kept]);
        if kept < value.len() || !value.is_ascii() {
            self.push(key.as_bytes(), value);
            self.binary |= std::str::from_utf8(value).is_err();
        }
    }

    fn number(&mut self, key: &str, value: u64, max: u64) -> u64 {
        if value > max {
            self.push(key.as_bytes(), value.to_string().as_bytes());
            return 0;
        }
        value
    }

    fn time(&mut self, moment: Timestamp) -> u64 {
        let seconds = moment.as_second();
        let nanos = moment.subsec_nanosecond();
        match u64::try_from(seconds) {
            Ok(whole) if nanos == 0 && whole <= SIZE_MAX => whole,
            _ => {
                self.push(b"mtime", decimal(moment).as_bytes());
                u64::try_from(seconds).unwrap_or(0).min(SIZE_MAX)
            }
        }
    }

    /// The records as an entry of their own; nothing when there are none.
    fn finish(self) -> Vec<u8> {
        if self.body.is_empty() {
            return Vec::new();
        }
        let mut body = Self::default();
        if self.binary {
            body.push(b"hdrcharset", b"BINARY");
        }
        let mut body = body.body;
        body.extend_from_slice(&self.body);
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        let ustar = header.as_ustar_mut().expect("made as ustar two lines above");
        ustar.name[..9].copy_from_slice(b"PaxHeader");
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(body.len() as u64);
        header.set_cksum();
        let mut out = header.as_bytes().to_vec();
        body.resize(body.len() + padding(body.len() as u64), 0);
        out.append(&mut body);
        out
    }
}

/// Seconds with up to nine decimals, exact also before 1970.
fn decimal(moment: Timestamp) -> String {
    let nanos = moment.as_nanosecond();
    let (sign, nanos) = if nanos < 0 { ("-", nanos.unsigned_abs()) } else { ("", nanos.unsigned_abs()) };
    let text = format!("{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::vault::tree::Xattr;

    fn node(kind: NodeKind) -> Node {
        let mut node = Node::new(*b"n", kind);
        node.mode = 0o4751;
        node.mtime = Timestamp::new(1_700_000_000, 123_456_700).expect("in range");
        (node.uid, node.gid) = (1000, 3_000_000_000);
        (node.user, node.group) = ("ana".into(), "größe".into());
        node
    }

    #[test]
    fn what_the_old_header_cannot_hold_comes_back_from_the_records() {
        let mut node = node(NodeKind::File);
        node.xattrs.push(Xattr { name: b"user.note".to_vec(), value: b"a\0=b".to_vec() });
        let path = [b"long/".repeat(60), b"caf\xe9".to_vec()].concat();
        let member = Member { path: &path, node: &node, size: 5, hard_link: None };
        let mut archive = header(&member).expect("a file");
        archive.extend_from_slice(b"hello");
        archive.resize(archive.len() + padding(5), 0);
        archive.extend_from_slice(&END);

        let mut read = ::tar::Archive::new(archive.as_slice());
        let mut entries = read.entries().expect("an archive");
        let mut entry = entries.next().expect("one member").expect("readable");
        assert_eq!(entry.path_bytes().as_ref(), path.as_slice());
        assert_eq!(entry.header().mode().expect("octal"), 0o4751);
        assert_eq!(entry.header().uid().expect("octal"), 1000);
        let records: Vec<(String, Vec<u8>)> = entry
            .pax_extensions()
            .expect("well formed")
            .expect("some")
            .map(|record| record.expect("well formed"))
            .map(|record| (record.key().expect("UTF-8").to_owned(), record.value_bytes().to_vec()))
            .collect();
        let value = |key: &str| records.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_slice());
        assert_eq!(value("mtime"), Some(&b"1700000000.1234567"[..]));
        assert_eq!(value("gid"), Some(&b"3000000000"[..]));
        assert_eq!(value("gname"), Some("größe".as_bytes()));
        assert_eq!(value("SCHILY.xattr.user.note"), Some(&b"a\0=b"[..]));
        assert_eq!(value("hdrcharset"), Some(&b"BINARY"[..]));
        let mut content = String::new();
        entry.read_to_string(&mut content).expect("readable");
        assert_eq!(content, "hello");
        drop(entry);
        assert!(entries.next().is_none());
    }

    #[test]
    fn a_plain_entry_needs_no_records() {
        let mut node = node(NodeKind::Dir);
        node.gid = 0;
        node.group.clear();
        node.mtime = Timestamp::UNIX_EPOCH;
        let bytes = header(&Member { path: b"etc", node: &node, size: 0, hard_link: None }).expect("a folder");
        assert_eq!(bytes.len(), BLOCK);
        assert_eq!(&bytes[..5], b"etc/\0");
    }

    #[test]
    fn times_are_exact_on_both_sides_of_1970() {
        for (seconds, nanos, text) in [(-1, -500_000_000, "-1.5"), (0, 1, "0.000000001"), (-10, 0, "-10")] {
            let moment = Timestamp::new(seconds, nanos).expect("in range");
            assert_eq!(decimal(moment), text);
        }
    }

    #[test]
    fn record_lengths_count_themselves() {
        for length in 0..2000 {
            let mut records = Records::default();
            records.push(b"k", &vec![b'v'; length]);
            let text = String::from_utf8(records.body).expect("ASCII");
            let said: usize = text.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
            assert_eq!(said, text.len());
        }
    }

    #[test]
    fn sockets_have_no_place() {
        assert!(header(&Member { path: b"s", node: &node(NodeKind::Socket), size: 0, hard_link: None }).is_none());
    }
}
