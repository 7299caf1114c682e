//! Finds the end of a node in a stream of JSON, and takes the ids of its content out on the way.
//!
//! Invariant: memory is bounded by the limits, whatever the input nests or repeats; there is no recursion. That the rest
//! is well-formed JSON is left to the decoder, which gets the node with an empty content list.

use memchr::memchr2;

use super::content::Content;
use super::reader::Limits;
use crate::vault::Id;

/// The node's JSON as far as it was read.
#[derive(Debug, Default)]
pub(super) struct NodeScan {
    /// The node without its content's ids.
    pub json: Vec<u8>,
    /// The content's ids.
    pub ids: Content,
    state: State,
    depth: u64,
    /// Where in `json` the last string of the node itself begins, after its quote.
    string_from: usize,
    key: Key,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Between,
    String,
    Escape,
    Ids(IdState),
}

/// How far the key `content` has been read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Key {
    #[default]
    Other,
    Content,
    ContentColon,
}

#[derive(Debug)]
enum IdState {
    /// After `[`.
    First,
    /// After `,`.
    Next,
    /// Inside an id.
    Digits([u8; 64], usize),
    /// After an id.
    After,
}

/// Why a scan ended early.
#[derive(Debug)]
pub(super) enum ScanFault {
    /// More than this many of something.
    TooLarge(&'static str, u64),
    /// Not the list of ids that it should be: how far into the chunk, and what was found.
    Ids(usize, u8),
}

impl NodeScan {
    /// Makes ready for another node, keeping the buffer.
    pub(super) fn reset(&mut self) {
        let mut json = std::mem::take(&mut self.json);
        json.clear();
        *self = Self { json, ..Self::default() };
    }

    /// Takes in the next piece of the stream. Returns how many bytes of it belong to the node if the node ended there.
    pub(super) fn feed(&mut self, chunk: &[u8], limits: &Limits) -> Result<Option<usize>, ScanFault> {
        let mut at = 0;
        while at < chunk.len() {
            at = match &mut self.state {
                State::Between => {
                    let (next, ended) = self.between(chunk, at);
                    if ended {
                        return self.within(limits).map(|()| Some(next));
                    }
                    next
                }
                State::String => self.string(chunk, at),
                State::Escape => {
                    self.json.push(chunk[at]);
                    self.state = State::String;
                    at + 1
                }
                State::Ids(_) => self.id_byte(chunk, at)?,
            };
            self.within(limits)?;
        }
        Ok(None)
    }

    fn within(&self, limits: &Limits) -> Result<(), ScanFault> {
        if self.json.len() > limits.node_bytes {
            return Err(ScanFault::TooLarge("bytes besides its content", limits.node_bytes as u64));
        }
        if self.ids.len() > limits.chunks as u64 {
            return Err(ScanFault::TooLarge("chunks", limits.chunks as u64));
        }
        Ok(())
    }

    /// One step outside strings: up to and with the next byte that matters. Says whether the node ended.
    fn between(&mut self, chunk: &[u8], from: usize) -> (usize, bool) {
        let rest = &chunk[from..];
        let Some(found) = rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b':' | b','))
        else {
            self.json.extend_from_slice(rest);
            return (chunk.len(), false);
        };
        self.json.extend_from_slice(&rest[..=found]);
        let at_key = std::mem::take(&mut self.key);
        match rest[found] {
            b'"' => {
                self.state = State::String;
                self.string_from = self.json.len();
            }
            b'[' if self.depth == 1 && at_key == Key::ContentColon => {
                self.json.push(b']');
                self.state = State::Ids(IdState::First);
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b':' if at_key == Key::Content => self.key = Key::ContentColon,
            _ => {}
        }
        (from + found + 1, self.depth == 0)
    }

    /// Inside a string: up to its end, a backslash, or the end of the chunk.
    fn string(&mut self, chunk: &[u8], from: usize) -> usize {
        let rest = &chunk[from..];
        let Some(found) = memchr2(b'"', b'\\', rest) else {
            self.json.extend_from_slice(rest);
            return chunk.len();
        };
        if rest[found] == b'\\' {
            self.state = State::Escape;
        } else {
            self.state = State::Between;
        }
        self.json.extend_from_slice(&rest[..found]);
        if rest[found] == b'"' && self.depth == 1 && self.json[self.string_from..] == *b"content" {
            self.key = Key::Content;
        }
        self.json.push(rest[found]);
        from + found + 1
    }

    /// One step in the list of ids.
    fn id_byte(&mut self, chunk: &[u8], at: usize) -> Result<usize, ScanFault> {
        let State::Ids(state) = &mut self.state else { return Ok(at) };
        let byte = chunk[at];
        if let IdState::Digits(digits, filled) = state {
            if *filled < digits.len() {
                let taken = (digits.len() - *filled).min(chunk.len() - at);
                digits[*filled..*filled + taken].copy_from_slice(&chunk[at..at + taken]);
                *filled += taken;
                return Ok(at + taken);
            }
            let mut id = Id::default();
            if byte != b'"' || hex::decode_to_slice(&digits[..], &mut id.0).is_err() {
                return Err(ScanFault::Ids(at, byte));
            }
            self.ids.push(id);
            *state = IdState::After;
            return Ok(at + 1);
        }
        match (&*state, byte) {
            (_, b' ' | b'\n' | b'\r' | b'\t') => {}
            (IdState::First | IdState::Next, b'"') => *state = IdState::Digits([0; 64], 0),
            (IdState::After, b',') => *state = IdState::Next,
            (IdState::First | IdState::After, b']') => self.state = State::Between,
            _ => return Err(ScanFault::Ids(at, byte)),
        }
        Ok(at + 1)
    }
}
