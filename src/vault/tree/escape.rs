//! JSON text as Go's encoding/json writes it, appended to a buffer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` as a JSON string, quotes included. A byte that is not UTF-8 becomes a replacement character, spelled
/// out as an escape.
pub(super) fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for part in text.utf8_chunks() {
        characters(out, part.valid());
        for _ in part.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

/// Appends `text` escaped as inside a JSON string. Go also escapes what could hurt in HTML and JavaScript.
pub(super) fn characters(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let escaped: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            0x08 => b"\\b",
            0x0c => b"\\f",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 | b'<' | b'>' | b'&' => &unit(byte),
            // U+2028 and U+2029 are e2 80 a8 and e2 80 a9
            0xe2 if bytes[at..].starts_with(b"\xe2\x80\xa8") => b"\\u2028",
            0xe2 if bytes[at..].starts_with(b"\xe2\x80\xa9") => b"\\u2029",
            _ => continue,
        };
        out.extend_from_slice(&bytes[copied..at]);
        out.extend_from_slice(escaped);
        copied = at + if byte == 0xe2 { 3 } else { 1 };
    }
    out.extend_from_slice(&bytes[copied..]);
}

fn unit(byte: u8) -> [u8; 6] {
    let [high, low] = hex_digits(byte);
    [b'\\', b'u', b'0', b'0', high, low]
}

/// The two lower-case hex digits of `byte`.
pub(super) fn hex_digits(byte: u8) -> [u8; 2] {
    [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

/// Appends `bytes` in lower-case hex.
pub(super) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes.iter().flat_map(|byte| hex_digits(*byte)));
}

/// Appends `bytes` as a JSON string of base64.
pub(super) fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let from = out.len();
    // four digits for every three bytes begun
    out.resize(from + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[from..]).expect("the buffer was made for this length");
    out.truncate(from + written);
    out.push(b'"');
}

/// Appends a decimal number.
pub(super) fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_string(text: &[u8]) -> String {
        let mut out = Vec::new();
        string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        assert_eq!(as_string(b"plain \x7f"), "\"plain \x7f\"");
        assert_eq!(as_string(b"\x00\x07\x08\x09\x0a\x0b\x0c\x0d\x1b"), r#""\u0000\u0007\b\t\n\u000b\f\r\u001b""#);
        assert_eq!(as_string(br#""\/<>&"#), r#""\"\\/\u003c\u003e\u0026""#);
        assert_eq!(as_string("\u{2028}a\u{2029}\u{2027}€".as_bytes()), "\"\\u2028a\\u2029\u{2027}€\"");
        assert_eq!(as_string(b"a\xff\xe2\x82z"), r#""a\ufffd\ufffd\ufffdz""#);
    }

    #[test]
    fn numbers_and_bytes_are_spelled_out() {
        for value in [0, 7, 10, 1_234_567, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
        for (bytes, text) in [(&b""[..], r#""""#), (b"a", r#""YQ==""#), (b"abc", r#""YWJj""#)] {
            let mut out = Vec::new();
            base64(&mut out, bytes);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
