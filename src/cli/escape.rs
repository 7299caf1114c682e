//! Makes text safe for a terminal: a file name, an object key or a host name is data and must not move the cursor.
//!
//! What is escaped: control characters (C0, DEL, C1), characters that change direction or show nothing, the backslash
//! (so that the escaped form is unambiguous) and bytes that are not UTF-8. What is left alone: all else that prints.

use std::fmt::Write as _;

/// A name as bytes, shown on one line.
pub(crate) fn name(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push(&mut out, c, Backslash::Escaped));
        for byte in chunk.invalid() {
            push_byte(&mut out, *byte);
        }
    }
    out
}

/// Running text: like [`name`], but a backslash stays itself.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push(&mut out, c, Backslash::Plain));
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Backslash {
    Escaped,
    Plain,
}

fn push(out: &mut String, c: char, backslash: Backslash) {
    match c {
        '\\' if backslash == Backslash::Escaped => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c.is_ascii_control() => push_byte(out, c as u8),
        c if c.is_control() || unseen(c) => {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
        c => out.push(c),
    }
}

fn push_byte(out: &mut String, byte: u8) {
    // Writing to a string cannot fail.
    let _ = write!(out, "\\x{byte:02x}");
}

/// Characters that reorder a line or take no place on it.
fn unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_drive_a_terminal() {
        let table: [(&[u8], &str); 10] = [
            (b"plain name.txt", "plain name.txt"),
            ("größe 写真".as_bytes(), "größe 写真"),
            (b"a\nb\r\tc", "a\\nb\\r\\tc"),
            (b"\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
            (b"\x7f\x00", "\\x7f\\x00"),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
            (b"caf\xe9 \xff", "caf\\xe9 \\xff"),
            (b"a\\nb", "a\\\\nb"),
            ("evil\u{202e}gnp.exe".as_bytes(), "evil\\u{202e}gnp.exe"),
            ("zero\u{200b}width".as_bytes(), "zero\\u{200b}width"),
        ];
        for (raw, shown) in table {
            assert_eq!(name(raw), shown);
        }
    }

    #[test]
    fn running_text_keeps_its_backslashes() {
        assert_eq!(text("a\\b \x1b[2J\n"), "a\\b \\x1b[2J\\n");
    }

    #[test]
    fn different_names_look_different() {
        let mut seen = std::collections::HashSet::new();
        for a in 0..=255_u8 {
            for b in [b'n', b'\\', b'\n', 0xff, 0xc3, 0xa9] {
                assert!(seen.insert(name(&[a, b])), "{a} {b}");
            }
        }
    }
}
