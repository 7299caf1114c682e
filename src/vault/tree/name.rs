//! Names: raw bytes in memory, Go's quoting in the format.

use super::escape::hex_digits;
use super::printable::BOUNDARIES;

/// Why bytes are not the name of a folder's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// It has no bytes.
    #[error("it is empty")]
    Empty,
    /// It is `.` or `..`.
    #[error("it is . or ..")]
    Dots,
    /// It holds a `/`, and so would be a path.
    #[error("it holds a /")]
    Slash,
    /// It holds a zero byte, and so would be cut off.
    #[error("it holds a zero byte")]
    Nul,
    /// It is not quoted in the way that the format asks for.
    #[error("it is not well quoted")]
    Quoting,
}

/// Checks that `raw` can be the name of an entry: one path component that stays inside its folder.
pub fn check_name(raw: &[u8]) -> Result<(), NameFault> {
    if raw.is_empty() {
        return Err(NameFault::Empty);
    }
    if raw == b"." || raw == b".." {
        return Err(NameFault::Dots);
    }
    match raw.iter().find(|byte| matches!(byte, b'/' | 0)) {
        None => Ok(()),
        Some(b'/') => Err(NameFault::Slash),
        Some(_) => Err(NameFault::Nul),
    }
}

/// The name as Go's `strconv.Quote` writes it, without the quotes around it: printable text as it is, the rest escaped.
/// Safe to show to people.
pub fn quote(raw: &[u8]) -> String {
    let mut out = String::with_capacity(raw.len());
    quote_parts(raw, |part| out.push_str(part));
    out
}

/// Whether a name needs no quoting: the common case, decided without decoding.
pub(super) fn is_plain(raw: &[u8]) -> bool {
    raw.iter().all(|byte| matches!(byte, 0x20..0x7f) && !matches!(byte, b'"' | b'\\'))
}

/// Hands the quoted name to `emit`, piece by piece.
pub(super) fn quote_parts(raw: &[u8], mut emit: impl FnMut(&str)) {
    let mut text = [0; 10];
    for part in raw.utf8_chunks() {
        for char in part.valid().chars() {
            emit(quoted_char(char, &mut text));
        }
        for byte in part.invalid() {
            emit(escape(b'x', &[*byte], &mut text));
        }
    }
}

fn quoted_char(char: char, text: &mut [u8; 10]) -> &str {
    match char {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\x07' => "\\a",
        '\x08' => "\\b",
        '\x0c' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\x0b' => "\\v",
        char if is_printable(char) => char.encode_utf8(text),
        '\0'..' ' | '\x7f' => escape(b'x', &(char as u32).to_be_bytes()[3..], text),
        '\0'..='\u{ffff}' => escape(b'u', &(char as u32).to_be_bytes()[2..], text),
        _ => escape(b'U', &(char as u32).to_be_bytes(), text),
    }
}

/// A backslash, `letter` and the hex digits of at most four `bytes`.
fn escape<'a>(letter: u8, bytes: &[u8], text: &'a mut [u8; 10]) -> &'a str {
    text[0] = b'\\';
    text[1] = letter;
    for (digits, byte) in text[2..].chunks_exact_mut(2).zip(bytes) {
        digits.copy_from_slice(&hex_digits(*byte));
    }
    std::str::from_utf8(&text[..2 + 2 * bytes.len()]).expect("only ASCII was written")
}

/// Go's `strconv.IsPrint`: letters, marks, numbers, punctuation, symbols and the ASCII space.
fn is_printable(char: char) -> bool {
    let code = char as u32;
    match code {
        0x20..0x7f => true,
        _ => BOUNDARIES.partition_point(|boundary| *boundary <= code) % 2 == 1,
    }
}

/// The raw name of a quoted one, accepting exactly what Go's `strconv.Unquote` accepts between double quotes.
pub fn unquote(quoted: &str) -> Result<Vec<u8>, NameFault> {
    if !quoted.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        return Ok(quoted.as_bytes().to_vec());
    }
    let mut raw = Vec::with_capacity(quoted.len());
    let mut rest = quoted.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'"' | b'\n' => return Err(NameFault::Quoting),
            b'\\' => rest = unescape(after, &mut raw).ok_or(NameFault::Quoting)?,
            byte => raw.push(byte),
        }
    }
    Ok(raw)
}

/// Appends what the escape that begins after a backslash stands for, and returns what follows it.
fn unescape<'a>(escape: &'a [u8], raw: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&letter, rest) = escape.split_first()?;
    let byte = match letter {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' | b'"' => letter,
        b'x' => {
            let (value, rest) = digits(rest, 2, 16)?;
            raw.push(u8::try_from(value).ok()?);
            return Some(rest);
        }
        b'0'..=b'7' => {
            let (value, rest) = digits(escape, 3, 8)?;
            raw.push(u8::try_from(value).ok()?);
            return Some(rest);
        }
        b'u' | b'U' => {
            let (value, rest) = digits(rest, if letter == b'u' { 4 } else { 8 }, 16)?;
            let char = char::from_u32(value)?;
            raw.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(rest);
        }
        _ => return None,
    };
    raw.push(byte);
    Some(rest)
}

/// Exactly `count` digits to the base `radix`, and what follows them.
fn digits(text: &[u8], count: usize, radix: u32) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(count)?;
    let value = digits.iter().try_fold(0_u32, |value, digit| {
        let digit = char::from(*digit).to_digit(radix)?;
        value.checked_mul(radix)?.checked_add(digit)
    })?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_quoted_as_go_does() {
        for (raw, quoted) in [
            (&b"plain name.txt"[..], "plain name.txt"),
            (b"it's", "it's"),
            (b"\"\\", r#"\"\\"#),
            (b"\x07\x08\x0c\n\r\t\x0b", r"\a\b\f\n\r\t\v"),
            (b"\x00\x01\x1b\x7f", r"\x00\x01\x1b\x7f"),
            (b"\xff\xc3(", r"\xff\xc3("),
            (b"\xed\xa0\x80", r"\xed\xa0\x80"),
            ("\u{a0}\u{ad}é".as_bytes(), r"\u00a0\u00adé"),
            ("\u{200d}\u{2028}\u{3000}".as_bytes(), r"\u200d\u2028\u3000"),
            ("\u{e0001}😀\u{fffd}".as_bytes(), "\\U000e0001😀\u{fffd}"),
            // new in Unicode 15.0, and in 15.1 and 16.0
            ("\u{1fae8}\u{2ffc}\u{1fae9}".as_bytes(), "\u{1fae8}\\u2ffc\\U0001fae9"),
        ] {
            assert_eq!(quote(raw), quoted);
            assert_eq!(unquote(quoted).unwrap(), raw);
        }
    }

    #[test]
    fn unquoting_is_as_strict_as_go() {
        for (quoted, raw) in
            [(r"\101\x41\u0041\U00000041", &b"AAAA"[..]), (r"\377\xFf", b"\xff\xff"), ("\t\r", b"\t\r")]
        {
            assert_eq!(unquote(quoted).unwrap(), raw);
        }
        for bad in [
            "\"",
            "a\"b",
            "\n",
            "\\",
            r"\'",
            r"\x4",
            r"\x4g",
            r"\u12",
            r"\ud800",
            r"\U00110000",
            r"\400",
            r"\18",
            r"\q",
            r"\x+1",
        ] {
            assert_eq!(unquote(bad), Err(NameFault::Quoting), "{bad}");
        }
    }

    #[test]
    fn only_single_components_are_names() {
        for (raw, fault) in [
            (&b""[..], NameFault::Empty),
            (b".", NameFault::Dots),
            (b"..", NameFault::Dots),
            (b"a/b", NameFault::Slash),
            (b"/", NameFault::Slash),
            (b"a\0", NameFault::Nul),
        ] {
            assert_eq!(check_name(raw), Err(fault));
        }
        for raw in [&b"..."[..], b" ", b"\n", b"\xff", b".a"] {
            assert_eq!(check_name(raw), Ok(()));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(raw: Vec<u8>) {
            let quoted = quote(&raw);
            prop_assert_eq!(is_plain(&raw), quoted.as_bytes() == raw && quoted.is_ascii());
            prop_assert_eq!(unquote(&quoted).unwrap(), raw);
        }

        #[test]
        fn any_text_comes_back(text in "\\PC*|(\\s|\\p{C}|[\"\\\\])*") {
            prop_assert_eq!(unquote(&quote(text.as_bytes())).unwrap(), text.as_bytes());
        }

        #[test]
        fn unquoting_never_panics(text in "(\\\\[abfnrtvxuU0-9\"']|[0-9a-f]|\\PC)*") {
            let _ = unquote(&text);
        }
    }
}
