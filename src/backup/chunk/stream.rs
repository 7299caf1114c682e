//! Chunks of what a reader yields, each in a buffer of its own.

use std::io::{self, Read};

use super::Cutter;

/// Bytes asked for at once.
const STEP: usize = 1 << 20;

/// Cuts a stream. Holds the longest chunk and a mebibyte at most.
pub fn chunks<R: Read>(reader: R, cutter: Cutter) -> Chunks<R> {
    Chunks { reader, cutter, held: Vec::new(), at_end: false }
}

/// See [`chunks`]. Concatenated, the chunks are the stream; after an error there are none.
#[derive(Debug)]
pub struct Chunks<R> {
    reader: R,
    cutter: Cutter,
    held: Vec<u8>,
    at_end: bool,
}

impl<R: Read> Iterator for Chunks<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(length) = self.cutter.cut(&self.held, self.at_end) {
                let rest = self.held.split_off(length);
                return Some(Ok(std::mem::replace(&mut self.held, rest)));
            }
            if self.at_end {
                return None;
            }
            match (&mut self.reader).take(STEP as u64).read_to_end(&mut self.held) {
                Ok(0) => self.at_end = true,
                Ok(_) => {}
                Err(error) => {
                    self.held.clear();
                    self.at_end = true;
                    self.cutter.reset();
                    return Some(Err(error));
                }
            }
        }
    }
}
