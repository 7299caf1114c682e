//! JSON as restic and drctl write it, read in one pass.
//!
//! Trees and index files are most of what a run decodes, and nearly all of them have one form: keys in one order, no white
//! space, nothing escaped. Whoever reads them this way asks for what comes next; where something else comes, the answer is
//! none, and the general decoder takes the whole.

use super::id::Id;

/// What is still to be read.
pub(super) struct Text<'t> {
    rest: &'t [u8],
}

impl<'t> Text<'t> {
    /// All of it.
    pub(super) fn new(rest: &'t [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn rest(&self) -> &'t [u8] {
        self.rest
    }

    /// Past this, which must come next.
    pub(super) fn skip(&mut self, literal: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(literal)?;
        Some(())
    }

    /// Up to a quote, and the quote. Nothing in it may be escaped or would have to be.
    pub(super) fn string(&mut self) -> Option<&'t str> {
        let end = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix(b"\"")?;
        std::str::from_utf8(text).ok()
    }

    /// The string that follows this key and its quote, empty when the key is not there.
    pub(super) fn optional_string(&mut self, key: &[u8]) -> Option<&'t str> {
        if self.skip(key).is_some() { self.string() } else { Some("") }
    }

    /// A number under this key, zero when the key is not there.
    pub(super) fn number(&mut self, key: &[u8]) -> Option<u64> {
        if self.skip(key).is_none() {
            return Some(0);
        }
        let (first, mut value) = (*self.rest.first()?, 0_u64);
        let mut digits = 0;
        while let Some(digit @ b'0'..=b'9') = self.rest.get(digits) {
            value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            digits += 1;
        }
        self.rest = &self.rest[digits..];
        // Zeros before a number are no JSON.
        (digits == 1 || digits > 1 && first != b'0').then_some(value)
    }

    /// The same where 32 bits have to do.
    pub(super) fn small(&mut self, key: &[u8]) -> Option<u32> {
        self.number(key)?.try_into().ok()
    }

    /// 64 hex digits in lower case, and a quote.
    pub(super) fn id(&mut self) -> Option<Id> {
        let (digits, rest) = self.rest.split_first_chunk::<64>()?;
        self.rest = rest.strip_prefix(b"\"")?;
        let (mut id, mut all) = (Id::default(), 0);
        for (byte, pair) in id.0.iter_mut().zip(digits.as_chunks::<2>().0) {
            let (high, low) = (HEX[usize::from(pair[0])], HEX[usize::from(pair[1])]);
            *byte = high << 4 | low & 0xf;
            all |= high | low;
        }
        (all < 0x10).then_some(id)
    }
}

/// The value of each lower-case hex digit; 0xff for everything else.
const HEX: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    values
};
