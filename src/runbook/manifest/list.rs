//! The two forms in which a manifest is written down.

use std::collections::BTreeMap;

use super::{Entry, Kind, ManifestError};

/// The records of the canonical form.
pub(super) fn canonical(records: &[u8]) -> Result<BTreeMap<Vec<u8>, Entry>, ManifestError> {
    let mut entries = BTreeMap::new();
    let mut fields = records.split(|byte| *byte == 0);
    for line in 2.. {
        let Some(path) = fields.next() else { break };
        if path.is_empty() && fields.clone().next().is_none() {
            break; // what follows the last NUL
        }
        let record = (fields.next(), fields.next(), fields.next());
        let (path, entry) = parse_record(path, record).ok_or(ManifestError::Line { line })?;
        entries.insert(path, entry);
    }
    Ok(entries)
}

type Fields<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, Option<&'a [u8]>);

fn parse_record(path: &[u8], (kind, size, digest): Fields<'_>) -> Option<(Vec<u8>, Entry)> {
    let kind =
        [Kind::File, Kind::Folder, Kind::Link, Kind::Other].into_iter().find(|it| kind == Some(&[it.letter()]))?;
    let size = Some(std::str::from_utf8(size?).ok()?.parse().ok()?);
    Some((relative(path)?, Entry { kind, size, digest: digest_of(digest?)? }))
}

/// Lines of `digest`, a blank, a blank or `*`, and a path. A line that begins with a backslash has escapes in its path.
pub(super) fn sha256sum(text: &[u8]) -> Result<BTreeMap<Vec<u8>, Entry>, ManifestError> {
    let mut entries = BTreeMap::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let (path, digest) = parse_line(line).ok_or(ManifestError::Line { line: number + 1 })?;
        entries.insert(path, Entry { kind: Kind::File, size: None, digest });
    }
    Ok(entries)
}

fn parse_line(line: &[u8]) -> Option<(Vec<u8>, [u8; 32])> {
    let (escaped, line) = match line.strip_prefix(b"\\") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (digest, rest) = line.split_at_checked(64)?;
    let path = rest.strip_prefix(b"  ").or_else(|| rest.strip_prefix(b" *"))?;
    let path = if escaped { unescape(path)? } else { path.to_vec() };
    Some((relative(&path)?, digest_of(digest)?))
}

fn unescape(path: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(path.len());
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            other => *other,
        });
    }
    Some(plain)
}

/// Without `./` and a leading `/`: lists are often made at another place. `None` when nothing remains or it climbs.
fn relative(path: &[u8]) -> Option<Vec<u8>> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    (!parts.is_empty() && !parts.contains(&b"..".as_slice())).then(|| parts.join(&b'/'))
}

fn digest_of(hex_digits: &[u8]) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    hex::decode_to_slice(hex_digits, &mut digest).ok()?;
    Some(digest)
}
