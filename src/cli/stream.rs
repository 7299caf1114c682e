//! One JSON document with a long list in it, written piece by piece: a snapshot of a million files is never held.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value};

/// A document being written: first some fields, then a list, then some more fields.
pub(crate) struct LongDocument<'a> {
    out: &'a mut (dyn Write + Send),
    first: bool,
}

impl<'a> LongDocument<'a> {
    /// Writes the fields that are known by now, and begins the list.
    pub(crate) fn begin(out: &'a mut (dyn Write + Send), head: &Map<String, Value>, list: &str) -> io::Result<Self> {
        out.write_all(b"{")?;
        for (key, value) in head {
            serde_json::to_writer(&mut *out, key)?;
            out.write_all(b":")?;
            serde_json::to_writer(&mut *out, value)?;
            out.write_all(b",")?;
        }
        serde_json::to_writer(&mut *out, list)?;
        out.write_all(b":[")?;
        Ok(Self { out, first: true })
    }

    /// Writes one element of the list.
    pub(crate) fn item(&mut self, item: &impl Serialize) -> io::Result<()> {
        self.out.write_all(if self.first { b"\n" } else { b",\n" })?;
        self.first = false;
        serde_json::to_writer(&mut *self.out, item)?;
        Ok(())
    }

    /// Ends the list and writes what is known only now.
    pub(crate) fn end(self, tail: &Map<String, Value>) -> io::Result<()> {
        self.out.write_all(b"\n]")?;
        for (key, value) in tail {
            self.out.write_all(b",")?;
            serde_json::to_writer(&mut *self.out, key)?;
            self.out.write_all(b":")?;
            serde_json::to_writer(&mut *self.out, value)?;
        }
        self.out.write_all(b"}\n")?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(head: Value, items: &[u8], tail: Value) -> Value {
        let map = |value: Value| value.as_object().cloned().unwrap_or_default();
        let mut out = Vec::new();
        let mut document = LongDocument::begin(&mut out, &map(head), "entries").expect("writes to memory");
        for item in items {
            document.item(item).expect("writes to memory");
        }
        document.end(&map(tail)).expect("writes to memory");
        serde_json::from_slice(&out).expect("one JSON document")
    }

    #[test]
    fn the_pieces_make_one_document() {
        use serde_json::json;
        let all = document(json!({"snapshot": "a\"b"}), &[1, 2], json!({"problems": []}));
        assert_eq!(all, json!({"snapshot": "a\"b", "entries": [1, 2], "problems": []}));
        assert_eq!(document(json!({}), &[], json!({})), json!({"entries": []}));
    }
}
