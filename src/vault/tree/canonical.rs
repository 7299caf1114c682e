//! A node as restic and drctl write it, decoded in one pass.
//!
//! Every backup, check, prune and restore reads all trees of a snapshot, and the general decoder takes several times as
//! long. What deviates from the usual form (white space, escapes, another order of keys, rare fields) is left to that
//! one: [`node`] has nothing to say then, and never anything that the general decoder would not say.

use jiff::Timestamp;

use super::content::Content;
use super::mode::unix_mode;
use super::name::check_name;
use super::node::{Node, NodeKind};
use super::reader::Limits;
use super::time;
use crate::vault::plain_json::Text;

/// The node with which `json` begins, and how many bytes it takes; none when it is not all there, or is to be read by
/// the general decoder.
pub(super) fn node(json: &[u8], limits: &Limits) -> Option<(Node, usize)> {
    let mut text = Text::new(json);
    text.skip(b"{\"name\":\"")?;
    let name = text.string()?;
    check_name(name.as_bytes()).ok()?;
    text.skip(b",\"type\":\"")?;
    let mut node = Node::new(name, NodeKind::from_word(text.string()?)?);
    node.mode = unix_mode(text.small(b",\"mode\":")?);
    node.mtime = time(&mut text, b",\"mtime\":\"")?;
    node.atime = time(&mut text, b",\"atime\":\"")?;
    node.ctime = time(&mut text, b",\"ctime\":\"")?;
    text.rest().starts_with(b",\"uid\":").then_some(())?;
    node.uid = text.small(b",\"uid\":")?;
    node.gid = text.small(b",\"gid\":")?;
    node.user.push_str(text.optional_string(b",\"user\":\"")?);
    node.group.push_str(text.optional_string(b",\"group\":\"")?);
    node.inode = text.number(b",\"inode\":")?;
    node.device_id = text.number(b",\"device_id\":")?;
    node.size = text.number(b",\"size\":")?;
    node.links = text.number(b",\"links\":")?;
    node.linktarget.extend_from_slice(text.optional_string(b",\"linktarget\":\"")?.as_bytes());
    text.skip(b",\"content\":")?;
    if text.skip(b"null").is_none() {
        node.content = ids(&mut text, limits.chunks as u64)?;
    }
    if text.skip(b",\"subtree\":\"").is_some() {
        node.subtree = Some(text.id()?);
    }
    text.skip(b"}")?;
    let taken = json.len() - text.rest().len();
    (taken <= limits.node_bytes).then_some((node, taken))
}

/// A time under this key, which must be there.
fn time(text: &mut Text<'_>, key: &[u8]) -> Option<Timestamp> {
    text.skip(key)?;
    let text = text.string()?;
    utc(text.as_bytes()).or_else(|| time::parse(text).ok())
}

/// A list of at most so many ids.
fn ids(text: &mut Text<'_>, most: u64) -> Option<Content> {
    let mut content = Content::default();
    text.skip(b"[")?;
    if text.skip(b"]").is_some() {
        return Some(content);
    }
    loop {
        text.skip(b"\"")?;
        content.push(text.id()?);
        if content.len() > most {
            return None;
        }
        if text.skip(b"]").is_some() {
            return Some(content);
        }
        text.skip(b",")?;
    }
}

/// `2023-11-14T22:13:20.123456789Z`, with one to nine digits of a fraction or none, in any year that has four digits.
fn utc(text: &[u8]) -> Option<Timestamp> {
    let (fixed, rest) = text.split_first_chunk::<19>()?;
    let [y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b'T', h1, h2, b':', mi1, mi2, b':', s1, s2] = *fixed else {
        return None;
    };
    let year = two(y1, y2)? * 100 + two(y3, y4)?;
    let (month, day) = (two(mo1, mo2)?, two(d1, d2)?);
    let (hour, minute, second) = (two(h1, h2)?, two(mi1, mi2)?, two(s1, s2)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap),
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let nanoseconds = match rest {
        b"Z" => 0,
        [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) => {
            let value = digits.iter().try_fold(0, |value, digit| Some(value * 10 + one(*digit)?))?;
            value * 10_i64.pow(9 - digits.len() as u32)
        }
        _ => return None,
    };
    // Days since 1 March of the year 0, in years that begin with March, so that a leap day is a year's last.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = years * 365 + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
    let day = before + (153 * months + 2) / 5 + day - 1 - DAYS_TO_1970;
    let second = day * 86_400 + hour * 3600 + minute * 60 + second;
    Timestamp::new(second, i32::try_from(nanoseconds).ok()?).ok()
}

/// From 1 March of the year 0 to 1 January 1970.
const DAYS_TO_1970: i64 = 719_468;

fn one(digit: u8) -> Option<i64> {
    digit.is_ascii_digit().then(|| i64::from(digit - b'0'))
}

fn two(first: u8, second: u8) -> Option<i64> {
    Some(one(first)? * 10 + one(second)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{TreeBody, TreeBuilder, TreeReader};
    use super::*;
    use crate::vault::Id;
    use crate::vault::tree::parse;
    use crate::vault::tree::scan::NodeScan;

    /// What the general decoder says of the node with which this begins, if it is one, and how long it is.
    fn general(json: &[u8]) -> Option<(Node, usize)> {
        let mut scan = NodeScan::default();
        let taken = scan.feed(json, &Limits::default()).ok()??;
        let node = parse::node(&scan.json, std::mem::take(&mut scan.ids), 0).ok()?;
        Some((node, taken))
    }

    const FILE: &str = r#"{"name":"a b","type":"file","mode":420,"mtime":"2023-11-14T22:13:20.12Z","atime":"2024-02-29T00:00:00Z","ctime":"1969-12-31T23:59:59.999999999Z","uid":0,"gid":1000,"user":"root","group":"users","inode":18446744073709551615,"device_id":3,"size":12,"links":1,"content":["ID","ID"]}"#;
    const DIR: &str = r#"{"name":"ü","type":"dir","mode":2147484141,"mtime":"2023-11-14T22:13:20+01:00","atime":"2023-11-14T22:13:20+01:00","ctime":"2023-11-14T22:13:20+01:00","uid":0,"gid":0,"content":null,"subtree":"ID"}"#;
    const LINK: &str = r#"{"name":"l","type":"symlink","mode":134218239,"mtime":"0000-01-01T00:00:00Z","atime":"9999-12-30T21:59:59Z","ctime":"0004-02-29T12:00:00Z","uid":4294967295,"gid":0,"inode":9,"links":1,"linktarget":"../x","content":null}"#;

    fn texts() -> Vec<String> {
        let id = Id::of(b"x").to_string();
        [FILE, DIR, LINK].into_iter().map(|text| text.replace("ID", &id)).collect()
    }

    #[test]
    fn the_usual_form_is_read_as_the_general_decoder_reads_it() {
        for text in texts() {
            let padded = format!("{text},{{\"name\":");
            let read = node(padded.as_bytes(), &Limits::default());
            assert_eq!(read.as_ref().expect("a node of the usual form").1, text.len());
            assert_eq!(read, general(text.as_bytes()));
            for end in 0..text.len() {
                assert_eq!(node(&text.as_bytes()[..end], &Limits::default()), None, "{end} bytes of {text}");
            }
        }
    }

    #[test]
    fn what_deviates_is_left_to_the_general_decoder() {
        let file = &texts()[0];
        for (from, to) in [
            ("\"a b\"", "\"a\\u0020b\""),
            ("\"a b\"", "\"a/b\""),
            ("\"a b\"", "\"..\""),
            ("\"mode\":420", "\"mode\": 420"),
            ("\"mode\":420", "\"mode\":0420"),
            ("\"mode\":420", "\"mode\":4294967296"),
            ("\"mode\":420", "\"mode\":4.2"),
            ("18446744073709551615", "18446744073709551616"),
            ("2024-02-29", "2023-02-29"),
            ("22:13:20.12Z", "24:13:20Z"),
            ("22:13:20.12Z", "22:13:20.Z"),
            ("\"links\":1", "\"links\":1,\"error\":\"x\""),
            ("\"user\":\"root\"", "\"user\":\"ro\tot\""),
            ("\"type\":\"file\"", "\"type\":\"door\""),
            ("[\"2", "[\"G"),
        ] {
            let text = file.replacen(from, to, 1);
            assert_ne!(text, *file, "{from}");
            assert_eq!(node(text.as_bytes(), &Limits::default()), None, "{to}");
        }
        let limits = Limits { chunks: 1, ..Limits::default() };
        assert_eq!(node(file.as_bytes(), &limits), None);
        let limits = Limits { node_bytes: file.len() - 1, ..Limits::default() };
        assert_eq!(node(file.as_bytes(), &limits), None);
    }

    #[test]
    fn whatever_a_builder_writes_of_plain_files_takes_the_short_way() {
        let mut builder = TreeBuilder::new(std::env::temp_dir().into());
        let mut written = Node::new("f", NodeKind::File);
        written.content = [Id::of(b"1"), Id::of(b"2")].into_iter().collect();
        (written.mode, written.size, written.user) = (0o644, 7, "ana".to_owned());
        builder.push(&written).unwrap();
        let TreeBody::Memory(json) = builder.finish().unwrap().body else { panic!("a small tree is not spilled") };
        let text = json.strip_prefix(b"{\"nodes\":[").unwrap();
        assert_eq!(node(text, &Limits::default()).expect("the short way").0, written);
        assert_eq!(TreeReader::new(&json[..]).next().unwrap().unwrap(), written);
    }

    proptest! {
        #[test]
        fn no_text_is_read_in_another_way(which in 0_usize..3, at: prop::sample::Index, byte: u8, kind in 0..3) {
            let mut text = texts().swap_remove(which).into_bytes();
            let at = at.index(text.len());
            match kind {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => drop(text.remove(at)),
            }
            if let Some(read) = node(&text, &Limits::default()) {
                prop_assert_eq!(Some(read), general(&text));
            }
        }

        #[test]
        fn times_are_those_of_the_general_decoder(
            year in 0..10_000, month in 0..14, day in 0..33, hour in 0..25, minute in 0..61, second in 0..62, part in "(\\.[0-9]{0,10})?",
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{part}Z");
            if let Some(read) = utc(text.as_bytes()) {
                prop_assert_eq!(Some(read), time::parse(&text).ok());
            } else if day <= 28 && (1..=12).contains(&month) && day > 0 && hour < 24 && minute < 60 && second < 60 && year < 9999 {
                prop_assert!(part == "." || part.len() > 10, "{}", text);
            }
        }
    }
}
